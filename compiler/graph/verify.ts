/** What must hold of every graph. Run after each pass that makes one; a fault found here is a fault of that pass. */
import { sameDtype } from "../types/dtype.js";
import type { DtypeRef } from "../types/dtype.js";
import { sizeSymbols } from "../types/size.js";
import type { FormatRef, FormatSpec, Level, TensorType } from "../types/type.js";
import type { Eqn, Graph, Range, Scalar, Value, ValueId } from "./graph.js";
import { printAnySize, printEqn, printType } from "./print.js";
import { rangesOver } from "./ranges.js";
import { dtypeOf, freeIndices } from "./scalar.js";
import { verifyScalar } from "./verify-scalar.js";

/** The faults of a graph, each a sentence that names the equation; none for a graph in order. */
export function verify<L extends Level>(graph: Graph<L>): readonly string[] {
  const faults: string[] = [];
  const defined = new Set<ValueId>();
  graph.values.forEach((value, id) => {
    if (value.id !== id) faults.push(`value ${id} has the id ${value.id}`);
    for (const fault of verifyType(graph, value.type, value)) faults.push(`%${id} ${value.name}: ${fault}`);
  });

  const names = new Set<string>();
  for (const input of graph.inputs) {
    if (graph.values[input.value] === undefined) faults.push(`input ${input.name} names the value ${input.value}, which is not there`);
    if (defined.has(input.value)) faults.push(`%${input.value} is an input twice`);
    if (names.has(input.name)) faults.push(`two inputs have the name ${input.name}`);
    defined.add(input.value);
    names.add(input.name);
  }

  for (const eqn of graph.eqns) {
    if (graph.values[eqn.out] === undefined) {
      faults.push(`a ${eqn.kind} defines the value ${eqn.out}, which is not there`);
      continue;
    }
    const found = verifyEqn(graph, eqn, defined);
    if (defined.has(eqn.out)) found.push(`%${eqn.out} is defined twice`);
    defined.add(eqn.out);
    if (found.length > 0) {
      const text = printEqn(graph, eqn);
      faults.push(...found.map((fault) => `${fault}\n  in ${text}`));
    }
  }
  for (const value of graph.values) if (!defined.has(value.id)) faults.push(`%${value.id} ${value.name} is never defined`);
  verifyOutputs(graph, defined, faults);
  return faults;
}

function verifyOutputs<L extends Level>(graph: Graph<L>, defined: ReadonlySet<ValueId>, faults: string[]): void {
  const names = new Set<string>();
  const replaced = new Set<ValueId>();
  for (const output of graph.outputs) {
    if (!defined.has(output.value)) faults.push(`output ${output.name} names %${output.value}, which is not defined`);
    if (names.has(output.name)) faults.push(`two outputs have the name ${output.name}`);
    names.add(output.name);
    if (output.input === null) continue;
    if (!graph.inputs.some((input) => input.value === output.input && input.mutable)) faults.push(`output ${output.name} replaces %${output.input}, which is not a mutable input`);
    if (replaced.has(output.input)) faults.push(`two outputs replace %${output.input}`);
    replaced.add(output.input);
    const [now, before] = [graph.values[output.value], graph.values[output.input]];
    if (now && before && (!sameDtype(now.type.dtype, before.type.dtype) || !sameShape(now.type.shape, before.type.shape))) {
      faults.push(`output ${output.name} is ${printType(now.type)}, and cannot replace %${output.input}, which is ${printType(before.type)}`);
    }
  }
  for (const input of graph.inputs) if (input.mutable && !replaced.has(input.value)) faults.push(`no output gives the final state of the mutable input ${input.name}`);
}

function verifyType<L extends Level>(graph: Graph<L>, type: TensorType<L>, value: Value<L>): string[] {
  const faults: string[] = [];
  const size = (given: L["size"], what: string): void => {
    if (typeof given === "number") {
      if (!Number.isInteger(given) || given < 0) faults.push(`${what} is ${given}`);
    } else {
      for (const symbol of sizeSymbols(given)) if (!graph.parameters.sizes.includes(symbol)) faults.push(`${what} mentions ${symbol}, which is not a size parameter`);
    }
  };
  type.shape.forEach((extent, axis) => size(extent, `axis ${axis}`));
  if (typeof type.dtype !== "string" && !graph.parameters.dtypes.includes(type.dtype.parameter)) faults.push(`dtype ${type.dtype.parameter} is not a parameter`);
  if (type.format !== null) faults.push(...verifyFormat(graph, type.format));

  const { pattern } = type;
  if (pattern.kind === "nm") {
    size(pattern.n, "n of the pattern");
    size(pattern.m, "m of the pattern");
    if (typeof pattern.n === "number" && typeof pattern.m === "number" && (pattern.n < 1 || pattern.n > pattern.m)) faults.push(`pattern ${pattern.n}:${pattern.m} is impossible`);
    if (!Number.isInteger(pattern.axis) || pattern.axis < 0 || pattern.axis >= type.shape.length) faults.push(`the pattern is along axis ${pattern.axis} of ${type.shape.length}`);
  }
  if (pattern.kind !== "full" && pattern.mask !== null) {
    const mask = graph.values[pattern.mask];
    if (mask === undefined) faults.push(`the pattern's mask %${pattern.mask} is not there`);
    else if (mask.type.dtype !== "bool" || !sameShape(mask.type.shape, value.type.shape)) faults.push(`the pattern's mask %${pattern.mask} is ${printType(mask.type)}`);
  }
  return faults;
}

function verifyFormat<L extends Level>(graph: Graph<L>, format: FormatRef | FormatSpec): string[] {
  if ("parameter" in format) return graph.parameters.formats.includes(format.parameter) ? [] : [`format ${format.parameter} is not a parameter`];
  const symbols = Object.values(format.args).flatMap((arg) => (typeof arg === "object" ? [...sizeSymbols(arg)] : []));
  const faults = symbols.filter((symbol) => !graph.parameters.sizes.includes(symbol)).map((symbol) => `the format mentions ${symbol}, which is not a size parameter`);
  return [...faults, ...(format.of === null ? [] : verifyFormat(graph, format.of))];
}

function verifyEqn<L extends Level>(graph: Graph<L>, eqn: Eqn<L>, defined: ReadonlySet<ValueId>): string[] {
  const faults: string[] = [];
  const out = (graph.values[eqn.out] as Value<L>).type;
  const operand = (id: ValueId, what: string): TensorType<L> | null => {
    if (!defined.has(id)) faults.push(`${what} %${id} is not defined before`);
    return graph.values[id]?.type ?? null;
  };
  const expectDtype = (found: DtypeRef, expected: DtypeRef, what: string): void => {
    if (!sameDtype(found, expected)) faults.push(`${what} is ${name(found)}, not ${name(expected)}`);
  };
  const scalar = (body: Scalar<L>, ranges: readonly Range<L>[]): void => {
    faults.push(...verifyScalar(graph, body, ranges, defined));
  };

  switch (eqn.kind) {
    case "map":
      faults.push(...verifyRanges(eqn.indices));
      if (!rangesOver(eqn.indices, out.shape)) faults.push("the ranges are not 0 .. shape");
      scalar(eqn.body, eqn.indices);
      expectDtype(dtypeOf(eqn.body), out.dtype, "the body");
      if (out.format !== null) faults.push("only pack defines a packed value");
      break;
    case "update": {
      const base = operand(eqn.base, "base");
      faults.push(...verifyRanges(eqn.indices));
      if (eqn.at.length !== out.shape.length) faults.push(`${eqn.at.length} indices for rank ${out.shape.length}`);
      for (const at of eqn.at) {
        scalar(at, eqn.indices);
        expectDtype(dtypeOf(at), "i32", "an index");
      }
      scalar(eqn.body, eqn.indices);
      expectDtype(dtypeOf(eqn.body), out.dtype, "the body");
      if (base && (!sameDtype(base.dtype, out.dtype) || !sameShape(base.shape, out.shape))) faults.push(`the base is ${printType(base)}`);
      if (base?.format || out.format !== null) faults.push("a packed tensor cannot be updated");
      if (eqn.op === "add" && out.dtype === "bool") faults.push("add to a mask");
      break;
    }
    case "top": {
      const score = operand(eqn.score, "score");
      if (score && !sameShape(score.shape, out.shape)) faults.push(`the score is ${printType(score)}`);
      if (score?.dtype === "bool") faults.push("the score is a mask");
      expectDtype(out.dtype, "bool", "the result");
      const { pattern } = out;
      if (pattern.kind === "nm" && (printAnySize(pattern.n) !== printAnySize(eqn.n) || printAnySize(pattern.m) !== printAnySize(eqn.m) || pattern.axis !== eqn.axis)) faults.push("the result's pattern is another");
      if (!Number.isInteger(eqn.axis) || eqn.axis < 0 || eqn.axis >= out.shape.length) faults.push(`axis ${eqn.axis} of rank ${out.shape.length}`);
      if (typeof eqn.n === "number" && typeof eqn.m === "number" && (eqn.n < 1 || eqn.n > eqn.m)) faults.push(`top ${eqn.n} of ${eqn.m}`);
      if (out.format !== null) faults.push("only pack defines a packed value");
      break;
    }
    case "pack": {
      const source = operand(eqn.source, "source");
      if (source && (!sameDtype(source.dtype, out.dtype) || !sameShape(source.shape, out.shape))) faults.push(`the source is ${printType(source)}`);
      if (out.format === null) faults.push("the result has no format");
      for (const [id, what] of [[eqn.scale, "scale"], [eqn.zero, "zero"]] as const) {
        if (id === null) continue;
        const grid = operand(id, what);
        if (grid) expectDtype(grid.dtype, "f32", what);
      }
      if (eqn.zero !== null && eqn.scale === null) faults.push("a zero without a scale");
      break;
    }
    default: eqn satisfies never;
  }
  return faults;
}

/** An equation's own ranges: distinct indices, bounds that no index or tensor decides. */
function verifyRanges<L extends Level>(ranges: readonly Range<L>[]): string[] {
  const faults: string[] = [];
  const seen = new Set<number>();
  for (const range of ranges) {
    if (seen.has(range.index)) faults.push(`index ${range.name} is bound twice`);
    seen.add(range.index);
    for (const bound of [range.low, range.high]) if (!isSizeScalar(bound)) faults.push(`a bound of ${range.name} is not a constant size`);
  }
  return faults;
}

function isSizeScalar<L extends Level>(scalar: Scalar<L>): boolean {
  if (scalar.kind === "binary") return isSizeScalar(scalar.a) && isSizeScalar(scalar.b);
  return (scalar.kind === "constant" || scalar.kind === "size") && dtypeOf(scalar) === "i32" && freeIndices(scalar).size === 0;
}

function sameShape<L extends Level>(a: readonly L["size"][], b: readonly L["size"][]): boolean {
  return a.length === b.length && a.every((size, axis) => printAnySize(size) === printAnySize(b[axis] as L["size"]));
}

function name(dtype: DtypeRef): string {
  return typeof dtype === "string" ? dtype : dtype.parameter;
}
