/**
 * Graphs of maps, updates, masks and dense packs over real numbers: every float is an f64 and nothing is rounded, so
 * that a difference quotient is a derivative. Written apart from the evaluator on purpose.
 */
import type { ConcreteGraph, Eqn, IndexId, Range, Scalar, ValueId } from "../../compiler/graph/graph.js";
import type { Concrete } from "../../compiler/types/type.js";

export interface RealTensor {
  readonly shape: readonly number[];
  readonly data: Float64Array;
}

/** A tensor of zeros. */
export function realZeros(shape: readonly number[]): RealTensor {
  return { shape, data: new Float64Array(shape.reduce((product, size) => product * size, 1)) };
}

/** The outputs by name. */
export function evaluateReals(
  graph: ConcreteGraph,
  inputs: ReadonlyMap<string, RealTensor>,
): ReadonlyMap<string, RealTensor> {
  const values = new Map<ValueId, RealTensor>();
  for (const { name, value } of graph.inputs) {
    const given = inputs.get(name);
    if (given === undefined) throw new Error(`no input ${name}`);
    values.set(value, given);
  }
  for (const eqn of graph.eqns) values.set(eqn.out, evaluateEqn(graph, eqn, values));
  return new Map(graph.outputs.map(({ name, value }) => [name, values.get(value) as RealTensor]));
}

type Values = ReadonlyMap<ValueId, RealTensor>;
type Frame = Map<IndexId, number>;

function evaluateEqn(graph: ConcreteGraph, eqn: Eqn<Concrete>, values: Values): RealTensor {
  const result = realZeros(graph.values[eqn.out]?.type.shape ?? []);
  switch (eqn.kind) {
    case "map": {
      let next = 0;
      for (const frame of frames(eqn.indices, new Map(), values)) {
        result.data[next] = real(eqn.body, frame, values);
        next += 1;
      }
      return result;
    }
    case "update":
      result.data.set(values.get(eqn.base)?.data ?? []);
      for (const frame of frames(eqn.indices, new Map(), values)) {
        const at = offset(
          result.shape,
          eqn.at.map((each) => real(each, frame, values)),
        );
        if (at === null) continue;
        const body = real(eqn.body, frame, values);
        result.data[at] = eqn.op === "add" ? (result.data[at] ?? 0) + body : body;
      }
      return result;
    case "top":
      return topOf(values.get(eqn.score) as RealTensor, eqn.n, eqn.m, eqn.axis);
    case "pack":
      if (eqn.scale !== null) throw new Error("a grid is no real function");
      return values.get(eqn.source) as RealTensor;
    case "plus": {
      const [packed, left, right] = [eqn.packed, eqn.left, eqn.right].map((id) => values.get(id)) as RealTensor[];
      const [rank = 0, columns = 0] = right?.shape ?? [];
      result.data.forEach((_, index) => {
        const [row, column] = [Math.floor(index / columns), index % columns];
        result.data[index] = packed?.data[index] ?? 0;
        for (let r = 0; r < rank; r++)
          result.data[index]! += (left?.data[row * rank + r] ?? 0) * (right?.data[r * columns + column] ?? 0);
      });
      return result;
    }
    default:
      throw new Error(`${eqn.kind} over reals`);
  }
}

function* frames(ranges: readonly Range<Concrete>[], frame: Frame, values: Values): Generator<Frame> {
  const [first, ...rest] = ranges;
  if (first === undefined) {
    yield frame;
    return;
  }
  const high = real(first.high, frame, values);
  for (let index = Math.max(0, real(first.low, frame, values)); index < high; index += 1) {
    frame.set(first.index, index);
    yield* frames(rest, frame, values);
  }
}

function offset(shape: readonly number[], at: readonly number[]): number | null {
  let place = 0;
  for (const [axis, size] of shape.entries()) {
    const index = at[axis] ?? -1;
    if (index < 0 || index >= size) return null;
    place = place * size + index;
  }
  return place;
}

const unary: Readonly<Record<string, (a: number) => number>> = {
  negate: (a) => -a,
  not: (a) => (a === 0 ? 1 : 0),
  abs: Math.abs,
  sign: Math.sign,
  sqrt: Math.sqrt,
  rsqrt: (a) => a ** -0.5,
  exp: Math.exp,
  log: Math.log,
  sin: Math.sin,
  cos: Math.cos,
  tanh: Math.tanh,
  floor: Math.floor,
  ceil: Math.ceil,
  round: Math.round,
  round_f16: (a) => a,
  stop: (a) => a,
};

const binary: Readonly<Record<string, (a: number, b: number) => number>> = {
  add: (a, b) => a + b,
  subtract: (a, b) => a - b,
  multiply: (a, b) => a * b,
  remainder: (a, b) => a % b,
  power: (a, b) => a ** b,
  min: (a, b) => (b < a ? b : a),
  max: (a, b) => (a < b ? b : a),
  equal: (a, b) => Number(a === b),
  not_equal: (a, b) => Number(a !== b),
  less: (a, b) => Number(a < b),
  less_equal: (a, b) => Number(a <= b),
  greater: (a, b) => Number(a > b),
  greater_equal: (a, b) => Number(a >= b),
  and: (a, b) => a * b,
  or: (a, b) => Math.max(a, b),
  straight_through: (_, b) => b,
};

function real(scalar: Scalar<Concrete>, frame: Frame, values: Values): number {
  const visit = (each: Scalar<Concrete>): number => real(each, frame, values);
  switch (scalar.kind) {
    case "constant":
      return scalar.value;
    case "index":
      return frame.get(scalar.index) ?? NaN;
    case "size":
      return scalar.size;
    case "load": {
      const tensor = values.get(scalar.tensor) as RealTensor;
      const at = offset(tensor.shape, scalar.at.map(visit));
      if (at === null && !scalar.guarded) throw new Error("a load out of range");
      return at === null ? 0 : (tensor.data[at] ?? 0);
    }
    case "unary":
      return unary[scalar.op]?.(visit(scalar.a)) ?? NaN;
    case "binary": {
      const [a, b] = [visit(scalar.a), visit(scalar.b)];
      if (scalar.op === "divide") return scalar.dtype === "i32" ? (b === 0 ? 0 : Math.trunc(a / b)) : a / b;
      return binary[scalar.op]?.(a, b) ?? NaN;
    }
    case "select":
      return visit(visit(scalar.condition) !== 0 ? scalar.then : scalar.otherwise);
    case "cast": {
      const a = visit(scalar.a);
      return scalar.dtype === "bool" ? Number(a !== 0) : scalar.dtype === "i32" ? Math.trunc(a) : a;
    }
    case "reduce": {
      const bodies: number[] = [];
      const scores: number[] = [];
      for (const inner of frames(scalar.over, new Map(frame), values)) {
        bodies.push(real(scalar.body, inner, values));
        if (scalar.score !== null) scores.push(real(scalar.score, inner, values));
      }
      return reduced(scalar.op, bodies, scores);
    }
    default:
      return scalar satisfies never;
  }
}

function reduced(op: string, bodies: readonly number[], scores: readonly number[]): number {
  const sum = (list: readonly number[]): number => list.reduce((total, each) => total + each, 0);
  switch (op) {
    case "sum":
      return sum(bodies);
    case "mean":
      return bodies.length === 0 ? 0 : sum(bodies) / bodies.length;
    case "max":
      return Math.max(...bodies);
    case "min":
      return Math.min(...bodies);
    case "count":
      return bodies.filter((each) => each !== 0).length;
    case "any":
      return Number(bodies.some((each) => each !== 0));
    case "all":
      return Number(bodies.every((each) => each !== 0));
    case "argmax":
      return bodies.indexOf(Math.max(...bodies));
    case "softmax_mean": {
      const highest = Math.max(...scores);
      const weights = scores.map((score) => Math.exp(score - highest));
      return bodies.length === 0 ? 0 : sum(bodies.map((body, at) => body * (weights[at] ?? 0))) / sum(weights);
    }
    default:
      throw new Error(`${op} over reals`);
  }
}

function topOf({ shape, data }: RealTensor, n: number, m: number, axis: number): RealTensor {
  const result = realZeros(shape);
  const size = shape[axis] ?? 1;
  const stride = shape.slice(axis + 1).reduce((product, each) => product * each, 1);
  for (let start = 0; start < data.length; start += 1) {
    const along = Math.floor(start / stride) % size;
    const first = start - (along % m) * stride;
    const group = Array.from({ length: Math.min(m, size - (along - (along % m))) }, (_, at) => first + at * stride);
    const larger = group.filter(
      (at) => (data[at] ?? 0) > (data[start] ?? 0) || (data[at] === data[start] && at < start),
    );
    result.data[start] = larger.length < n ? 1 : 0;
  }
  return result;
}
