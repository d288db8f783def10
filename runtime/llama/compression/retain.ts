/** Taking columns out of a model: those of a layer that stay are chosen by score, and what belongs to the others goes. */
import { selections } from "../../../compiler/graph/analysis/removal.js";
import { InternalError } from "../../../compiler/diagnostic.js";
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import { elementBits, type ElementType } from "../../model/elements.js";
import type { Linear } from "../../model/layout.js";
import { modelWriter, type OutputTensor } from "../../model/model-writer.js";
import type { Model, ModelTensor } from "../../model/opened.js";
import { withArena } from "../../run/arena.js";
import { LlamaError } from "../error.js";
import type { RetainedParts, WeightRecord } from "../long-runs/manifest.js";
import { layerError, relativeError } from "../measure.js";
import { first } from "../results.js";
import { storedFormat, uploadPieces } from "../weights.js";
import { inputOf } from "../blocks.js";
import { createTreater, type Seen } from "./treat.js";
import { createWorkingModel, storedBytes } from "./working-model.js";
import { retainingLoops, type Loop, type Narrowing, type PlannedRetention } from "./retention-plan.js";
import { warnOf, type Run } from "./run.js";

/** The loops of a recipe that retain, by number. */
export function retentionsIn(recipe: Recipe): ReadonlyMap<Loop, number> {
  return new Map(recipe.steps.flatMap(retainingLoops).map((loop, at) => [loop, at]));
}

/** The parts with the highest sums of scores, in order; of equals the first. */
export function highestParts(scores: ArrayLike<number>, parts: Int32Array, count: number, kept: number): number[] {
  const sums = new Float64Array(count);
  parts.forEach((part, at) => (sums[part]! += scores[at]!));
  return Array.from(sums, (sum, part) => ({ sum, part }))
    .sort((a, b) => b.sum - a.sum || a.part - b.part)
    .slice(0, kept)
    .map(({ part }) => part)
    .sort((a, b) => a - b);
}

/** Elements of a matrix [rows, columns], or of a vector, of which along an axis some stay, in the order of `from`. */
export function selected(
  bytes: Uint8Array,
  shape: readonly number[],
  width: number,
  { axis, from }: { readonly axis: number; readonly from: Int32Array },
): Uint8Array<ArrayBuffer> {
  const inner = shape.slice(axis + 1).reduce((all, each) => all * each, width);
  const outer = shape.slice(0, axis).reduce((all, each) => all * each, 1);
  const length = shape[axis] ?? 0;
  const made = new Uint8Array(outer * from.length * inner);
  for (let at = 0; at < outer; at++)
    from.forEach((place, to) => {
      const begin = (at * length + place) * inner;
      made.set(bytes.subarray(begin, begin + inner), (at * from.length + to) * inner);
    });
  return made;
}

/**
 * Chooses what of a layer's columns stays, and zeroes the others: until the whole loop is over, that is what the model is
 * without them.
 * @throws LlamaError not-finite
 */
export async function retainColumns(
  run: Run,
  { planned, id }: { readonly planned: PlannedRetention; readonly id: number },
  linear: Linear,
  seen: Seen | null,
  scores: ArrayLike<number>,
): Promise<void> {
  const { caller, model, working } = run;
  const proven = planned.removals[planned.layers.findIndex(({ name }) => name === linear.name)];
  const membership = proven?.before.values.get(proven.before.sum.load.tensor);
  if (proven === undefined || membership === undefined) throw new InternalError(`${linear.name} has no parts`);
  for (let at = 0; at < scores.length; at++)
    if (!Number.isFinite(scores[at]))
      throw new LlamaError(
        "not-finite",
        `The score of column ${at} of ${linear.name}, by which columns are retained, is ${scores[at]}, and should be finite.`,
      );
  const kept = highestParts(scores, membership.parts, proven.before.count, planned.kept);
  const stays = new Set(kept);
  const stored = model.tensor(linear.weight);
  const record = working.treated.get(linear.weight);
  const format = record?.format ?? storedFormat(stored);
  const width = elementBits[plainType(record, stored)] / 8;
  const bytes = await wholeOf(run, linear.weight);
  const started = performance.now();
  for (let row = 0; row < linear.outputs; row++)
    membership.parts.forEach((part, column) => {
      const begin = (row * linear.inputs + column) * width;
      if (!stays.has(part)) bytes.fill(0, begin, begin + width);
    });
  await withArena(caller.executor, async (arena) => {
    const shape = [linear.outputs, linear.inputs];
    const tensor = await uploadPieces(
      caller,
      { dtype: "f32", shape, format },
      linear.weight,
      bytes.length,
      arena,
      async (part, begin) => part.set(bytes.subarray(begin, begin + part.length)),
    );
    const given = arena.own(first(await caller.call("dense", { w: await working.given(linear) })));
    const change = await relativeError(caller, tensor, given);
    const gram = seen?.gram(inputOf(caller.functions, model.blocks[linear.block]!, linear)) ?? null;
    const error = gram === null ? null : await layerError(caller, tensor, given, gram);
    const next: WeightRecord = {
      name: linear.weight,
      format,
      pattern: { kind: "full" },
      shape,
      bytes: storedBytes(linear.weight, format, shape),
      relativeError: change,
      layerError: error !== null && Number.isFinite(error) ? error : null,
      seconds: (record?.seconds ?? 0) + (performance.now() - started) / 1000,
    };
    working.replace(next, arena.keep(tensor));
    run.retained.push({ retention: id, layer: linear.name, block: linear.block, kept, record: next });
    warnOf(run, next);
  });
}

/** The element type of a dense weight as it is now. */
function plainType(record: WeightRecord | undefined, stored: ModelTensor): ElementType {
  if (record === undefined) return stored.dtype;
  const types: { readonly [format: string]: ElementType } = { f16: "F16", bf16: "BF16", f32: "F32" };
  const type = types[record.format.name];
  if (type === undefined) throw new InternalError(`${record.name} is packed, and becomes smaller`);
  return type;
}

/** All bytes of a tensor as it is now. */
async function wholeOf({ model, working }: Run, name: string): Promise<Uint8Array<ArrayBuffer>> {
  if (!working.treated.has(name)) return model.read(name);
  const bytes = new Uint8Array(working.treated.get(name)!.bytes);
  let end = 0;
  for await (const piece of working.pieces(name)) {
    bytes.set(piece, end);
    end += piece.length;
  }
  return bytes;
}

/**
 * The model that a narrowing leaves, written beside what the run has finished, and everything that follows done to it.
 * A run that goes on finds it there.
 */
export async function narrow(
  run: Run,
  { retentions, config }: Narrowing,
  ids: ReadonlyMap<Loop, number>,
): Promise<void> {
  const { place, state, caller } = run;
  await run.working.keep();
  const directory = place.within(state.directory, `narrowed-${run.step}`);
  const found = await place.openModel(directory);
  if (found === null) await writeNarrowed(run, retentions, config, ids, directory);
  const model = found ?? (await place.openModel(directory));
  if (model === null) throw new InternalError(`${directory} was not written`);
  run.opened.push(model);
  const { working } = run;
  working.release();
  // a head that was tied is none of the model's own tensors, and keeps its shape
  const own = new Map(model.tensors.map(({ name, shape }) => [name, shape]));
  const isLeft = ({ name, shape }: WeightRecord): boolean => (own.get(name) ?? shape).join() === shape.join();
  run.model = model;
  run.working = createWorkingModel(
    caller,
    model,
    {
      weights: new Map([...state.weights].filter(([, record]) => isLeft(record))),
      read: (name, target, begin) => state.read(name, target, begin),
      add: (record, pieces) => state.add(record, pieces),
    },
    run.working.folds,
    run.given,
    run.working.activations,
  );
  run.treater = createTreater(caller, model, run.working, { share: run.options.share, measured: run.measured });
}

async function writeNarrowed(
  run: Run,
  retentions: Narrowing["retentions"],
  config: Narrowing["config"],
  ids: ReadonlyMap<Loop, number>,
  directory: string,
): Promise<void> {
  const { model, working, place } = run;
  /** What stays of each tensor, retention after retention. */
  const cuts = new Map<string, { readonly axis: number; readonly from: Int32Array }[]>();
  for (const [loop, planned] of retentions) {
    const id = ids.get(loop);
    for (const [at, { block }] of planned.layers.entries()) {
      const kept = run.retained.find((each) => each.retention === id && each.block === block)?.kept;
      if (kept === undefined) throw new InternalError(`nothing was retained in block ${block}`);
      const { layout, name: prefix } = model.blocks[block]!;
      for (const { parameter, axis, from } of selections(planned.removals[at]!, kept)) {
        const tensor = layout.tensors.find((each) => each.parameter === parameter);
        if (tensor === undefined) continue;
        const name = `${prefix}.${tensor.name}`;
        cuts.set(name, [...(cuts.get(name) ?? []), { axis, from }]);
      }
    }
  }
  const tensors = model.tensors.map((stored): OutputTensor => {
    const own = cuts.get(stored.name) ?? [];
    const shape = stored.shape.map((length, axis) => own.findLast((cut) => cut.axis === axis)?.from.length ?? length);
    const dtype = plainType(working.treated.get(stored.name), stored);
    return { name: stored.name, shape, dtype, format: stored.format, pattern: stored.pattern };
  });
  const writer = await modelWriter({ source: { ...model, config }, tensors, recipe: null, force: true }, (plan) =>
    place.createDirectory(directory, plan),
  );
  try {
    for (const { name, dtype } of tensors) {
      const own = cuts.get(name);
      if (own === undefined) {
        await writer.copy(name);
        continue;
      }
      let bytes = await wholeOf(run, name);
      let shape = model.tensor(name).shape;
      for (const cut of own) {
        bytes = selected(bytes, shape, elementBits[dtype] / 8, cut);
        shape = shape.map((length, axis) => (axis === cut.axis ? cut.from.length : length));
      }
      await writer.append(name, bytes);
    }
    await writer.finish();
  } catch (error) {
    await writer.discard();
    throw error;
  }
}

/** The records of layers of which columns were retained, with the shapes that they have now. */
export function retainedRecords(
  retained: readonly RetainedParts[],
  model: Pick<Model, "tensor">,
): readonly WeightRecord[] {
  return retained.map(({ record }) => {
    const { shape, bytes } = model.tensor(record.name);
    return { ...record, shape, bytes };
  });
}
