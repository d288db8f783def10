import type { Shape } from "../../compiler/formats/format.js";
import { formatBytes, formatOfSpec, formatWords } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import type { DeviceTensor, Executor } from "../run/run.js";
import { withArena } from "../run/arena.js";

/** Weights whose rows repeat, so that a large tensor is made and checked at the price of a small one. */
export interface RepeatedWeights {
  /** Words of the whole [n, k] tensor. */
  readonly words: Uint32Array<ArrayBuffer>;
  /** Dense values of the rows that repeat, [rows, k]. */
  readonly values: Float32Array;
  readonly rows: number;
}

/** Random numbers in -1 .. 1, repeatable. */
export function randomValues(count: number, seed: number): Float32Array<ArrayBuffer> {
  let state = (seed * 2654435761 + 12345) >>> 0;
  const values = new Float32Array(count);
  for (let at = 0; at < count; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    values[at] = state / 2 ** 31 - 1;
  }
  return values;
}

/** Rows of random weights in a format, which larger tensors repeat. */
interface Tile {
  readonly shape: Shape;
  readonly words: Uint32Array<ArrayBuffer>;
  /** As decoding gives them. */
  readonly values: Float32Array;
}

/** The most rows of a tile. */
const tileRows = 64;

/** Rows of random weights in -amplitude .. amplitude, a power of two. */
function tileOf(spec: FormatSpec, n: number, k: number, seed: number, amplitude: number): Tile {
  const format = formatOfSpec(spec);
  const rows = Math.min(n, tileRows);
  const shape = { rows, columns: k };
  const dense = randomValues(rows * k, seed).map((value) => value * amplitude);
  const pattern = format.pattern(spec);
  if (pattern?.kind === "nm") {
    // which ones of a group are kept differs from group to group
    for (let at = 0; at < dense.length; at++) {
      const group = Math.floor(at / pattern.m);
      if ((at + group * 3 + Math.floor(group / 5)) % pattern.m >= pattern.n) dense[at] = 0;
    }
  }
  const grid = format.grid(spec);
  const groups = grid === null ? 0 : grid.group === "channel" ? 1 : k / grid.group;
  const scale = new Float32Array(rows * groups).fill(amplitude / 8);
  const words = format.encode(
    spec,
    shape,
    dense,
    grid === null ? null : { scale, zero: grid.symmetric ? null : new Float32Array(rows * groups).fill(8) },
  );
  return { shape, words, values: format.decode(spec, shape, words) };
}

/** Random weights of [n, k] in a format: n is a multiple of the rows that repeat. */
export function repeatedWeights(spec: FormatSpec, n: number, k: number, seed: number): RepeatedWeights {
  const format = formatOfSpec(spec);
  const tile = tileOf(spec, n, k, seed, 1);
  const full = { rows: n, columns: k };
  const words = new Uint32Array(formatWords(spec, full));
  const to = format.sections(spec, full);
  format.sections(spec, tile.shape).forEach((section, at) => {
    const target = to[at]!;
    for (let offset = 0; offset < target.words; offset += section.words)
      words.set(
        tile.words.subarray(section.offset, section.offset + Math.min(section.words, target.words - offset)),
        target.offset + offset,
      );
  });
  return { words, values: tile.values, rows: tile.shape.rows };
}

/** Deviation of a model's weights is near 0.02: that of uniform numbers in these bounds. */
const weightAmplitude = 2 ** -5;

/**
 * Random weights [n, k] on the device, in the format they would be stored in. A few rows are made and written; the
 * device copies them to the rest.
 */
export async function weightsOnDevice(
  executor: Executor,
  spec: FormatSpec,
  shape: Shape,
  seed: number,
): Promise<DeviceTensor> {
  const format = formatOfSpec(spec);
  const { rows, columns } = shape;
  const tile = tileOf(spec, rows, columns, seed, weightAmplitude);
  const form = { dtype: "f32", shape: [rows, columns], format: spec } as const;
  return withArena(executor, async (arena) => {
    const source = arena.own(await executor.upload({ ...form, shape: [tile.shape.rows, columns] }, tile.words));
    const tensor = arena.own(await executor.allocate(form, "random weights", formatBytes(spec, shape)));
    await executor.finish();
    const { gpu } = executor.device;
    const encoder = gpu.createCommandEncoder();
    const sections = format.sections(spec, shape);
    format.sections(spec, tile.shape).forEach(({ offset: from, words: some }, at) => {
      const { offset, words } = sections[at]!;
      for (let done = 0; done < words; done += some)
        encoder.copyBufferToBuffer(
          source.buffer,
          source.offset + 4 * from,
          tensor.buffer,
          tensor.offset + 4 * (offset + done),
          4 * Math.min(some, words - done),
        );
    });
    await executor.device.guarded("copying random weights", () => gpu.queue.submit([encoder.finish()]));
    return arena.keep(tensor);
  });
}
