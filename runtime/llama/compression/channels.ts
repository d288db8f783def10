/** Channels that change places: in every weight that shares them, so that the model gives what it gave. */
import { InternalError } from "../../../compiler/diagnostic.js";
import {
  sharedAxes,
  type ChannelFamily,
  type SharedAxes,
  type SharedAxis,
} from "../../../compiler/graph/analysis/shared-axis.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import type { Permutation } from "../../../compiler/recipe/recipe.js";
import { elementBits, isFloatType, toFloats } from "../../model/elements.js";
import type { Block, Linear, Model } from "../../model/opened.js";
import { withArena } from "../../run/arena.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import { blockGraph } from "../blocks.js";
import type { Functions } from "../functions.js";
import { bind, type Caller } from "../call.js";
import { LlamaError } from "../error.js";
import type { ChannelOrder } from "../long-runs/manifest.js";
import { first } from "../results.js";

/** A model whose channels may change places; all else is as it lies in the files. */
export interface Channels {
  readonly model: Model;
  /** The places that have changed so far, by the layers that take the channels. */
  readonly found: () => readonly ChannelOrder[];
  /**
   * Gives the channels that a layer takes the order of a permutation; `score` f32 [N, K] stays the caller's.
   * @throws LlamaError unsupported-model, recipe
   */
  permute(caller: Caller, linear: Linear, score: DeviceTensor, permutation: Permutation): Promise<void>;
}

/** How an axis of a tensor is read: element k of it is element `order[k]` of what lies in the file. */
interface Move {
  readonly axis: number;
  readonly order: Uint32Array;
}

/** The channels of a model, as an earlier run has left them. */
export function createChannels(functions: Functions, given: Model, before: readonly ChannelOrder[] = []): Channels {
  const moves = new Map<string, readonly Move[]>();
  const found: ChannelOrder[] = [];
  /** The tensor that was read last: it is read in pieces. */
  let last: { readonly name: string; readonly bytes: Uint8Array<ArrayBuffer> } | null = null;

  async function whole(name: string): Promise<Uint8Array<ArrayBuffer>> {
    if (last?.name === name) return last.bytes;
    const { shape, dtype } = given.tensor(name);
    const bytes = (moves.get(name) ?? []).reduce(
      (read, move) => moved(read, shape, elementBits[dtype] / 8, move),
      await given.read(name),
    );
    last = { name, bytes };
    return bytes;
  }
  const model: Model = {
    ...given,
    async read(name, range) {
      if (!moves.has(name)) return given.read(name, range);
      const bytes = await whole(name);
      return bytes.slice(range?.begin ?? 0, range?.end ?? bytes.length);
    },
    async readInto(name, target, begin = 0) {
      if (!moves.has(name)) return given.readInto(name, target, begin);
      target.set((await whole(name)).subarray(begin, begin + target.length));
    },
    async *chunks(name, size = 16 * 1024 * 1024) {
      if (!moves.has(name)) return yield* given.chunks(name, size);
      const bytes = await whole(name);
      for (let begin = 0; begin < bytes.length; begin += size)
        yield { begin, bytes: bytes.slice(begin, Math.min(bytes.length, begin + size)) };
    },
    async floats(name, start = 0, count) {
      if (!moves.has(name)) return given.floats(name, start, count);
      const { dtype } = given.tensor(name);
      if (!isFloatType(dtype)) throw new InternalError(`channels of ${name}, of ${dtype}, have changed places`);
      const width = elementBits[dtype] / 8;
      const bytes = await whole(name);
      return toFloats(dtype, bytes.slice(start * width, count === undefined ? bytes.length : (start + count) * width));
    },
  };

  /** Applies an order to all that shares the channels. */
  function apply(linear: Linear, orders: readonly (readonly number[])[]): void {
    const block = blockOf(given, linear);
    const shared = channelsOf(functions, given, linear);
    if (shared.kind === "fixed") throw refusedFixed(linear, shared.reason);
    for (const axis of shared.axes) {
      const tensor = tensorOf(block, axis.input);
      if (tensor === null) continue;
      if (given.tensor(tensor).format !== null)
        throw new LlamaError(
          "unsupported-model",
          `The channels that ${linear.name} takes cannot change places, for ${tensor} is packed already. Permute the model before it is compressed.`,
        );
      const size = given.tensor(tensor).shape[axis.axis] ?? 0;
      moves.set(tensor, [...(moves.get(tensor) ?? []), { axis: axis.axis, order: orderOfAxis(size, axis, orders) }]);
    }
    last = null;
    found.push({ layer: linear.name, orders });
  }
  for (const { layer, orders } of before) {
    const linear = given.linears.find(({ name }) => name === layer);
    if (linear !== undefined) apply(linear, orders);
  }

  return {
    model,
    found: () => [...found],
    async permute(caller, linear, score, { exchange, rounds, function: by }) {
      const shared = channelsOf(functions, given, linear);
      if (shared.kind === "fixed") throw refusedFixed(linear, shared.reason);
      const { channels, members } = shared.family;
      const orders: (readonly number[])[] = [];
      for (let group = 0; group < linear.inputs / channels / members; group++)
        orders.push(
          await withArena(caller.executor, async (arena) => {
            const some =
              channels === linear.inputs
                ? score
                : arena.own(
                    first(await caller.call("channel_rows", { score, group }, { sizes: { members, C: channels } })),
                  );
            const [column, next] = [exchange.inputs[0]?.name, exchange.inputs[1]?.name];
            const at = exchange.inputs[2]?.name;
            if (column === undefined || next === undefined || at === undefined)
              throw new InternalError(`${by} takes too little`);
            let order: DeviceTensor = arena.own(
              await caller.executor.fill(
                "i32",
                [channels],
                Int32Array.from({ length: channels }, (_, k) => k),
                "the order",
              ),
            );
            for (let round = 0; round < rounds; round++) {
              const better = first(await caller.callGraph(exchange, { [column]: some, [next]: order, [at]: round }));
              arena.release(order);
              order = arena.own(better);
            }
            return checkedOrder([...(await caller.executor.values(order))], by, linear);
          }),
        );
      apply(linear, orders);
    },
  };
}

/** Which tensors of a layer's block share the channels that it takes, or why they stay where they are. */
export function channelsOf(functions: Functions, model: Pick<Model, "blocks" | "config">, linear: Linear): SharedAxes {
  const block = blockOf(model, linear);
  const { layout } = block;
  const form = (shape: readonly number[]): TensorForm => ({ dtype: "f32", shape, format: null });
  const graph = blockGraph(functions, layout.function, { whole: true, window: layout.scalars["window"] !== undefined });
  const forms: { readonly [name: string]: TensorForm } = {
    ...Object.fromEntries(block.linears.map((each) => [each.parameter, form([each.outputs, each.inputs])])),
    ...Object.fromEntries(block.vectors.map((each) => [each.parameter, form([each.length])])),
    ...Object.fromEntries((layout.zeros ?? []).map((each) => [each.parameter, form(each.shape)])),
    // of any tokens
    x: form([2, 3, model.config.hiddenSize]),
  };
  const { sizes, dtypes } = bind(graph, forms, { sizes: layout.sizes });
  const bound = specialize(
    graph,
    {
      sizes: new Map(Object.entries(sizes ?? {})),
      dtypes: new Map(Object.entries(dtypes ?? {})),
      formats: new Map(graph.parameters.formats.map((name) => [name, null])),
    },
    { f16: false },
  );
  if (!("graph" in bound)) throw new InternalError(bound.map(({ message }) => message).join("; "));
  const shared = sharedAxes(bound.graph, linear.parameter, 1);
  if (shared.kind === "fixed") return shared;
  const known = new Set(Object.keys(forms));
  known.delete("x");
  const other = shared.axes.find(({ input }) => !known.has(input));
  return other === undefined ? shared : { kind: "fixed", reason: `\`${other.input}\` has them, which is no weight` };
}

/** Why a layer's channels stay. */
export function fixedWords(linear: Linear, reason: string): { readonly message: string; readonly help: string } {
  return {
    message: `the channels that ${linear.name} takes cannot change places: ${reason}`,
    help: 'those between the products of a feed-forward half can, and those of values: `matching "down_proj", "o_proj"`',
  };
}

function refusedFixed(linear: Linear, reason: string): LlamaError {
  return new LlamaError("unsupported-model", `In this model ${fixedWords(linear, reason).message}.`);
}

function blockOf(model: Pick<Model, "blocks">, { block }: Linear): Block {
  const found = model.blocks[block];
  if (found === undefined) throw new InternalError(`the model has no block ${block}`);
  return found;
}

/** The tensor that is given for a parameter; null for zeros that stand for one. */
function tensorOf({ linears, vectors }: Block, parameter: string): string | null {
  return (
    linears.find((each) => each.parameter === parameter)?.weight ??
    vectors.find((each) => each.parameter === parameter)?.name ??
    null
  );
}

/** The order of a whole axis, of that of each group of runs. */
function orderOfAxis(
  size: number,
  { channels, members }: ChannelFamily & Pick<SharedAxis, "axis">,
  orders: readonly (readonly number[])[],
): Uint32Array {
  return Uint32Array.from({ length: size }, (_, place) => {
    const run = Math.floor(place / channels);
    const from = orders[Math.floor(run / members)]?.[place % channels];
    if (from === undefined) throw new InternalError(`an order of ${channels} channels lacks ${place % channels}`);
    return run * channels + from;
  });
}

/** @throws LlamaError recipe where it is no order of as many channels */
function checkedOrder(order: readonly number[], by: string, linear: Linear): readonly number[] {
  const seen = new Set(order.filter((each) => Number.isInteger(each) && each >= 0 && each < order.length));
  if (seen.size === order.length) return order;
  throw new LlamaError(
    "recipe",
    `What ${by} gives for ${linear.name} is no order of its ${order.length} channels: each should stand at one place.`,
  );
}

/** The elements of a tensor with the places of an axis changed. */
function moved(
  bytes: Uint8Array<ArrayBuffer>,
  shape: readonly number[],
  width: number,
  { axis, order }: Move,
): Uint8Array<ArrayBuffer> {
  const inner = width * shape.slice(axis + 1).reduce((product, size) => product * size, 1);
  const outer = shape.slice(0, axis).reduce((product, size) => product * size, 1);
  const result = new Uint8Array(bytes.length);
  for (let block = 0; block < outer; block++) {
    const begin = block * order.length * inner;
    order.forEach((from, to) => {
      const at = begin + from * inner;
      result.set(bytes.subarray(at, at + inner), begin + to * inner);
    });
  }
  return result;
}
