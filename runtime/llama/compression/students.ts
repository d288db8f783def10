/** A model's blocks as a training begins with them: what is trained of each, and what stays. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { RecipeStep, Treatment } from "../../../compiler/recipe/recipe.js";
import type { Block, Linear, Model } from "../../model/model.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { factorsOf, packedOf } from "./correction.js";
import { isSelected, treatmentOf } from "./names.js";
import { packsOnHost, sizesOf } from "./host-pack.js";
import type { Seen } from "./treat.js";
import type { WorkingModel } from "./working-model.js";
import { inputOf } from "../blocks.js";
import { loadVectors, loadWeight, unpackBlock, type ActivationDtype, type BlockWeights } from "../weights.js";
import { treatmentGraphs, weightInput } from "../training/gradients.js";
import type { Student } from "../training/passes.js";
import { beginTraining, type Rounding, type Trained } from "../training/trained.js";

/** What a training treats. */
export type TreatedLayers = readonly Extract<RecipeStep, { kind: "linears" }>[];

/** A layer that is trained. */
export interface TrainedLayer {
  readonly linear: Linear;
  readonly treatment: Treatment;
  readonly trained: Trained;
}

/** A gain that is trained. */
export interface TrainedGain {
  readonly name: string;
  readonly trained: Trained;
}

/** A block with what is trained of it. */
export interface BlockStudent extends Student {
  readonly layers: readonly TrainedLayer[];
  readonly gains: readonly TrainedGain[];
  /** The block as it was given, decoded; null where it is not asked for. */
  readonly dense: BlockWeights | null;
}

/** The treatment that a training gives a layer, or null. */
export function trainedTreatment(layers: TreatedLayers, name: string): Treatment | null {
  for (const step of layers) {
    const found = isSelected(step, name) ? treatmentOf(step.treatments, name) : null;
    if (found !== null && weightInput(found) !== null) return found;
  }
  return null;
}

export interface StudentOptions {
  readonly layers: TreatedLayers;
  readonly norms: boolean;
  readonly dtype: ActivationDtype;
  readonly keepsBest: boolean;
  /** Whether the block as it was given is needed. */
  readonly dense: boolean;
  readonly seen: Seen | null;
}

/** A block's weights on the device: as they are, and as they were given. */
export interface BlockStates {
  readonly now: BlockWeights;
  readonly given: BlockWeights;
}

/**
 * Loads a block's weights; the arena owns them, but for those that the working model has on the device, and keeps until
 * they are replaced.
 */
export async function loadStates(
  arena: Arena,
  caller: Caller,
  model: Model,
  working: WorkingModel,
  index: number,
): Promise<BlockStates> {
  const block = blockOf(model, index);
  const now: Record<string, DeviceTensor> = {};
  const given: Record<string, DeviceTensor> = {};
  for (const { parameter, weight } of block.linears) {
    given[parameter] = await loadWeight(caller, model, weight, "stored", arena);
    now[parameter] = (await working.now(weight, arena)) ?? given[parameter];
  }
  const { layout } = block;
  return {
    now: { layout, vectors: await working.vectors(block, arena), linears: now },
    given: { layout, vectors: await loadVectors(caller, model, block, arena), linears: given },
  };
}

function blockOf(model: Model, index: number): Model["blocks"][number] {
  const block = model.blocks[index];
  if (block === undefined) throw new InternalError(`the model has no block ${index}`);
  return block;
}

/** Begins to train what is to be trained of a block; the arena owns what is made for it. */
export async function beginBlock(
  arena: Arena,
  caller: Caller,
  model: Model,
  { now, given }: BlockStates,
  index: number,
  options: StudentOptions,
): Promise<BlockStudent> {
  const { dtype, keepsBest } = options;
  const block = blockOf(model, index);
  const plans = block.linears.map((linear) => ({ linear, treatment: trainedTreatment(options.layers, linear.name) }));
  const layers: TrainedLayer[] = [];
  const forward: Record<string, DeviceTensor> = {};
  for (const { linear, treatment } of plans) {
    if (treatment === null) continue;
    const { parameter } = linear;
    const start = now.linears[parameter]!;
    const rounding = roundingOf(caller, block, linear, treatment, start, given.linears[parameter]!, options.seen);
    const trainsFactors = treatment.inputs.some(({ kind }) => kind === "factors");
    const trained = await beginTraining(
      arena,
      caller,
      {
        name: linear.weight,
        parameter,
        start: trainsFactors ? await factorsOf(caller, linear, start, arena) : start,
        shape: start.shape,
        rounding,
      },
      dtype,
      keepsBest,
    );
    layers.push({ linear, treatment, trained });
    forward[parameter] = trained.forward;
  }
  const gains: TrainedGain[] = [];
  const vectors: Record<string, DeviceTensor> = { ...now.vectors };
  for (const { name, parameter } of block.vectors) {
    if (!options.norms || name.endsWith(".bias")) continue;
    const trained = await beginTraining(
      arena,
      caller,
      { name, parameter, start: now.vectors[parameter]!, shape: now.vectors[parameter]!.shape, rounding: null },
      dtype,
      keepsBest,
    );
    gains.push({ name, trained });
    vectors[parameter] = trained.forward;
  }
  const rest = await decoded(arena, caller, now, dtype, (parameter) => forward[parameter] === undefined);
  const weights: BlockWeights = { layout: block.layout, vectors, linears: { ...rest, ...forward } };
  const dense = options.dense ? { ...given, linears: await decoded(arena, caller, given, dtype, () => true) } : null;
  return {
    weights,
    layers,
    gains,
    dense,
    trained: [...layers.map(({ trained }) => trained), ...gains.map(({ trained }) => trained)],
  };
}

/** The linear layers that are wanted, decoded; the arena owns what was decoded. */
async function decoded(
  arena: Arena,
  caller: Caller,
  block: BlockWeights,
  dtype: ActivationDtype,
  wanted: (parameter: string) => boolean,
): Promise<BlockWeights["linears"]> {
  const unpacked = await unpackBlock(caller, block, dtype, arena);
  const kept: Record<string, DeviceTensor> = {};
  for (const [parameter, tensor] of Object.entries(unpacked.linears)) {
    if (wanted(parameter)) kept[parameter] = tensor;
    else if (tensor !== block.linears[parameter]) arena.release(tensor);
  }
  return kept;
}

function roundingOf(
  caller: Caller,
  block: Block,
  linear: Linear,
  treatment: Treatment,
  start: DeviceTensor,
  original: DeviceTensor,
  seen: Seen | null,
): Rounding {
  const host = packsOnHost(treatment);
  const used = host === null ? treatment : { ...treatment, graph: host.graph };
  const weight = weightInput(treatment);
  if (weight === null) throw new InternalError(`a treatment of ${linear.name} does not look at the weight`);
  const given: Record<string, DeviceTensor | number> = {};
  for (const input of treatment.inputs) {
    switch (input.kind as string) {
      case "weight":
      case "factors":
        break;
      case "packed":
        given[input.name] = packedOf(start);
        break;
      case "start":
        given[input.name] = start;
        break;
      case "original":
        given[input.name] = original;
        break;
      case "windows":
        given[input.name] = seen?.windows ?? 0;
        break;
      case "tokens":
        given[input.name] = seen?.tokens ?? 0;
        break;
      case "statistic": {
        const observe = input.kind === "statistic" ? input.observe : -1;
        const statistic = seen?.statistics.get(observe)?.get(inputOf(caller.functions, block, linear));
        if (statistic === undefined) throw new InternalError(`nothing was observed for ${linear.name}`);
        given[input.name] = statistic;
        break;
      }
      default:
        throw new InternalError(`a treatment takes a ${input.kind}`);
    }
  }
  return {
    ...treatmentGraphs(used, treatment.graph.span),
    weight,
    adjoint: `d_${treatment.stores ?? ""}`,
    sizes: sizesOf(linear),
    given,
  };
}
