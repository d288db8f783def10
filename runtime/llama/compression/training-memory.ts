/** What a training will take of the device's memory: told, and held against what there is, before anything is read. */
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { TrainStep, Treatment } from "../../../compiler/recipe/recipe.js";
import type { Target } from "../../../compiler/target.js";
import { formatBytes } from "../../device/error.js";
import type { Linear, Model } from "../../model/model.js";
import type { Caller } from "../call.js";
import type { ActivationDtype } from "../weights.js";
import { lossOf } from "../training/loss.js";
import { bytesOf, bytesOfPass, fittingWindows, rowsOfHead, type TrainingMemory } from "../training/room.js";
import { bytesOfTrained, type TrainedElements } from "../training/trained.js";
import type { TrainingWindows } from "../training/text.js";
import { trainedElements, trainedTreatment, type TreatedLayers } from "./students.js";
import { bytesOfUpdate } from "./update-memory.js";

/** How a training goes through the device: windows at once, rows of logits at once, and the bytes that takes. */
export interface TrainingRoom {
  readonly places: number;
  readonly rows: number;
  readonly memory: TrainingMemory;
}

export interface RoomOptions {
  readonly dtype: ActivationDtype;
  /** Whether something is held out, and so the best state kept. */
  readonly keepsBest: boolean;
  /** Bytes of the device's memory; null where that is not known. */
  readonly limit: number | null;
  /** Bytes of tables, embedding and head, that the recipe has stored anew; 0 for none. */
  readonly tables: number;
  /** Bytes of calibration activations that stay on the device while blocks are trained. */
  readonly calibration: number;
  /** The library, which says what formats are packed on the host like. */
  readonly functions: ReadonlyMap<string, SymbolicGraph>;
}

/** Bytes of memory that a training may take: what was said of a GPU, else what a machine has whose CPU computes. */
export function memoryLimit({ target, executor }: Caller, said: number | undefined): number | null {
  return said ?? (target.kind === "cpu" ? executor.device.hostMemory : null);
}

/** A training, as far as its memory goes. */
export type SizedTraining = Pick<TrainStep, "scope" | "settings" | "layers" | "loss" | "beside">;

/** What of a training is asked for: so many windows of so many tokens at once, and in a block only some layers. */
interface Part {
  readonly scope: TrainStep["scope"];
  readonly places: number;
  readonly tokens: number;
  readonly takes: (linear: Linear) => boolean;
}

/**
 * The room that a training takes: as many windows at once as fit.
 * @throws LlamaError context-too-large where not even one does; it says what would
 */
export function trainingRoom(
  target: Target,
  model: Model,
  step: SizedTraining,
  { tokens }: Pick<TrainingWindows, "tokens">,
  options: RoomOptions,
): TrainingRoom {
  const { config } = model;
  const { scope, settings } = step;
  const whole = { scope, tokens, takes: () => true };
  const { places, memory } = fittingWindows(
    target,
    config,
    { tokens, batch: settings.batch },
    (at) => memoryOf(target, model, step, { ...whole, places: at }, options),
    options.limit,
    () => adviceFor(target, model, step, tokens, options),
  );
  return { places, rows: rowsOfHead(target, config, places * tokens), memory };
}

/** What a training, or a part of it, takes. */
function memoryOf(
  target: Target,
  model: Model,
  step: SizedTraining,
  { scope, places, tokens, takes }: Part,
  { dtype, keepsBest, calibration, tables, functions }: RoomOptions,
): TrainingMemory {
  const { config, blocks, tensors } = model;
  const { layers, beside } = step;
  const width = dtype === "f16" ? 2 : 4;
  const trainedOf = (linear: Linear): number => (takes(linear) ? trainedElements(layers, linear) : 0);
  /** Elements of all layers, of those of which something is trained, and of what is trained. */
  const elementsOf = (linears: readonly Linear[]): TrainedElements & { readonly all: number } => {
    const elements = linears.map((linear) => ({ own: linear.inputs * linear.outputs, trained: trainedOf(linear) }));
    const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
    return {
      all: sum(elements.map(({ own }) => own)),
      used: sum(elements.map(({ own, trained }) => (trained > 0 ? own : 0))),
      trained: sum(elements.map(({ trained }) => trained)),
    };
  };
  const update = updateBytes(target, model, layers, takes, functions, dtype);
  if (scope === "block") {
    // the largest block: its weights as they are stored, as they were given, and decoded
    const largest = blocks.map(({ linears }) => elementsOf(linears)).reduce((a, b) => (b.all > a.all ? b : a));
    const given = Math.max(
      ...blocks.map(({ linears }) => linears.reduce((sum, { weight }) => sum + model.tensor(weight).bytes, 0)),
    );
    return {
      state: bytesOfTrained(largest, dtype, keepsBest),
      dense: 2 * given + 2 * largest.all * width,
      activations: calibration + update + bytesOfPass(config, dtype, { windows: places, tokens, blocks: 1, rows: 0 }),
    };
  }
  const all = elementsOf(blocks.flatMap(({ linears }) => linears));
  const stored = tensors.reduce((sum, tensor) => sum + tensor.bytes, 0);
  const head = config.vocabSize * config.hiddenSize * width;
  return {
    state: bytesOfTrained(all, dtype, keepsBest),
    dense:
      stored +
      tables +
      head +
      (lossOf(step.loss).dense === null && beside === null ? 0 : all.all * width + (tables === 0 ? 0 : head)),
    activations:
      update +
      bytesOfPass(config, dtype, {
        windows: places,
        tokens,
        // with a loss of blocks what they should give is kept as well
        blocks: (beside === null ? 1 : 2) * blocks.length,
        rows: rowsOfHead(target, config, places * tokens),
      }),
  };
}

/** What the update of the largest layer computes in; the others follow one by one. */
function updateBytes(
  target: Target,
  { blocks }: Model,
  layers: TreatedLayers,
  takes: (linear: Linear) => boolean,
  functions: RoomOptions["functions"],
  dtype: ActivationDtype,
): number {
  const largest = new Map<Treatment, Linear>();
  for (const linear of blocks.flatMap(({ linears }) => linears)) {
    const treatment = takes(linear) ? trainedTreatment(layers, linear.name) : null;
    if (treatment === null) continue;
    const known = largest.get(treatment);
    if (known === undefined || linear.inputs * linear.outputs > known.inputs * known.outputs)
      largest.set(treatment, linear);
  }
  return Math.max(
    0,
    ...[...largest].map(([treatment, linear]) => bytesOfUpdate(target, functions, treatment, linear, dtype)),
  );
}

/** Shorter windows than these are not proposed. */
const shortest = 64;

/** What would fit where a training of windows of so many tokens does not. */
function adviceFor(target: Target, model: Model, step: SizedTraining, tokens: number, options: RoomOptions): string {
  const limit = options.limit ?? Infinity;
  const { scope } = step;
  const bytes = (part: Partial<Part>, calibration = options.calibration): number =>
    bytesOf(
      memoryOf(
        target,
        model,
        step,
        { scope, places: 1, tokens, takes: () => true, ...part },
        { ...options, calibration },
      ),
    );
  const isAttention = ({ name }: Linear): boolean => name.includes(".self_attn.");
  const halves = [isAttention, (linear: Linear) => !isAttention(linear)];
  const trains = (takes: (linear: Linear) => boolean): boolean =>
    model.blocks.some(({ linears }) => linears.some((each) => takes(each) && trainedTreatment(step.layers, each.name)));
  const smaller = [
    ...(scope === "block" ? [{ what: "the same", bytes: bytes({}) }] : []),
    ...(scope === "model"
      ? [{ what: "a block at a time, as `block-2of4` among the examples", bytes: bytes({ scope: "block" }) }]
      : []),
    ...(halves.every(trains)
      ? [
          {
            what: "half a block at a time, as `halves-2of4` among the examples",
            bytes: Math.max(...halves.map((takes) => bytes({ scope: "block", takes }))),
          },
        ]
      : []),
  ];
  const found = smaller.flatMap(({ what, bytes: all }) => {
    const spare = limit - (all - options.calibration);
    if (all <= limit) return [`${what} (${formatBytes(all)})`];
    return spare < 0 ? [] : [`${what}, with --calibration-memory ${Math.floor(spare / 2 ** 20)}MiB`];
  });
  for (let shorter = Math.floor(tokens / 2); shorter >= shortest; shorter = Math.floor(shorter / 2)) {
    if (bytes({ tokens: shorter }, (options.calibration * shorter) / tokens) > limit) continue;
    found.push(`windows of ${shorter} tokens (--window ${shorter})`);
    break;
  }
  if (found.length > 0) return `What fits: ${found.join("; ")}.`;
  const last = smaller.at(-1);
  return last === undefined || last.what === "the same"
    ? "Take a GPU with that much."
    : `The least is ${last.what}: ${formatBytes(last.bytes)}. Take a GPU with that much.`;
}
