/** Following a recipe: statistics block by block, each layer treated on the device, the model written as it is then. */
import { InternalError } from "../../compiler/diagnostic.js";
import { bitsPerWeight, printFormat, shapeOf } from "../../compiler/formats/registry.js";
import type { Condition, Quantity, Recipe, RecipeStep } from "../../compiler/recipe/recipe.js";
import { join } from "node:path";
import type { Model } from "../model/model.js";
import { printPattern } from "../model/packed.js";
import { calibrationRun, type CalibrationRun } from "./calibration-run.js";
import type { Caller } from "./call.js";
import { LlamaError } from "./error.js";
import { perplexity } from "./evaluate.js";
import { isSelected, treatmentOf } from "./names.js";
import { makeSession, type ActivationDtype } from "./session.js";
import { checkRecipe, createTreater, type Treater } from "./treat.js";
import { createWorkingModel, saveModel, storedBytes, type WorkingModel } from "./working-model.js";

/** What is being done, for a progress bar: `done` of `total` steps of a stage. */
export interface CompressProgress {
  readonly stage: "embed" | "observe" | "compress" | "advance" | "evaluate" | "save";
  /** The block, the layer, or the file concerned. */
  readonly subject: string;
  readonly done: number;
  readonly total: number;
}

/** A calibration text, tokenised whole without special tokens. */
export interface CalibrationText {
  readonly ids: readonly number[];
  readonly bos: number | null;
  /** Tokens of a window, the first token `bos` included; 256 unless given. */
  readonly window?: number | undefined;
  /** The first so many windows; 128 unless given. */
  readonly windows?: number | undefined;
}

export interface CompressOptions {
  /** The directory to write; `save "name"` in a recipe writes `output/name`. */
  readonly output: string;
  readonly force?: boolean | undefined;
  /** The recipe's source, to be recorded with the model. */
  readonly source: string;
  readonly text?: CalibrationText | null | undefined;
  /** What calibration activations are kept in; f32 unless told. */
  readonly dtype?: ActivationDtype | undefined;
  readonly onProgress?: ((progress: CompressProgress) => void) | undefined;
}

/** A tensor that was compressed. */
export interface TensorReport {
  readonly name: string;
  readonly pattern: string;
  readonly format: string;
  readonly bitsPerWeight: number;
  readonly bytes: number;
  /** ||W' - W|| / ||W||, Frobenius, against the model that was given. */
  readonly relativeError: number;
}

export interface Compression {
  readonly tensors: readonly TensorReport[];
  /** Bytes of all tensors of the model. */
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  readonly seconds: number;
  /** The directories that were written. */
  readonly saved: readonly string[];
}

/** The state of a run. */
interface Run {
  readonly caller: Caller;
  readonly model: Model;
  readonly recipe: Recipe;
  readonly options: CompressOptions;
  readonly working: WorkingModel;
  readonly treater: Treater;
  readonly progress: (progress: CompressProgress) => void;
  readonly saved: string[];
  /** Perplexity of the model as given, once it was computed. */
  dense: number | null;
}

/**
 * Compresses a model by a recipe. The recipe is checked against the model before any weight is read.
 * @throws LlamaError recipe, expectation-failed, text-too-short; CompileError; ModelError; DeviceError
 */
export async function compress(caller: Caller, model: Model, recipe: Recipe, options: CompressOptions): Promise<Compression> {
  const started = performance.now();
  if (recipe.needsText && !options.text) throw new LlamaError("recipe", `The recipe ${recipe.name} needs a calibration text.`);
  checkRecipe(caller, model, recipe);
  const working = createWorkingModel(caller, model);
  const run: Run = {
    caller, model, recipe, options, working, treater: createTreater(caller, model, working),
    progress: options.onProgress ?? ((): void => {}), saved: [], dense: null,
  };
  try {
    for (const step of recipe.steps) await follow(run, step);
    if (!recipe.steps.some((step) => saves(step))) await save(run, options.output);
    const tensors = [...working.treated].map(([name, { tensor, format, pattern, relativeError, shape }]): TensorReport => ({
      name, relativeError, pattern: printPattern(pattern), format: printFormat(format),
      bitsPerWeight: bitsPerWeight(format, shapeOf(shape)), bytes: storedBytes(name, format, tensor.shape),
    }));
    const before = model.tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
    const after = model.tensors.reduce((sum, tensor) => sum + (tensors.find(({ name }) => name === tensor.name)?.bytes ?? tensor.bytes), 0);
    return { tensors, bytesBefore: before, bytesAfter: after, seconds: (performance.now() - started) / 1000, saved: run.saved };
  } finally {
    working.release();
  }
}

async function follow(run: Run, step: RecipeStep): Promise<void> {
  switch (step.kind) {
    case "blocks": return followBlocks(run, step.body);
    case "linears": {
      const chosen = run.model.linears.filter(({ name }) => isSelected(step, name));
      for (const [at, linear] of chosen.entries()) {
        const treatment = treatmentOf(step.treatments, linear.name);
        if (treatment !== null) await run.treater.treat(linear, treatment, null, 0, 0);
        run.progress({ stage: "compress", subject: linear.name, done: at + 1, total: chosen.length });
      }
      return;
    }
    case "expect": return expect(run, step.condition, step.text);
    case "save": return save(run, join(run.options.output, step.name));
    case "observe": throw new InternalError("an observe outside of blocks");
    default: step satisfies never;
  }
}

async function followBlocks(run: Run, body: readonly RecipeStep[]): Promise<void> {
  const { model, options, treater } = run;
  const observing = body.some((step) => step.kind === "observe");
  const calibration: CalibrationRun | null = observing && options.text ? await calibrationRun(run.caller, model, run.working, options.text, options.dtype ?? "f32", run.progress) : null;
  const perBlock = body.reduce((most, step) => most + (step.kind === "linears" ? 1 : 0), 0);
  try {
    for (const block of model.blocks) {
      for (let at = 0; at < body.length; at++) {
        const step = body[at];
        if (step === undefined) break;
        switch (step.kind) {
          case "observe": {
            // those that stand together share a pass
            const together = body.slice(at).findIndex((other) => other.kind !== "observe");
            const observers = body.slice(at, together < 0 ? body.length : at + together).filter((other) => other.kind === "observe");
            await calibration?.observe(block.index, observers);
            at += observers.length - 1;
            break;
          }
          case "linears": {
            const chosen = block.linears.filter(({ name }) => isSelected(step, name));
            for (const linear of chosen) {
              const treatment = treatmentOf(step.treatments, linear.name);
              if (treatment !== null) await treater.treat(linear, treatment, calibration?.statistics() ?? null, calibration?.windows ?? 0, calibration?.tokens ?? 0);
              const total = model.blocks.length * perBlock * chosen.length;
              run.progress({ stage: "compress", subject: linear.name, done: Math.min(total, block.index * perBlock * chosen.length + chosen.indexOf(linear) + 1), total });
            }
            break;
          }
          case "expect":
            await expect(run, step.condition, step.text);
            break;
          case "save":
            await save(run, join(run.options.output, step.name));
            break;
          case "blocks":
            throw new InternalError("blocks inside of blocks");
          default:
            step satisfies never;
        }
      }
      if (block.index + 1 < model.blocks.length) await calibration?.advance(block.index);
      calibration?.forget();
    }
  } finally {
    calibration?.release();
  }
}

async function expect(run: Run, condition: Condition, text: string): Promise<void> {
  const values: string[] = [];
  if (await holds(run, condition, values)) return;
  throw new LlamaError("expectation-failed", `The recipe expects ${text}, which does not hold: ${values.join(", ")}. ${run.saved.length === 0 ? "Nothing was written." : `Written before: ${run.saved.join(", ")}.`}`);
}

async function holds(run: Run, condition: Condition, values: string[]): Promise<boolean> {
  if (condition.kind === "and") return (await holds(run, condition.left, values)) && (await holds(run, condition.right, values));
  const [left, right] = [await quantity(run, condition.left, values), await quantity(run, condition.right, values)];
  switch (condition.op) {
    case "less": return left < right;
    case "less_equal": return left <= right;
    case "greater": return left > right;
    case "greater_equal": return left >= right;
    default: return condition.op satisfies never;
  }
}

async function quantity(run: Run, wanted: Quantity, values: string[]): Promise<number> {
  switch (wanted.kind) {
    case "number": return wanted.value;
    case "perplexity": {
      const value = wanted.of === "dense" ? (run.dense ??= await score(run, "dense")) : await score(run, "model");
      values.push(`perplexity(${wanted.of === "dense" ? "model.dense" : "model"}) is ${value.toFixed(3)}`);
      return value;
    }
    case "arithmetic": {
      const [left, right] = [await quantity(run, wanted.left, values), await quantity(run, wanted.right, values)];
      switch (wanted.op) {
        case "add": return left + right;
        case "subtract": return left - right;
        case "multiply": return left * right;
        case "divide": return left / right;
        default: return wanted.op satisfies never;
      }
    }
    default: return wanted satisfies never;
  }
}

/** Perplexity of the calibration windows under the model as it is, or as it was given. */
async function score(run: Run, of: "model" | "dense"): Promise<number> {
  const { caller, model, working, options } = run;
  if (!options.text) throw new LlamaError("recipe", `The recipe ${run.recipe.name} needs a text to expect anything of.`);
  const { ids, bos, window = 256, windows = 128 } = options.text;
  const loaded = await working.load(of);
  try {
    const session = makeSession(caller, model.config, loaded.frame, loaded.blocks, options.dtype ?? "f32");
    const found = await perplexity(session, ids, {
      window, bos, limit: windows,
      onProgress: (done, total) => run.progress({ stage: "evaluate", subject: of === "dense" ? "the model as given" : "the model as it is", done, total }),
    });
    return found.perplexity;
  } finally {
    loaded.release();
  }
}

async function save(run: Run, directory: string): Promise<void> {
  const { recipe, options } = run;
  const parameters = Object.fromEntries(recipe.parameters.map(({ name, value }) => [name, value]));
  const written = await saveModel(run.caller, run.model, run.working, directory, {
    recipe: { name: recipe.name, source: options.source, parameters }, force: options.force ?? false,
  }, (name, done, total) => run.progress({ stage: "save", subject: name, done, total }));
  run.saved.push(written);
}

function saves(step: RecipeStep): boolean {
  return step.kind === "save" || (step.kind === "blocks" && step.body.some(saves));
}
