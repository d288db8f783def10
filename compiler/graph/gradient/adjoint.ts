/** The adjoint of a value as a tensor, from what was added to it. */
import { sameDtype, type DtypeRef } from "../../types/dtype.js";
import { full, type Level } from "../../types/type.js";
import { binary, cast, constant, indexOf, integer, load, reduce, sizeScalar } from "../build.js";
import type { Range, Scalar, ValueId } from "../graph.js";
import { substitute } from "../scalar.js";
import type { Contribution, Derivation } from "./derivation.js";
import { isZero, sameBound, sizeOf } from "./extent.js";

/** A contribution that gives every element once: its body by the axes of the value, summed over what is left. */
interface Whole<L extends Level> {
  readonly body: Scalar<L>;
  readonly over: readonly Range<L>[];
}

/**
 * Defines the adjoint of a value in the dtype in which it is kept: sums in f32, rounded once. What falls on each element
 * in turn is added to zeros first (`update`), then sums of products, then what is element by element; null where nothing
 * was added.
 */
export function adjointOf<L extends Level>(derivation: Derivation<L>, value: ValueId): ValueId | null {
  const { host } = derivation;
  const contributions = derivation.contributions.get(value) ?? [];
  if (contributions.length === 0) return null;
  const { name, type } = host.value(value);
  const f32 = "f32" as L["dtype"];
  const dtype = derivation.kept.get(value) ?? type.dtype;
  const title = `d_${name}`;
  const axes = type.shape.map((size, axis) => host.range(`i${axis}`, integer<L>(0), sizeScalar<L>(size)));
  const here = axes.map((axis) => indexOf<L>(axis));
  const define = (body: Scalar<L>, last: boolean): ValueId =>
    host.define(title, { dtype: last ? dtype : f32, shape: type.shape, pattern: full, format: null }, (out) => ({
      kind: "map",
      out,
      indices: axes,
      body: last && dtype !== "f32" ? cast(body, dtype) : body,
    }));

  const whole: Whole<L>[] = [];
  const scattered: Contribution<L>[] = [];
  for (const contribution of contributions) {
    const found = asWhole(contribution, type.shape, here);
    if (found === null) scattered.push(contribution);
    else whole.push(found);
  }
  const copied = copyOf(derivation, whole, scattered, type.shape, here, dtype);
  if (copied !== null) return copied;
  let sum: ValueId | null = null;
  const soFar = (): readonly Scalar<L>[] => (sum === null ? [] : [load(host.value(sum), here)]);
  for (const { ranges, at, body } of scattered) {
    const base: ValueId = sum ?? define(constant<L>(0, f32), false);
    sum = host.define(title, { dtype: f32, shape: type.shape, pattern: full, format: null }, (out) => ({
      kind: "update",
      out,
      base,
      indices: ranges,
      at,
      body,
      op: "add",
    }));
  }
  if (scattered.length > 0 && whole.length === 0 && dtype === "f32") return sum;
  const sums = whole.filter(({ over }) => over.length > 0);
  const plain = whole.filter(({ over }) => over.length === 0).map(({ body }) => body);
  sums.slice(0, -1).forEach(({ over, body }) => {
    sum = define(added([...soFar(), reduce<L>("sum", over, body)]), false);
  });
  const final = sums.at(-1);
  return define(
    added([
      ...soFar(),
      ...(plain.length === 0 ? [] : [added(plain)]),
      ...(final === undefined ? [] : [reduce<L>("sum", final.over, final.body)]),
    ]),
    true,
  );
}

/** A tensor that is the adjoint already; null where something is to be computed. */
function copyOf<L extends Level>(
  { host }: Derivation<L>,
  whole: readonly Whole<L>[],
  scattered: readonly Contribution<L>[],
  shape: readonly L["size"][],
  here: readonly Scalar<L>[],
  dtype: L["dtype"],
): ValueId | null {
  const [only, ...others] = whole;
  if (only === undefined || others.length > 0 || scattered.length > 0 || only.over.length > 0) return null;
  const loaded = only.body.kind === "cast" && only.body.dtype === "f32" ? only.body.a : only.body;
  if (loaded.kind !== "load" || loaded.guarded) return null;
  const { type } = host.value(loaded.tensor);
  const isWhole =
    loaded.at.length === here.length &&
    loaded.at.every((at, axis) => at === here[axis]) &&
    type.shape.every((size, axis) => sameBound(size, shape[axis] as L["size"]));
  return isWhole && type.format === null && sameDtype(type.dtype as DtypeRef, dtype as DtypeRef) ? loaded.tensor : null;
}

function added<L extends Level>(terms: readonly Scalar<L>[]): Scalar<L> {
  return terms.reduce((sum, each) => binary("add", sum, each));
}

/** A contribution whose places are different indices of its own, each over the whole axis; else null. */
function asWhole<L extends Level>(
  { ranges, at, body }: Contribution<L>,
  shape: readonly L["size"][],
  here: readonly Scalar<L>[],
): Whole<L> | null {
  const renamed = new Map<number, Scalar<L>>();
  for (const [axis, place] of at.entries()) {
    const size = shape[axis];
    const own = here[axis];
    if (place.kind !== "index" || renamed.has(place.index) || size === undefined || own === undefined) return null;
    const range = ranges.find((each) => each.index === place.index);
    const high = range === undefined ? null : sizeOf(range.high);
    if (range === undefined || !isZero(range.low) || high === null || !sameBound(high, size)) return null;
    renamed.set(place.index, own);
  }
  return { body: substitute(body, renamed), over: ranges.filter((range) => !renamed.has(range.index)) };
}
