/** A graph as text: stable, for goldens and for people. Reads like a program; `%3` is the value with id 3. */
import { printFormat } from "../formats/registry.js";
import { printDtype } from "../types/dtype.js";
import type { DtypeRef } from "../types/dtype.js";
import type { BinaryOp } from "../types/scalar-ops.js";
import { printSize } from "../types/size.js";
import type { Size } from "../types/size.js";
import type { Level, Pattern, TensorType } from "../types/type.js";
import type { Constraint, Eqn, Graph, IndexId, Range, Scalar } from "./graph.js";

/** The graph, an equation a line, ending in a newline. */
export function printGraph<L extends Level>(graph: Graph<L>): string {
  const { sizes, dtypes, formats } = graph.parameters;
  const parameters = [sizes, dtypes, formats].some((list) => list.length > 0)
    ? `[${[sizes, dtypes, formats]
        .filter((list) => list.length > 0)
        .map((list) => list.join(", "))
        .join("; ")}]`
    : "";
  const inputs = graph.inputs
    .map((input) => `${input.mutable ? "var " : ""}${printValue(graph, input.value)}`)
    .join(", ");
  const outputs = graph.outputs
    .map((output) => `%${output.value} ${output.name}${output.input === null ? "" : ` in place of %${output.input}`}`)
    .join(", ");
  return [
    `graph ${graph.name}${parameters}(${inputs})`,
    ...graph.constraints.map((constraint) => `  where ${printConstraint(constraint)}`),
    ...graph.eqns.map((eqn) => indent(printEqn(graph, eqn))),
    `  return ${outputs}`,
    "",
  ].join("\n");
}

/** A size parameter's condition, as it is written in source. */
export function printConstraint(constraint: Constraint): string {
  const [left, right] = [printSize(constraint.left), printSize(constraint.right)];
  switch (constraint.kind) {
    case "divides":
      return `${left} % ${right} == 0`;
    case "equal":
      return `${left} == ${right}`;
    case "at-least":
      return `${left} >= ${right}`;
    default:
      return constraint.kind satisfies never;
  }
}

function indent(text: string): string {
  return text
    .split("\n")
    .map((line) => `  ${line}`)
    .join("\n");
}

/**
 * One equation: `%3 y: f32[T, N] = map t, n: ...`. A scan takes several lines: its states, the equations of a step, and
 * the states after it. `outer`: the range of the scan that the equation stands in.
 */
export function printEqn<L extends Level>(graph: Graph<L>, eqn: Eqn<L>, outer: readonly Range<L>[] = []): string {
  const around = namesWithin(outer);
  if (eqn.kind !== "scan") {
    const line = `${printValue(graph, eqn.out)} = ${printRight(graph, eqn, around)}`;
    if (eqn.kind !== "map" || eqn.adjoint === undefined) return line;
    const { seed, body, gradients } = eqn.adjoint;
    return [
      line,
      `  its adjoint ${printValue(graph, seed)}:`,
      ...body.map((each) => indent(indent(printEqn(graph, each, outer)))),
      ...gradients.map(({ by, value }) => `    gives %${by} %${value}`),
    ].join("\n");
  }
  const inside = [...outer, eqn.range];
  return [
    `${eqn.states.map((state) => printValue(graph, state.out)).join(", ")} = scan ${printRanges([eqn.range], namesWithin(inside))} from ${eqn.states.map((state) => `%${state.before} = %${state.initial}`).join(", ")}:`,
    ...eqn.body.map((each) => indent(printEqn(graph, each, inside))),
    `  next ${eqn.states.map((state) => `%${state.after}`).join(", ")}`,
  ].join("\n");
}

function printRight<L extends Level>(
  graph: Graph<L>,
  eqn: Exclude<Eqn<L>, { kind: "scan" }>,
  outer: IndexNames,
): string {
  switch (eqn.kind) {
    case "map": {
      const names = namesWithin(eqn.indices, outer);
      return `map${eqn.indices.length > 0 ? ` ${eqn.indices.map((range) => names.get(range.index)).join(", ")}` : ""}: ${print(eqn.body, names, 0)}`;
    }
    case "update": {
      const names = namesWithin(eqn.indices, outer);
      const ranges = eqn.indices.length > 0 ? ` for ${printRanges(eqn.indices, names)}` : "";
      return `update %${eqn.base}[${eqn.at.map((at) => print(at, names, 0)).join(", ")}] ${eqn.op === "add" ? "+=" : "="} ${print(eqn.body, names, 0)}${ranges}`;
    }
    case "top":
      return `top ${printAnySize(eqn.n)} of ${printAnySize(eqn.m)} along ${eqn.axis} in %${eqn.score}`;
    case "factorize":
      return `${eqn.op} %${eqn.source}`;
    case "pack": {
      const format = graph.values[eqn.out]?.type.format ?? null;
      const extra = [
        eqn.scale === null ? [] : [`scale %${eqn.scale}`],
        eqn.zero === null ? [] : [`zero %${eqn.zero}`],
      ].flat();
      return `pack %${eqn.source} as ${format === null ? "?" : printFormat(format)}${extra.length > 0 ? ` with ${extra.join(", ")}` : ""}`;
    }
    case "plus":
      return `%${eqn.packed} plus lowrank(%${eqn.left}, %${eqn.right})`;
    default:
      return eqn satisfies never;
  }
}

function printValue<L extends Level>(graph: Graph<L>, id: number): string {
  const value = graph.values[id];
  return value === undefined ? `%${id} ?` : `%${id} ${value.name}: ${printType(value.type)}`;
}

/** A tensor type: `f32[N, K] is 2:4 along 1 by %5 as nm(m: 4, n: 2) of f16`. */
export function printType<L extends Level>(type: TensorType<L>): string {
  const dtype = printDtype(type.dtype);
  const shape = type.shape.length === 0 ? "" : `[${type.shape.map(printAnySize).join(", ")}]`;
  return `${dtype}${shape}${printPattern(type.pattern)}${type.format === null ? "" : ` as ${printFormat(type.format)}`}`;
}

function printPattern<L extends Level>(pattern: Pattern<L>): string {
  const by = pattern.kind !== "full" && pattern.mask !== null ? ` by %${pattern.mask}` : "";
  switch (pattern.kind) {
    case "full":
      return "";
    case "nm":
      return ` is ${printAnySize(pattern.n)}:${printAnySize(pattern.m)} along ${pattern.axis}${by}`;
    case "masked":
      return ` is masked${by}`;
    default:
      return pattern satisfies never;
  }
}

/** A size of either stage. */
export function printAnySize(size: Size | number): string {
  return typeof size === "number" ? String(size) : printSize(size);
}

/** A scalar on its own; indices print by name, those of one name distinguished by their id. */
export function printScalar<L extends Level>(scalar: Scalar<L>, indices: readonly Range<L>[] = []): string {
  return print(scalar, namesWithin(indices), 0);
}

/** What each index in scope is called. */
type IndexNames = ReadonlyMap<IndexId, string>;

function namesWithin<L extends Level>(ranges: readonly Range<L>[], outer: IndexNames = new Map()): IndexNames {
  const names = new Map(outer);
  for (const range of ranges)
    names.set(range.index, [...names.values()].includes(range.name) ? `${range.name}.${range.index}` : range.name);
  return names;
}

function printRanges<L extends Level>(ranges: readonly Range<L>[], names: IndexNames): string {
  return ranges
    .map((range) => `${names.get(range.index)} in ${print(range.low, names, 4)}..${print(range.high, names, 4)}`)
    .join(", ");
}

const infix: { readonly [K in BinaryOp]: readonly [symbol: string, precedence: number] | null } = {
  or: ["or", 1],
  and: ["and", 2],
  equal: ["==", 3],
  not_equal: ["!=", 3],
  less: ["<", 3],
  less_equal: ["<=", 3],
  greater: [">", 3],
  greater_equal: [">=", 3],
  add: ["+", 4],
  subtract: ["-", 4],
  multiply: ["*", 5],
  divide: ["/", 5],
  remainder: ["%", 5],
  power: ["^", 7],
  min: null,
  max: null,
  bit_and: null,
  bit_or: null,
  bit_xor: null,
  shift_left: null,
  shift_right: null,
  straight_through: null,
};

/** `least`: an expression that binds more loosely is put in parentheses. */
function print<L extends Level>(scalar: Scalar<L>, names: IndexNames, least: number): string {
  const wrap = (text: string, precedence: number): string => (precedence < least ? `(${text})` : text);
  const list = (items: readonly Scalar<L>[]): string => items.map((item) => print(item, names, 0)).join(", ");
  switch (scalar.kind) {
    case "constant":
      return printConstant(scalar.value, scalar.dtype);
    case "index":
      return names.get(scalar.index) ?? `${scalar.name}.${scalar.index}`;
    case "size":
      return typeof scalar.size === "number" || scalar.size.terms.length <= 1
        ? printAnySize(scalar.size)
        : `(${printAnySize(scalar.size)})`;
    case "load":
      return `%${scalar.tensor}${scalar.at.length === 0 ? "" : `[${list(scalar.at)}]`}${scalar.guarded ? "?" : ""}`;
    case "unary":
      if (scalar.op === "negate") return wrap(`-${print(scalar.a, names, 6)}`, 6);
      if (scalar.op === "not") return wrap(`not ${print(scalar.a, names, 6)}`, 6);
      return `${scalar.op}(${print(scalar.a, names, 0)})`;
    case "binary": {
      const form = infix[scalar.op];
      if (form === null) return `${scalar.op}(${list([scalar.a, scalar.b])})`;
      const [symbol, precedence] = form;
      return wrap(
        `${print(scalar.a, names, precedence === 3 ? 4 : precedence)} ${symbol} ${print(scalar.b, names, precedence + 1)}`,
        precedence,
      );
    }
    case "select":
      return `select(${list([scalar.condition, scalar.then, scalar.otherwise])})`;
    case "cast":
      return `${printDtype(scalar.dtype)}(${print(scalar.a, names, 0)})`;
    case "reduce": {
      const inner = namesWithin(scalar.over, names);
      if (scalar.score !== null)
        return `${scalar.op}(${printRanges(scalar.over, inner)}: ${print(scalar.score, inner, 0)}; ${print(scalar.body, inner, 0)})`;
      // as loose as can be: everything to its right is its body
      return wrap(`${scalar.op} ${printRanges(scalar.over, inner)}: ${print(scalar.body, inner, 0)}`, 0.5);
    }
    default:
      return scalar satisfies never;
  }
}

function printConstant(value: number, dtype: DtypeRef): string {
  if (dtype === "bool") return value !== 0 ? "true" : "false";
  if (dtype === "i32") return String(value);
  if (dtype === "u32") return `${value}u`;
  const digits = Object.is(value, -0) ? "-0" : String(value);
  const number = /^-?\d+$/.test(digits) ? `${digits}.0` : digits;
  return dtype === "f32" ? number : dtype === "f16" ? `${number}h` : `${printDtype(dtype)}(${number})`;
}
