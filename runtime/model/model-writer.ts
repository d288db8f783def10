/** A model as it is written, wherever that is. */
import type { FormatSpec } from "../../compiler/types/type.js";
import type { ActivationFormat } from "../../compiler/types/activation-format.js";
import type { DirectoryPlan, DirectoryWriter } from "./directory-plan.js";
import type { ElementType } from "./elements.js";
import { printJson } from "./json.js";
import type { Model } from "./opened.js";
import {
  denseFormat,
  printSection,
  storedLayout,
  type PackedSection,
  type PackedTensor,
  type SavedRecipe,
  type StoredPattern,
} from "./packed.js";
import { readAhead } from "./read-ahead.js";
import type { TensorLayout } from "./safetensors-layout.js";

/** A tensor of the model to be written. */
export interface OutputTensor {
  readonly name: string;
  /** The dense shape. */
  readonly shape: readonly number[];
  /** The element type before packing; with `format` null the type of the elements that will be written. */
  readonly dtype: ElementType;
  /** Null: dense, not touched by a recipe. */
  readonly format: FormatSpec | null;
  readonly pattern: StoredPattern;
}

/** What a model directory is made of. */
export interface OutputPlan {
  /** The model that was compressed: its config and tokenizer are taken over. */
  readonly source: Model;
  /** Every tensor, in the order in which they will lie in the files. */
  readonly tensors: readonly OutputTensor[];
  /** In what linear layers take what they multiply; those of the source where there is none. */
  readonly activations?: ReadonlyMap<string, ActivationFormat>;
  /** Whether a model that ties its head to its embedding gets a head of its own. */
  readonly untied?: boolean;
  /** The recipe that made it, with its files, which are written beside the weights. */
  readonly recipe: SavedRecipe | null;
  /** Whether an existing model directory may be replaced. */
  readonly force: boolean;
  /** Most bytes of data of a shard; a tensor larger than that is a shard of its own. 5 GB where not said. */
  readonly maxShardBytes?: number;
}

/** Writes a model directory, tensor by tensor; it appears under its name when it is complete. */
export interface ModelWriter extends DirectoryWriter {
  /** Adds a whole tensor as it is in the source model. */
  copy(name: string): Promise<void>;
}

/**
 * Starts a model directory, which `create` makes: one of Hugging Face, with what is packed recorded in `config.json`.
 * @throws ModelError what `create` throws
 */
export async function modelWriter(
  plan: OutputPlan,
  create: (plan: DirectoryPlan) => Promise<DirectoryWriter>,
): Promise<ModelWriter> {
  const writer = await create({
    source: plan.source,
    layouts: plan.tensors.map(layoutOf),
    force: plan.force,
    maxShardBytes: plan.maxShardBytes,
    texts: () =>
      new Map([
        ...(plan.recipe?.files ?? []),
        [
          "config.json",
          printJson({
            ...plan.source.config.raw,
            ...(plan.untied === true ? { tie_word_embeddings: false } : {}),
            espalier: printSection(sectionOf(plan)),
          }),
        ],
      ]),
  });
  return {
    ...writer,
    async copy(name) {
      try {
        for await (const chunk of readAhead(plan.source.chunks(name))) await writer.append(name, chunk.bytes);
      } catch (error) {
        await writer.discard();
        throw error;
      }
    },
  };
}

function layoutOf(tensor: OutputTensor): TensorLayout {
  const format = tensor.format ?? denseFormat(tensor.dtype);
  if (format === null) throw new RangeError(`tensor ${tensor.name} of ${tensor.dtype} has no format`);
  return storedLayout(tensor.name, format, tensor.shape);
}

function sectionOf(plan: OutputPlan): PackedSection {
  const tensors = new Map<string, PackedTensor>();
  for (const { name, format, pattern, shape, dtype } of plan.tensors)
    if (format !== null) tensors.set(name, { format, pattern, shape, dtype });
  const before = plan.source.packed;
  const activations = plan.activations ?? plan.source.activations;
  const history = [...(before?.history ?? []), ...(before?.recipe ? [before.recipe] : [])];
  return {
    version: activations.size === 0 ? 1 : [...activations.values()].some(({ group }) => group === "tensor") ? 3 : 2,
    tensors,
    activations,
    recipe: plan.recipe?.record ?? null,
    history,
  };
}
