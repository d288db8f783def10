/**
 * Espalier as a library: the stages of the compiler, a device to run on, and models to work on.
 *
 * The stages are plain functions over plain data, in this order:
 *
 * ```
 * check(file, host)  ->  a Graph of each function, a Recipe of each recipe      diagnostics, never exceptions
 * compile(graph, binding, target)  ->  a Program: WGSL and steps, plain JSON   CompileError
 * executor.prepare(program), executor.run(...)                                 DeviceError
 * ```
 *
 * `evaluate` and `evaluateKernel` say what a Graph and a Kernel mean, slowly and plainly; results of a device are
 * checked
 * against them. To run saved Programs only, import `espalier/run`, which loads no compiler.
 * @module
 */

// --- Source to Graph -------------------------------------------------------------------------------------------------

export { parse } from "./compiler/syntax/parse.js";
/** An Ast in its one layout. */
export { print } from "./compiler/syntax/print.js";
/** The formatter: a file in its one layout, or its errors. */
export { format } from "./compiler/syntax/format.js";
export type { Module } from "./compiler/syntax/ast.js";
export { check } from "./compiler/check/check.js";
export type { CheckedModule, CheckOptions, Host } from "./compiler/check/check.js";
/** A recipe with the files that it uses: what `compress` saves with a model. */
export { bundle } from "./compiler/check/bundle.js";
export type { Bundle } from "./compiler/check/bundle.js";
export { hasErrors, InternalError } from "./compiler/diagnostic.js";
export type { Checked, Diagnostic, Label, Span } from "./compiler/diagnostic.js";
export { position, render } from "./compiler/render.js";
export { createHost, standardLibrary, standardModules } from "./runtime/library.js";
export type { SourceHost } from "./runtime/library.js";
export type { Recipe } from "./compiler/recipe/recipe.js";

// --- Graph to Program ------------------------------------------------------------------------------------------------

/** The Program of a function, or a CompileError with diagnostics. */
export { compileFunction as compile } from "./compiler/compile.js";
export { CompileError, compileStages, tunables } from "./compiler/compile.js";
export type { CompileBinding, CompileOptions, Cut, ScheduleChoices, Stages, Tunable } from "./compiler/compile.js";
export { baselineTarget } from "./compiler/target.js";
export { printGraph } from "./compiler/graph/print.js";
export { printKernel } from "./compiler/kernel/print.js";
export type { ConcreteGraph, Graph, SymbolicGraph } from "./compiler/graph/graph.js";
export type { Kernel } from "./compiler/kernel/kernel.js";

// --- What an editor asks ---------------------------------------------------------------------------------------------

export { createLanguageService } from "./compiler/language-service/service.js";
export type { LanguageHost, LanguageService } from "./compiler/language-service/service.js";
export { textMateGrammar } from "./compiler/language-service/grammar.js";

// --- What they mean --------------------------------------------------------------------------------------------------

export { evaluate, tensorValue } from "./compiler/graph/evaluate.js";
export type { TensorData, TensorValue } from "./compiler/graph/evaluate.js";
export { evaluateKernel, KernelFault } from "./compiler/kernel/evaluate.js";

// --- Storage formats -------------------------------------------------------------------------------------------------

export {
  bitsPerWeight,
  formatOf,
  formats,
  normalizeFormat,
  printFormat,
  shapeOf,
} from "./compiler/formats/registry.js";
export type { Format, GridValues, Shape } from "./compiler/formats/format.js";

// --- Devices and Programs --------------------------------------------------------------------------------------------

export * from "./run.js";

// --- A model in one call ---------------------------------------------------------------------------------------------

export { load } from "./runtime/load.js";
export type { LoadedModel, LoadOptions, TextOptions } from "./runtime/load.js";

// --- Models ----------------------------------------------------------------------------------------------------------

export { openModel } from "./runtime/model/model.js";
export type { Block, Linear, Model, ModelTensor } from "./runtime/model/model.js";
export type { LlamaConfig } from "./runtime/model/config.js";
export type { UnusedTensor } from "./runtime/model/parts.js";
export type { TextStream } from "./runtime/model/tokenizer/stream.js";
export type { Tokenizer } from "./runtime/model/tokenizer/tokenizer.js";
export { inspect } from "./runtime/model/inspect.js";
export type { Inspection } from "./runtime/model/inspect.js";
/** A model in the formats of other tools: what `espalier export` writes. */
export { exportModel } from "./runtime/model/export/export.js";
export type { Exported, ExportOptions } from "./runtime/model/export/export.js";
export type { ExportTarget, ExportType } from "./runtime/model/export/targets.js";
/** In what two open models differ: what `espalier diff` tells. */
export { differenceOf } from "./runtime/model/difference.js";
export type { ModelDifference, TensorDifference } from "./runtime/model/difference.js";
/** A model or a file of the Hugging Face hub, on this disk. */
export { fetchFromHub } from "./runtime/hub/fetch.js";
export type { HubReference } from "./runtime/hub/reference.js";
export type { HubOptions } from "./runtime/hub/request.js";
export { ModelError } from "./runtime/model/error.js";
export type { ModelErrorCode } from "./runtime/model/error.js";

// --- Llama: functions of the standard library on a device ------------------------------------------------------------

export { createCaller } from "./runtime/llama/call.js";
export type { Arguments, Caller } from "./runtime/llama/call.js";
export { openSession } from "./runtime/llama/inference/session.js";
export type { Session, SessionOptions } from "./runtime/llama/inference/session.js";
export { generate } from "./runtime/llama/inference/generate.js";
export type { Sampling } from "./runtime/llama/inference/choice.js";
export type { GenerateOptions, Generation } from "./runtime/llama/inference/generate.js";
export { openScheduler } from "./runtime/llama/serving/scheduler.js";
export type {
  PromptToken,
  Scheduler,
  SchedulerOptions,
  SchedulerState,
  Submission,
  TextEnd,
  TextRequest,
  TextToken,
  TokenScore,
} from "./runtime/llama/serving/requests.js";
export { perplexity } from "./runtime/llama/inference/evaluate.js";
export type { EvaluateOptions, Evaluation } from "./runtime/llama/inference/evaluate.js";
export { divergence } from "./runtime/llama/inference/divergence.js";
export type { Divergence } from "./runtime/llama/inference/divergence.js";
export { readTask } from "./runtime/llama/tasks/questions.js";
export type { Choice, Question, Task } from "./runtime/llama/tasks/questions.js";
export { tokenizeTask } from "./runtime/llama/tasks/sequences.js";
export type { Sequence, TokenizedQuestion, TokenizedTask } from "./runtime/llama/tasks/sequences.js";
export { answerTasks, scoreOf } from "./runtime/llama/tasks/accuracy.js";
export type { TaskAnswers, TaskScore } from "./runtime/llama/tasks/accuracy.js";
export { compareAnswers } from "./runtime/llama/tasks/comparison.js";
export type {
  Measure,
  MeanMeasure,
  TaskComparison,
  TaskMeasure,
  TasksComparison,
} from "./runtime/llama/tasks/comparison.js";
export { compress } from "./runtime/llama/compression/compress.js";
export type {
  CalibrationText,
  CompressOptions,
  CompressProgress,
  Compression,
  PerplexityReport,
  TensorReport,
  Warning,
  WarningKind,
} from "./runtime/llama/compression/compress.js";
export { findSensitivity } from "./runtime/llama/compression/sensitivity.js";
export type {
  Sensitivity,
  SensitivityOptions,
  SensitivityRow,
  Try,
} from "./runtime/llama/compression/sensitivity-plan.js";
export { calibrationWindows, scoredWindows } from "./runtime/llama/windows.js";
export type { ScoredWindows, Windows } from "./runtime/llama/windows.js";
export { LlamaError } from "./runtime/llama/error.js";
export type { LlamaErrorCode } from "./runtime/llama/error.js";
