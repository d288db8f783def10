/**
 * What a graph means, dense and obvious: every element computed in order on the host, one rounding an op. Everything
 * else in the compiler is checked against this. `spec/ops.md` is the text of it, `spec/numerics.md` says how far a
 * device may differ.
 */
import { InternalError } from "../diagnostic.js";
import type { GridValues } from "../formats/format.js";
import { completeFormat, formatOfSpec, roundedGrid, shapeOf } from "../formats/registry.js";
import type { Dtype } from "../types/dtype.js";
import { elementCount } from "../types/shape.js";
import type { Concrete, FormatSpec } from "../types/type.js";
import { binaryFunction, castFunction, rounding, unaryFunction } from "./arithmetic.js";
import { evaluateFactorization } from "./factorization.js";
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "./graph.js";
import { exponentials, fold, type FoldOp } from "./reduction.js";
import { dtypeOf, freeIndices, type Reduce } from "./scalar.js";
import { evaluateTop } from "./top.js";

/** A dense tensor on the host, row-major. f32 and f16 values are in a Float32Array, bool as 0 and 1 in a Uint8Array. */
export interface TensorValue {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly data: TensorData;
}

export type TensorData = Float32Array | Int32Array | Uint32Array | Uint8Array;

/** Zeros for so many elements of a dtype. */
export function zeros(dtype: Dtype, count: number): TensorData {
  switch (dtype) {
    case "f32":
    case "f16":
      return new Float32Array(count);
    case "i32":
      return new Int32Array(count);
    case "u32":
      return new Uint32Array(count);
    case "bool":
      return new Uint8Array(count);
    default:
      return dtype satisfies never;
  }
}

/** A tensor from plain numbers, brought into the dtype. A rank-0 tensor has shape `[]` and one number. */
export function tensorValue(dtype: Dtype, shape: readonly number[], values: ArrayLike<number>): TensorValue {
  const count = elementCount(shape);
  if (values.length !== count)
    throw new InternalError(`${values.length} values for a tensor of shape [${shape.join(", ")}]`);
  const data = zeros(dtype, count);
  const round = rounding(dtype);
  for (let at = 0; at < count; at += 1) data[at] = round(values[at] ?? 0);
  return { dtype, shape, data };
}

/** Receives single elements, by their row-major offset, as an evaluation comes by them. */
export interface Observer {
  /** A load, or an addition of an update to its base, looks at an element. */
  readonly reads: (value: ValueId, offset: number) => void;
  /** An update that sets gives this element of its result another value than its base has. */
  readonly replaces: (value: ValueId, offset: number) => void;
}

/**
 * The outputs by name, from the inputs by name. Rank-0 inputs have shape `[]`. A packed input is given as its decoded
 * values; in a format that needs no scales they are rounded to what the format can hold. A missing input, one of
 * another
 * shape, or a read out of range of a load that is not guarded throws an InternalError.
 */
export function evaluate(
  graph: ConcreteGraph,
  inputs: ReadonlyMap<string, TensorValue>,
  observer: Observer | null = null,
): Map<string, TensorValue> {
  const values = evaluateValues(graph, inputs, observer);
  return new Map(graph.outputs.map((output) => [output.name, valueAt(values, output.value)]));
}

/** Every value of the graph by id: to find the first equation at which two results differ. */
export function evaluateValues(
  graph: ConcreteGraph,
  inputs: ReadonlyMap<string, TensorValue>,
  observer: Observer | null = null,
): readonly TensorValue[] {
  const values: TensorValue[] = [];
  for (const input of graph.inputs) {
    const given = inputs.get(input.name);
    const type = graph.values[input.value]?.type;
    if (given === undefined || type === undefined)
      throw new InternalError(`evaluate: no value for input ${input.name} of ${graph.name}`);
    if (given.shape.join() !== type.shape.join())
      throw new InternalError(
        `evaluate: input ${input.name} has shape [${given.shape.join(", ")}], not [${type.shape.join(", ")}]`,
      );
    const data =
      type.format !== null && roundsAlone(type.format)
        ? reencoded(type.format, type.shape, given.data, null)
        : given.data;
    values[input.value] = tensorValue(type.dtype, type.shape, data);
  }
  evaluateEqns(graph, graph.eqns, values, { indices: new Map(), observer });
  return values;
}

/** What stands around equations: the indices of scans with their values, and what receives elements. */
interface Around {
  readonly indices: ReadonlyMap<IndexId, number>;
  readonly observer: Observer | null;
}

/** Defines the values of equations in order. */
function evaluateEqns(
  graph: ConcreteGraph,
  eqns: readonly Eqn<Concrete>[],
  values: TensorValue[],
  around: Around,
): void {
  for (const eqn of eqns) {
    if (eqn.kind === "scan") {
      evaluateScan(graph, eqn, values, around);
      continue;
    }
    const type = graph.values[eqn.out]?.type;
    if (type === undefined) throw new InternalError(`evaluate: value ${eqn.out} of ${graph.name} is not listed`);
    values[eqn.out] = {
      dtype: type.dtype,
      shape: type.shape,
      data: evaluateEqn(eqn, values, around, type.dtype, type.shape, type.format),
    };
  }
}

/**
 * The steps one after the other, each on the states that the one before it left. Values of the body keep what the last
 * step gave them.
 */
function evaluateScan(
  graph: ConcreteGraph,
  scan: Extract<Eqn<Concrete>, { kind: "scan" }>,
  values: TensorValue[],
  around: Around,
): void {
  const { scalar } = compiler(values, around);
  const end = scalar(scan.range.high)([]);
  let states = scan.states.map((state) => valueAt(values, state.initial));
  for (let step = Math.max(scalar(scan.range.low)([]), 0); step < end; step += 1) {
    scan.states.forEach((state, at) => {
      values[state.before] = states[at] as TensorValue;
    });
    evaluateEqns(graph, scan.body, values, {
      ...around,
      indices: new Map([...around.indices, [scan.range.index, step]]),
    });
    states = scan.states.map((state) => valueAt(values, state.after));
  }
  scan.states.forEach((state, at) => {
    values[state.out] = states[at] as TensorValue;
  });
}

function evaluateEqn(
  eqn: Exclude<Eqn<Concrete>, { kind: "scan" }>,
  values: readonly TensorValue[],
  around: Around,
  dtype: Dtype,
  shape: readonly number[],
  format: FormatSpec | null,
): TensorData {
  switch (eqn.kind) {
    case "map": {
      const data = zeros(dtype, elementCount(shape));
      const compile = compiler(values, around);
      const visit = compile.loop(eqn.indices);
      const body = compile.scalar(eqn.body);
      let next = 0;
      visit([], (frame) => {
        data[next] = body(frame);
        next += 1;
      });
      return data;
    }
    case "update": {
      const data = valueAt(values, eqn.base).data.slice();
      const compile = compiler(values, around);
      const visit = compile.loop(eqn.indices);
      const at = eqn.at.map(compile.scalar);
      const body = compile.scalar(eqn.body);
      const add = binaryFunction("add", dtype);
      visit([], (frame) => {
        const offset = offsetOf(shape, at, frame);
        if (offset < 0) return;
        if (eqn.op === "add") around.observer?.reads(eqn.base, offset);
        else around.observer?.replaces(eqn.out, offset);
        data[offset] = eqn.op === "add" ? add(data[offset] ?? 0, body(frame)) : body(frame);
      });
      return data;
    }
    case "top":
      return evaluateTop(valueAt(values, eqn.score), eqn);
    case "factorize":
      return evaluateFactorization[eqn.op](valueAt(values, eqn.source).data, shape[0] ?? 0);
    case "pack": {
      if (format === null) throw new InternalError("evaluate: pack to a value without a format");
      const scale = eqn.scale === null ? null : floats(valueAt(values, eqn.scale).data);
      const zero = eqn.zero === null ? null : floats(valueAt(values, eqn.zero).data);
      const decoded = reencoded(format, shape, valueAt(values, eqn.source).data, scale && { scale, zero });
      return tensorValue(dtype, shape, decoded).data;
    }
    case "plus": {
      const [packed, left, right] = [eqn.packed, eqn.left, eqn.right].map((id) => valueAt(values, id)) as [
        TensorValue,
        TensorValue,
        TensorValue,
      ];
      const rank = right.shape[0] ?? 0;
      const columns = right.shape[1] ?? 0;
      const sums = floats(packed.data).slice();
      for (let index = 0; index < sums.length; index += 1) {
        const [row, column] = [Math.floor(index / columns), index % columns];
        let sum = 0;
        for (let at = 0; at < rank; at += 1)
          sum += (left.data[row * rank + at] ?? 0) * (right.data[at * columns + column] ?? 0);
        sums[index] = (sums[index] ?? 0) + sum;
      }
      return tensorValue(dtype, shape, sums).data;
    }
    default:
      return eqn satisfies never;
  }
}

/** Whether values become what a format can hold without scales, given or found. */
function roundsAlone(spec: FormatSpec): boolean {
  const format = formatOfSpec(spec);
  return format.elementwise && format.grid(spec) === null;
}

/** The values that remain after encoding and decoding. */
function reencoded(
  spec: FormatSpec,
  shape: readonly number[],
  data: TensorData,
  grid: GridValues | null,
): Float32Array {
  const dense = floats(data);
  const rounded = grid === null ? null : roundedGrid(spec, shapeOf(shape), grid);
  const complete = completeFormat(spec, shapeOf(shape), dense, rounded);
  const format = formatOfSpec(complete);
  return format.decode(complete, shapeOf(shape), format.encode(complete, shapeOf(shape), dense, rounded));
}

function floats(data: TensorData): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}

/** The values of the indices in scope, by slot. */
type Frame = number[];
type Compiled = (frame: Frame) => number;
type Loop = (frame: Frame, visit: (frame: Frame) => void) => void;

/** Turns scalars into closures, with a slot of the frame for each index but those whose value is given. */
function compiler(
  values: readonly TensorValue[],
  { indices: given, observer }: Around,
): { scalar(scalar: Scalar<Concrete>): Compiled; loop(ranges: readonly Range<Concrete>[]): Loop } {
  const slots = new Map<IndexId, number>();
  const known = new Map<Scalar<Concrete>, Compiled>();
  const slotOf = (index: IndexId): number => {
    const slot = slots.get(index) ?? slots.size;
    slots.set(index, slot);
    return slot;
  };

  const loop = (ranges: readonly Range<Concrete>[]): Loop => {
    const [first, ...rest] = ranges;
    if (first === undefined) return (frame, visit) => visit(frame);
    const low = scalar(first.low);
    const high = scalar(first.high);
    const slot = slotOf(first.index);
    const inner = loop(rest);
    return (frame, visit) => {
      const end = high(frame);
      // an index is never negative: a bound that is data and below 0 counts as 0
      for (let value = Math.max(low(frame), 0); value < end; value += 1) {
        frame[slot] = value;
        inner(frame, visit);
      }
    };
  };

  const scalar = (node: Scalar<Concrete>): Compiled => {
    const done = known.get(node);
    if (done !== undefined) return done;
    const compiled = compileNode(node);
    known.set(node, compiled);
    return compiled;
  };

  const compileNode = (node: Scalar<Concrete>): Compiled => {
    switch (node.kind) {
      case "constant": {
        const value = rounding(node.dtype)(node.value);
        return () => value;
      }
      case "size":
        return () => node.size;
      case "index": {
        const value = given.get(node.index);
        if (value !== undefined) return () => value;
        const slot = slotOf(node.index);
        return (frame) => frame[slot] ?? 0;
      }
      case "load": {
        const { data, shape } = valueAt(values, node.tensor);
        const at = node.at.map(scalar);
        return (frame) => {
          const offset = offsetOf(shape, at, frame);
          if (offset >= 0) {
            observer?.reads(node.tensor, offset);
            return data[offset] ?? 0;
          }
          if (node.guarded) return 0;
          throw new InternalError(
            `evaluate: %${node.tensor}[${at.map((index) => index(frame)).join(", ")}] is out of range of [${shape.join(", ")}], and the load is not guarded`,
          );
        };
      }
      case "unary": {
        const a = scalar(node.a);
        const apply = unaryFunction(node.op, node.dtype);
        return (frame) => apply(a(frame));
      }
      case "binary": {
        const a = scalar(node.a);
        const b = scalar(node.b);
        const apply = binaryFunction(node.op, dtypeOf(node.a));
        return (frame) => apply(a(frame), b(frame));
      }
      case "select": {
        const condition = scalar(node.condition);
        const then = scalar(node.then);
        const otherwise = scalar(node.otherwise);
        return (frame) => (condition(frame) !== 0 ? then(frame) : otherwise(frame));
      }
      case "cast": {
        const a = scalar(node.a);
        const apply = castFunction(dtypeOf(node.a), node.dtype);
        return (frame) => apply(a(frame));
      }
      case "reduce": {
        if (node.score !== null) return softmaxMean(node, node.score);
        const visit = loop(node.over);
        const body = scalar(node.body);
        const slot = slotOf(node.over[0]?.index ?? -1);
        return (frame) =>
          fold(node.op as FoldOp, node.dtype, (each) => visit(frame, (inner) => each(body(inner), inner[slot] ?? 0)));
      }
      default:
        return node satisfies never;
    }
  };

  /**
   * The exponentials of scores are kept for as long as the indices that they are of stay: an attention has the same for
   * all elements of a head.
   */
  const softmaxMean = (node: Reduce<Concrete>, scoreOf: Scalar<Concrete>): Compiled => {
    const visit = loop(node.over);
    const score = scalar(scoreOf);
    const body = scalar(node.body);
    const needed = [...freeIndices({ ...node, body: scoreOf })].filter((index) => !given.has(index)).map(slotOf);
    let at: readonly number[] | null = null;
    let weights: readonly number[] = [];
    return (frame) => {
      const now = needed.map((slot) => frame[slot] ?? 0);
      if (at === null || now.some((value, each) => value !== at?.[each])) {
        const scores: number[] = [];
        visit(frame, (inner) => scores.push(score(inner)));
        weights = exponentials(scores);
        at = now;
      }
      let next = 0;
      let sum = 0;
      visit(frame, (inner) => {
        sum += (weights[next] ?? 0) * body(inner);
        next += 1;
      });
      const total = weights.reduce((all, each) => all + each, 0);
      return total === 0 ? 0 : Math.fround(sum / total);
    };
  };
  return { scalar, loop };
}

/**
 * Row-major offset of an element, -1 where an index is out of range. No null: where one came after 32,768 numbers, V8 now
 * and then gave NaN for the element (graph/passes/wrap, 6 of 132 runs; 0 of 84 since).
 */
function offsetOf(shape: readonly number[], at: readonly Compiled[], frame: Frame): number {
  let offset = 0;
  for (let axis = 0; axis < at.length; axis += 1) {
    const extent = shape[axis] ?? 1;
    const index = at[axis]?.(frame) ?? 0;
    if (index < 0 || index >= extent) return -1;
    offset = offset * extent + index;
  }
  return offset;
}

function valueAt(values: readonly TensorValue[], id: number): TensorValue {
  const value = values[id];
  if (value === undefined) throw new InternalError(`evaluate: value ${id} is used before it is defined`);
  return value;
}
