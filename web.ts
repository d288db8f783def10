/**
 * `espalier/web`: the compiler and the runtime for a page with WebGPU. Nothing in it is Node's; see `espalier` for what
 * each export does.
 *
 * ```js
 * import { check, compress, createTextHost, generate, mapDirectory, openMachine, openModel, openSession } from "espalier/web";
 *
 * const names = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json"];
 * const files = await Promise.all(names.map(async (name) => [name, await (await fetch(`model/${name}`)).blob()]));
 * const text = await (await fetch("model/calibration.txt")).text();
 * const source = await (await fetch("recipe.esp")).text();
 *
 * const { caller } = await openMachine();
 * const model = await openModel(mapDirectory("model", new Map(files)));
 * const tokenizer = await model.tokenizer();
 * const ids = [...(await tokenizer.encode(text, { prefix: false }))];
 * const { value } = check("recipe.esp", createTextHost(new Map([["recipe.esp", source]])));
 * const { models } = await compress(caller, model, value.recipes.values().next().value, {
 *   output: "smaller", source, text: { ids, bos: tokenizer.bos, windows: 16 },
 * });
 *
 * const smaller = await openModel(mapDirectory("smaller", models.get("smaller")));
 * const session = await openSession(caller, smaller, { dtype: "f32" });
 * const prompt = await tokenizer.encode("My dear Holmes", { prefix: true });
 * const found = await generate(session, prompt, { maxNewTokens: 24, temperature: 0, eosTokens: smaller.generation.eosTokens });
 * document.body.append(tokenizer.decode(found.ids));
 * ```
 * @module
 */

export { parse } from "./compiler/syntax/parse.js";
export { print as format } from "./compiler/syntax/print.js";
export { check } from "./compiler/check/check.js";
export { bundle } from "./compiler/check/bundle.js";
export { CompileError, hasErrors, InternalError, type Diagnostic, type Span } from "./compiler/diagnostic.js";
export { position, render } from "./compiler/render.js";
export { compileFunction as compile, compileStages, type Stages } from "./compiler/compile.js";
export { baselineTarget, type Target } from "./compiler/target.js";
export type { SymbolicGraph } from "./compiler/graph/graph.js";
export type { Recipe } from "./compiler/recipe/recipe.js";
export { printGraph } from "./compiler/graph/print.js";
export { printKernel } from "./compiler/kernel/print.js";
export { evaluate, tensorValue } from "./compiler/graph/evaluate.js";
export { DeviceError } from "./runtime/device/error.js";
export type { Device } from "./runtime/device/opened.js";
export { createExecutor, type DeviceTensor, type Executor } from "./runtime/run/run.js";
export { targetOf } from "./runtime/run/target.js";
export { createCaller, type Caller } from "./runtime/llama/call.js";
export { openSession, type Session } from "./runtime/llama/inference/session.js";
export { generate, type Generation } from "./runtime/llama/inference/generate.js";
export { perplexity, type Evaluation } from "./runtime/llama/inference/evaluate.js";
export type { Compression, CompressProgress } from "./runtime/llama/compression/compression.js";
export { checkAgainst } from "./runtime/llama/compression/fit.js";
export { LlamaError } from "./runtime/llama/error.js";
export { ModelError } from "./runtime/model/error.js";
export type { Directory } from "./runtime/model/directory.js";
export type { Model } from "./runtime/model/opened.js";
export { openDevice } from "./runtime/web/device.js";
export { mapDirectory, pickedDirectory } from "./runtime/web/directory.js";
export { openMachine, type Machine } from "./runtime/web/machine.js";
export { compress, openModel, type MadeModels } from "./runtime/web/model.js";
export { bundledLibrary, createTextHost, standardFunctions, type TextHost } from "./runtime/web/sources.js";
