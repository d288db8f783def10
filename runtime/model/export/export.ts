/** Models in the formats of other tools. */
import { join } from "node:path";
import { createDirectory, printJson } from "../directory-writer.js";
import type { FloatType } from "../elements.js";
import { problemsError, quoted } from "../error.js";
import { exists, readBounded, sizeLimits } from "../files.js";
import type { Model } from "../model.js";
import type { TensorLayout } from "../safetensors-writer.js";
import { recipeHash } from "../write.js";
import { printCard, type CardFacts } from "./card.js";
import { planAwq, planCompressedTensors, planGptq, planMarlin24, planSparse24 } from "./containers.js";
import { planDense } from "./dense.js";
import { isRefused, type DirectoryExport, type Loss, type PlanOptions, type Refusal } from "./plan.js";
import { exportTargets, type ExportTarget } from "./targets.js";

export interface ExportOptions {
  readonly to: ExportTarget;
  /** The directory to write. */
  readonly output: string;
  /** Whether values may be rounded where the target does not hold them. */
  readonly requantize?: boolean | undefined;
  /** Of dense safetensors: the type of all tensors, instead of that which holds the values of each. */
  readonly type?: FloatType | undefined;
  /** Whether an existing model may be replaced. */
  readonly force?: boolean | undefined;
  /** Most bytes of a shard. */
  readonly maxShardBytes?: number | undefined;
  /** Figures for the model card. */
  readonly figures?: CardFacts["figures"] | undefined;
  /** The version of Espalier, for the model card. */
  readonly version: string;
  readonly onProgress?: ((name: string, done: number, total: number) => void) | undefined;
}

/** What was written. */
export interface Exported {
  readonly to: ExportTarget;
  readonly output: string;
  readonly files: readonly string[];
  /** Bytes of the tensors. */
  readonly bytes: number;
  readonly tensors: readonly { readonly source: string; readonly stored: string; readonly loss: Loss | null }[];
  /** What readers should know, a sentence each, without a full stop. */
  readonly notes: readonly string[];
}

/**
 * Writes a model as other tools take it: a tensor at a time, and nothing unless all goes well.
 * @throws ModelError M155 (what the target cannot hold), M150 to M154 (the place), M100 to M115, M136 (the model's files)
 */
export async function exportModel(model: Model, options: ExportOptions): Promise<Exported> {
  const { to, output, version, onProgress } = options;
  const plan = planOf(model, to, { requantize: options.requantize === true, type: options.type ?? null });
  if (isRefused(plan)) throw refusal(model, to, plan);
  const recipe = await recipeBeside(model);
  const written: { readonly source: string; readonly stored: string; readonly loss: Loss | null }[] = [];
  const writer = await createDirectory(output, {
    source: model,
    layouts: plan.tensors.flatMap(({ parts }) => parts),
    force: options.force === true,
    maxShardBytes: options.maxShardBytes,
    texts: () =>
      new Map([
        ...plan.texts,
        ["config.json", printJson(plan.config)],
        [
          "README.md",
          printCard({
            model,
            target: to,
            version,
            recipe,
            bytes: writer.bytes,
            tensors: written,
            notes: plan.notes,
            figures: options.figures ?? [],
          }),
        ],
      ]),
  });
  try {
    for (const [at, { source, stored, write }] of plan.tensors.entries()) {
      const loss = await write((part, bytes) => writer.append(part.name, bytes));
      written.push({ source, stored, loss });
      onProgress?.(source, at + 1, plan.tensors.length);
    }
    const { directory, files, bytes } = await writer.finish();
    return { to, output: directory, files, bytes, tensors: written, notes: plan.notes };
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

function planOf(
  model: Model,
  to: ExportTarget,
  options: PlanOptions & { readonly type: FloatType | null },
): DirectoryExport<TensorLayout> | Refusal {
  switch (to) {
    case "safetensors":
      return planDense(model, options);
    case "compressed-tensors":
      return planCompressedTensors(model, options);
    case "gptq":
      return planGptq(model, options);
    case "awq":
      return planAwq(model, options);
    case "marlin-24":
      return planMarlin24(model, options);
    case "sparse-24-bitmask":
      return planSparse24(model, options);
    default:
      return to satisfies never;
  }
}

/** That a model cannot be written so, and what would be possible. */
function refusal(model: Model, to: ExportTarget, { problems }: Refusal): Error {
  const possible = exportTargets.filter(
    (other) => other !== to && !isRefused(planOf(model, other, { requantize: false, type: null })),
  );
  return problemsError(
    "M155",
    `${quoted(model.directory)} cannot be written as ${to}`,
    problems.map((problem) => `${problem}`),
    `possible for this model: ${possible.map((other) => `--to ${other}`).join(", ")}`,
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
