/** `scale w by q` in a loop over the stream: an orthogonal matrix folded into the weights, a block at a time. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { RotateStep } from "../../../compiler/recipe/recipe.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { embeddingName, headName, normName } from "../../model/layout.js";
import { withArena, type Arena } from "../../run/arena.js";
import type { DeviceTensor } from "../../run/run.js";
import { LlamaError } from "../error.js";
import type { WeightRecord } from "../long-runs/manifest.js";
import { asMatrix, relativeError } from "../measure.js";
import { first } from "../results.js";
import { fitsHalf, loadWeight, storedFormat } from "../weights.js";
import { report, type Run } from "./run.js";
import { rotatedBlock } from "./stream.js";
import { storedBytes } from "./working-model.js";

/** The most that Q^T Q may be from the identity. */
const mostError = 1e-4;

/** What a tensor becomes. */
type Change =
  /** W diag(gain) Q; a vector, which is written, is a matrix of one row. */
  | { readonly kind: "columns"; readonly gain: string | null }
  /** Q^T W. */
  | { readonly kind: "rows" }
  | { readonly kind: "ones" };

/** What the tensors of a model become, by their names, a block after another. */
function changesOf({ caller, model }: Run): readonly (readonly (readonly [string, Change])[])[] {
  const blocks = model.blocks.map((block) => {
    const rotation = rotatedBlock(caller.functions, block);
    if (rotation.kind === "none") throw new InternalError("a stream that cannot be rotated was not refused");
    const nameOf = (parameter: string): string | null => {
      const tensor = block.layout.tensors.find((each) => each.parameter === parameter);
      return tensor === undefined ? null : `${block.name}.${tensor.name}`;
    };
    return [...rotation.roles].flatMap(([parameter, { kind, gain }]): readonly (readonly [string, Change])[] => {
      const tensor = block.layout.tensors.find((each) => each.parameter === parameter);
      const name = nameOf(parameter);
      // what this model has not is zero, and stays so
      if (tensor === undefined || name === null) return [];
      if (kind === "ones") return [[name, { kind: "ones" }]];
      if (kind === "reads") return [[name, { kind: "columns", gain: gain === null ? null : nameOf(gain) }]];
      return [[name, tensor.shape.length === 1 ? { kind: "columns", gain: null } : { kind: "rows" }]];
    });
  });
  return [
    [[embeddingName, { kind: "columns", gain: null }]],
    ...blocks,
    [
      [headName, { kind: "columns", gain: normName }],
      [normName, { kind: "ones" }],
    ],
  ];
}

/**
 * Makes what was given rotated from here on, for a run that goes on as for one that rotates now; gives what is to change.
 * @throws LlamaError not-finite for a matrix that is not orthogonal
 */
export async function prepareRotation(run: Run, step: RotateStep): Promise<ReturnType<typeof changesOf>> {
  const { caller, model, working } = run;
  const { executor } = caller;
  const width = model.config.hiddenSize;
  const q = await withArena(executor, async (arena) => {
    const made = arena.own(first(await caller.callGraph(step.graph, {}, { sizes: { N: width, K: width } })));
    const errors = arena.own(first(await caller.call("orthogonal_error", { q: made })));
    const most = Math.max(...(await executor.values(errors)));
    if (!(most < mostError))
      throw new LlamaError(
        "not-finite",
        `The matrix by which the stream is rotated is not orthogonal: Q^T Q is up to ${most} from the identity. Take \`random_hadamard(w.columns, u32(seed))\`.`,
      );
    return Float32Array.from(await executor.values(made));
  });
  const changes = changesOf(run);
  const byName = new Map(changes.flat());
  const gainOf = async (name: string | null, length: number, arena: Arena): Promise<DeviceTensor> => {
    const values = name === null ? new Float32Array(length).fill(1) : await model.floats(name);
    return arena.own(await executor.fill("f32", [length], values, "gain"));
  };
  working.rotate(async (name, tensor, arena) => {
    const change = byName.get(name);
    if (change === undefined) return tensor;
    const { shape } = tensor;
    if (change.kind === "ones")
      return arena.own(await executor.fill("f32", shape, new Float32Array(elementCount(shape)).fill(1), name));
    return withArena(executor, async (inner) => {
      const matrix = inner.own(await executor.fill("f32", [width, width], q, "rotation"));
      const made =
        change.kind === "rows"
          ? await caller.call("rotated_rows", { w: tensor, q: matrix })
          : await caller.call("rotated_columns", {
              w: asMatrix(tensor),
              gain: await gainOf(change.gain, width, inner),
              q: matrix,
            });
      return arena.own({ ...first(made), shape });
    });
  });
  return changes;
}

/** Rotates the stream of the model: what is done is on the disk before the next block is read. */
export async function rotateStream(run: Run, step: RotateStep): Promise<void> {
  const { working } = run;
  const parts = await prepareRotation(run, step);
  for (const [at, part] of parts.entries()) {
    for (const [name] of part) await rotateTensor(run, name);
    await working.keep();
    working.unload();
    const elements = part.reduce((sum, [name]) => sum + elementCount(shapeOf(run, name)), 0);
    report(run, "compress", "the residual stream", at + 1, parts.length, 2 * elements);
  }
}

function shapeOf({ model }: Run, name: string): readonly number[] {
  return model.tensor(sourceOf(model, name)).shape;
}

/** The tensor of the model that one is made of: a head that is tied is the embedding. */
function sourceOf({ config }: Run["model"], name: string): string {
  return name === headName && config.tiedEmbeddings ? embeddingName : name;
}

async function rotateTensor(run: Run, name: string): Promise<void> {
  const { caller, working } = run;
  const started = performance.now();
  const shape = shapeOf(run, name);
  const tensor = await withArena(caller.executor, async (arena) => {
    const made =
      shape.length === 1
        ? await working.gain(name, arena)
        : await working.rotated(name, await givenOf(run, name, arena), arena);
    return arena.keep(made);
  });
  const format = { name: "f32", args: {}, of: null };
  const now = { ...tensor, format, shape };
  const settles = shape.length === 2 && !isSingle(run, name) && (await fitsHalf(caller, now));
  const record: WeightRecord = {
    name,
    format,
    pattern: { kind: "full" },
    shape,
    bytes: storedBytes(name, format, shape),
    relativeError: 0,
    layerError: null,
    seconds: (performance.now() - started) / 1000,
    ...(settles ? { settles } : {}),
  };
  working.replace(record, now);
}

/** Whether a tensor was given in f32. */
function isSingle({ model }: Run, name: string): boolean {
  return storedFormat(model.tensor(sourceOf(model, name))).name === "f32";
}

/**
 * Rounds what a rotation has left in f32 to f16, one tensor at a time: the model that is written, and evaluated, is of
 * about the size of the one that was given. What a recipe makes of rotated weights before that is made of f32.
 */
export async function settleRotated({ caller, working }: Run): Promise<void> {
  for (const { settles, ...record } of [...working.treated.values()]) {
    if (settles !== true) continue;
    await withArena(caller.executor, async (arena) => {
      const now = await working.now(record.name, arena);
      if (now === null) throw new InternalError(`${record.name} was rotated and is not there`);
      const half = arena.own(first(await caller.call("dense_f16", { w: now })));
      const { name, shape } = record;
      const format = { name: "f16", args: {}, of: null };
      const error = await relativeError(caller, half, now);
      const bytes = storedBytes(name, format, shape);
      working.replace({ ...record, format, bytes, relativeError: error }, arena.keep(half));
    });
    await working.keep();
    working.unload();
  }
}

function givenOf({ caller, model }: Run, name: string, arena: Arena): Promise<DeviceTensor> {
  return loadWeight(caller, model, sourceOf(model, name), "stored", arena);
}
