/** Models in the formats of other tools. */
import { isCorrected } from "../../../compiler/formats/lowrank/meaning.js";
import { writeFile } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { counted } from "../../../compiler/words.js";
import { createDirectory, printJson } from "../directory-writer.js";
import { isFloatType } from "../elements.js";
import { ModelError, problemsError, quoted } from "../error.js";
import { exists, readBounded, sizeLimits } from "../files.js";
import { isGguf } from "../gguf/open.js";
import { createGguf, layoutBytes } from "../gguf/writer.js";
import type { Model } from "../model.js";
import { stageFiles } from "../output.js";
import { writeError, type TensorLayout } from "../safetensors-writer.js";
import { recipeHash } from "../write.js";
import { printCard, type CardFacts } from "./card.js";
import { planAwq, planCompressedTensors, planGptq, planMarlin24 } from "./containers.js";
import { planDense } from "./dense.js";
import { ggufMetadata, planGguf, type GgufExport } from "./gguf.js";
import { isRefused, type DirectoryExport, type Loss, type PlannedTensor, type Refusal } from "./plan.js";
import { countNonzeros, planSparse24, planSparseBitmask } from "./sparse.js";
import { exportTargets, type ExportTarget, type ExportType } from "./targets.js";

export interface ExportOptions {
  readonly to: ExportTarget;
  /** The directory to write; of GGUF a file, whose name ends in `.gguf`. */
  readonly output: string;
  /** Whether values may be rounded where the target does not hold them. */
  readonly requantize?: boolean | undefined;
  /**
   * Of dense safetensors the type of all tensors, of GGUF that of the linear layers, instead of those that hold the
   * values.
   */
  readonly type?: ExportType | undefined;
  /** Of GGUF: the type of embedding and head. */
  readonly embedding?: ExportType | undefined;
  /** Whether an existing model may be replaced. */
  readonly force?: boolean | undefined;
  /** Most bytes of a shard of safetensors. */
  readonly maxShardBytes?: number | undefined;
  /** Figures for the model card. */
  readonly figures?: CardFacts["figures"] | undefined;
  /** The version of Espalier, for the model card; left out where not said. */
  readonly version?: string | undefined;
  readonly onProgress?: ((name: string, done: number, total: number) => void) | undefined;
}

/** A tensor of the model as it was written; what was lost where it was rounded. */
interface WrittenTensor {
  readonly source: string;
  readonly stored: string;
  readonly loss: Loss | null;
}

/** What was written. */
export interface Exported {
  readonly to: ExportTarget;
  readonly output: string;
  readonly files: readonly string[];
  /** Bytes of the tensors. */
  readonly bytes: number;
  readonly tensors: readonly WrittenTensor[];
  /** What readers should know, a sentence each, without a full stop. */
  readonly notes: readonly string[];
}

/**
 * Writes a model as other tools take it: a tensor at a time, and nothing unless all goes well.
 * @throws ModelError M155 (what the target cannot hold), M150 to M154 (the place), M100 to M115, M136 (the model's
 * files), M140 to M142 (a tokenizer that GGUF needs)
 */
export async function exportModel(model: Model, options: ExportOptions): Promise<Exported> {
  if (options.to === "gguf") return exportGguf(model, options);
  const { to } = options;
  // refused before a weight is read
  const possible = planDirectory(model, to, options);
  const plan =
    to === "sparse-bitmask" && !isRefused(possible)
      ? planDirectory(model, to, options, await countNonzeros(model))
      : possible;
  if (isRefused(plan)) throw refusal(model, to, plan);
  const tensors: WrittenTensor[] = [];
  const recipe = await recipeBeside(model);
  const writer = await createDirectory(options.output, {
    source: model,
    layouts: plan.tensors.flatMap(({ parts }) => parts),
    force: options.force === true,
    maxShardBytes: options.maxShardBytes,
    texts: () =>
      new Map([
        ...plan.texts,
        ["config.json", printJson(plan.config)],
        ["README.md", cardOf(model, options, { recipe, tensors, notes: plan.notes, bytes: writer.bytes })],
      ]),
  });
  try {
    await writeTensors(plan.tensors, (part, bytes) => writer.append(part.name, bytes), tensors, options);
    const { directory, files, bytes } = await writer.finish();
    return { to: options.to, output: directory, files, bytes, tensors, notes: plan.notes };
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

/** A file, and its card beside it. */
async function exportGguf(model: Model, options: ExportOptions): Promise<Exported> {
  const { output, version = "", force = false } = options;
  if (!output.endsWith(".gguf"))
    throw new ModelError("M155", `The output ${quoted(output)} should be a file whose name ends in \`.gguf\`.`);
  const plan = planFile(model, options);
  if (isRefused(plan)) throw refusal(model, "gguf", plan);
  const metadata = await ggufMetadata(model, plan.type, version);
  const recipe = await recipeBeside(model);
  const file = basename(output);
  const card = file.replace(/\.gguf$/, ".md");
  const staged = await stageFiles(output, [card], { model: model.directory, force, isReplaceable: isGguf });
  try {
    const tensors: WrittenTensor[] = [];
    const layouts = plan.tensors.flatMap(({ parts }) => parts);
    const writer = await createGguf(join(staged.staging, file), metadata, layouts);
    try {
      await writeTensors(plan.tensors, (part, bytes) => writer.append(part.name, bytes), tensors, options);
      await writer.finish();
    } finally {
      await writer.discard();
    }
    const bytes = layouts.reduce((sum, layout) => sum + layoutBytes(layout), 0);
    const text = cardOf(model, options, { recipe, tensors, notes: plan.notes, bytes });
    await writeFile(join(staged.staging, card), text).catch((error: unknown) => {
      throw writeError(join(dirname(output), card), error);
    });
    await staged.commit();
    return { to: "gguf", output: staged.target, files: [card, file], bytes, tensors, notes: plan.notes };
  } catch (error) {
    await staged.discard();
    throw error;
  }
}

async function writeTensors<Part>(
  planned: readonly PlannedTensor<Part>[],
  append: (part: Part, bytes: Uint8Array) => Promise<void>,
  tensors: WrittenTensor[],
  { onProgress }: ExportOptions,
): Promise<void> {
  for (const [at, { source, stored, write }] of planned.entries()) {
    tensors.push({ source, stored, loss: await write(append) });
    onProgress?.(source, at + 1, planned.length);
  }
}

function cardOf(
  model: Model,
  { to, version = "", figures = [] }: ExportOptions,
  facts: Pick<CardFacts, "recipe" | "tensors" | "notes" | "bytes">,
): string {
  return printCard({ ...facts, model, target: to, version, figures });
}

type TypeOptions = Pick<ExportOptions, "requantize" | "type" | "embedding">;

function planFile(model: Model, { requantize = false, type, embedding }: TypeOptions): GgufExport | Refusal {
  return carried(
    model,
    "gguf",
    requantize,
    planGguf(model, { requantize, type: type ?? null, embedding: embedding ?? null }),
  );
}

/** A plan for a model whose activations are rounded: what says nothing of them is refused, or told with `requantize`. */
function carried<Plan extends { readonly notes: readonly string[] }>(
  { activations }: Model,
  to: ExportTarget,
  requantize: boolean,
  plan: Plan | Refusal,
): Plan | Refusal {
  const [first] = activations.keys();
  if (first === undefined || to === "compressed-tensors") return plan;
  const layers = `${counted(activations.size, "layer")} (\`${first}\` the first)`;
  if (!requantize)
    return {
      problems: [
        ...(isRefused(plan) ? plan.problems : []),
        `the activations of ${layers} are rounded to int8, which ${to} does not say: --requantize leaves them as they are`,
      ],
    };
  if (isRefused(plan)) return plan;
  return { ...plan, notes: [...plan.notes, `the activations of ${layers} were rounded to int8, and are not here`] };
}

function planDirectory(
  model: Model,
  to: Exclude<ExportTarget, "gguf">,
  options: TypeOptions,
  counts: ReadonlyMap<string, number> = new Map(),
): DirectoryExport<TensorLayout> | Refusal {
  return carried(model, to, options.requantize === true, planContainer(model, to, options, counts));
}

function planContainer(
  model: Model,
  to: Exclude<ExportTarget, "gguf">,
  { requantize = false, type }: TypeOptions,
  counts: ReadonlyMap<string, number>,
): DirectoryExport<TensorLayout> | Refusal {
  switch (to) {
    case "safetensors": {
      const name = type?.toUpperCase() ?? "";
      if (type !== undefined && !isFloatType(name))
        return { problems: [`\`${type}\` is no type of dense tensors: f32, f16 and bf16 are`] };
      return planDense(model, { requantize, type: isFloatType(name) ? name : null });
    }
    case "compressed-tensors":
      return planCompressedTensors(model, { requantize });
    case "gptq":
      return planGptq(model, { requantize });
    case "awq":
      return planAwq(model, { requantize });
    case "marlin-24":
      return planMarlin24(model, { requantize });
    case "sparse-24-bitmask":
      return planSparse24(model, { requantize });
    case "sparse-bitmask":
      return planSparseBitmask(model, { requantize }, counts);
    default:
      return to satisfies never;
  }
}

/** That a model cannot be written so, and what would be possible. */
function refusal(model: Model, to: ExportTarget, { problems }: Refusal): Error {
  const allowed = (options: TypeOptions): readonly string[] =>
    exportTargets
      .filter(
        (other) =>
          other !== to &&
          !isRefused(other === "gguf" ? planFile(model, options) : planDirectory(model, other, options)),
      )
      .map((other) => `--to ${other}`);
  const exact = allowed({});
  const possible = exact.length > 0 ? exact : allowed({ requantize: true }).map((other) => `${other} --requantize`);
  const corrected = model.tensors.some(({ format }) => isCorrected(format));
  const folds = corrected ? "; dense weights have their low-rank corrections folded in" : "";
  return problemsError(
    "M155",
    `${quoted(model.directory)} cannot be written as ${to}`,
    problems,
    possible.length === 0 ? null : `possible for this model: ${possible.join(", ")}${folds}`,
  );
}

/** The text of the recipe that made the model, where it lies beside it as it was. */
async function recipeBeside({ directory, packed }: Model): Promise<string | null> {
  const path = join(directory, "recipe.esp");
  if (!packed?.recipe || !(await exists(path).catch(() => false))) return null;
  const text = (await readBounded(path, sizeLimits.config)).toString("utf8");
  // the first line says how it was run
  return recipeHash(text.replace(/^\/\/ Saved by espalier [^\n]*\n/, "")) === packed.recipe.hash ? text : null;
}
