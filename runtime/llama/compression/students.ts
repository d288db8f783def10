/** A model's blocks as a training begins with them: what is trained of each, and what stays. */
import { InternalError } from "../../../compiler/diagnostic.js";
import { constantSize, sizeValue, substituteSize, type Size } from "../../../compiler/types/size.js";
import type { RecipeStep, Treatment, TreatmentInput } from "../../../compiler/recipe/recipe.js";
import type { Block, Linear, Model } from "../../model/model.js";
import type { DeviceTensor } from "../../run/run.js";
import { withArena, type Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { factorsOf, packedOf } from "./correction.js";
import { isSelected, layerNumber, treatmentOf } from "./names.js";
import { sizesOf } from "./host-pack.js";
import type { Seen } from "./treat.js";
import type { WorkingModel } from "./working-model.js";
import { inputOf } from "../blocks.js";
import { first } from "../results.js";
import { unpackBlock, type ActivationDtype, type BlockWeights } from "../weights.js";
import { isTrained, treatmentGraphs } from "../training/gradients.js";
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
    if (found !== null && isTrained(found)) return found;
  }
  return null;
}

/** How many numbers a training changes for a layer. */
export function trainedElements(layers: TreatedLayers, { name, outputs, inputs }: Linear): number {
  const sizes: ReadonlyMap<string, number> = new Map([
    ["N", outputs],
    ["K", inputs],
  ]);
  const valueOf = (size: Size): number =>
    sizeValue(substituteSize(size, (symbol) => constantSize(sizes.get(symbol) ?? 1))) ?? 0;
  return (trainedTreatment(layers, name)?.inputs ?? []).reduce((sum, input) => {
    if (input.kind === "weight") return sum + outputs * inputs;
    if (input.kind !== "parameter") return sum;
    const { graph } = input.start;
    const shape = graph.values[graph.outputs[0]?.value ?? -1]?.type.shape ?? [];
    return sum + shape.map(valueOf).reduce((product, size) => product * size, 1);
  }, 0);
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
  model: Model,
  working: WorkingModel,
  index: number,
): Promise<BlockStates> {
  const block = blockOf(model, index);
  const given = await working.givenBlock(block, arena);
  const now: Record<string, DeviceTensor> = {};
  for (const { parameter, weight } of block.linears)
    now[parameter] = (await working.now(weight, arena)) ?? given.linears[parameter]!;
  return { now: { ...given, vectors: await working.vectors(block, arena), linears: now }, given };
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
    const place = { number: layerNumber(model, linear.name), block: linear.block, blocks: model.blocks.length };
    const layer = { block, linear, treatment, place };
    const rounding = await roundingOf(arena, caller, layer, start, given.linears[parameter]!, options);
    const trained = await beginTraining(
      arena,
      caller,
      { name: linear.weight, parameter, start, rounding },
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
      { name, parameter, start: now.vectors[parameter]!, rounding: null },
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

/** What a recipe makes of a layer in every step; the arena owns what parameters begin as. */
async function roundingOf(
  arena: Arena,
  caller: Caller,
  {
    block,
    linear,
    treatment,
    place,
  }: {
    readonly block: Block;
    readonly linear: Linear;
    readonly treatment: Treatment;
    readonly place: { readonly [kind in "number" | "block" | "blocks"]: number };
  },
  start: DeviceTensor,
  original: DeviceTensor,
  { seen }: StudentOptions,
): Promise<Rounding> {
  const inputNamed = (kind: TreatmentInput["kind"]): string | null =>
    treatment.inputs.find((input) => input.kind === kind)?.name ?? null;
  const valueOf = (input: TreatmentInput): DeviceTensor | number | null => {
    switch (input.kind) {
      case "weight":
      case "factors":
      case "parameter":
      case "clock":
        return null;
      case "packed":
        return packedOf(start);
      case "start":
        return start;
      case "original":
        return original;
      case "number":
      case "block":
      case "blocks":
        return place[input.kind];
      case "windows":
        return seen?.windows ?? 0;
      case "tokens":
        return seen?.tokens ?? 0;
      case "statistic": {
        const statistic = seen?.statistics.get(input.observe)?.get(inputOf(caller.functions, block, linear));
        if (statistic === undefined) throw new InternalError(`nothing was observed for ${linear.name}`);
        return statistic;
      }
      case "measured":
      case "measured_here":
        throw new InternalError(`a training of ${linear.name} takes what was measured`);
      default:
        return input satisfies never;
    }
  };
  const given: Record<string, DeviceTensor | number> = {};
  for (const input of treatment.inputs) {
    const value = valueOf(input);
    if (value !== null) given[input.name] = value;
  }
  const parameters: { readonly input: string; readonly start: DeviceTensor }[] = [];
  for (const input of treatment.inputs) {
    if (input.kind === "factors")
      parameters.push({ input: input.name, start: await factorsOf(caller, linear, start, arena) });
    if (input.kind !== "parameter") continue;
    const begins = await withArena(caller.executor, async (own) => {
      const args: Record<string, DeviceTensor | number> = {};
      for (const each of input.start.inputs) {
        const value = valueOf(each);
        if (value === null) throw new InternalError(`a parameter of ${linear.name} begins as what changes`);
        args[each.name] =
          typeof value === "number" || value.format === null
            ? value
            : own.own(first(await caller.call("dense", { w: value })));
      }
      return first(await caller.callGraph(input.start.graph, args, { sizes: sizesOf(linear) }));
    });
    parameters.push({ input: input.name, start: arena.own(begins) });
  }
  return {
    ...treatmentGraphs(treatment, caller.functions),
    weight: inputNamed("weight"),
    adjoint: `d_${treatment.stores ?? ""}`,
    clock: inputNamed("clock"),
    sizes: sizesOf(linear),
    parameters,
    given,
  };
}
