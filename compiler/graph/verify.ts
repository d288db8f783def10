/** What must hold of every graph. Run after each pass that makes one; a fault found here is a fault of that pass. */
import { sameDtype } from "../types/dtype.js";
import type { DtypeRef } from "../types/dtype.js";
import { sizeSymbols } from "../types/size.js";
import type { FormatRef, FormatSpec, Level, TensorType } from "../types/type.js";
import type { Eqn, Graph, Range, Scalar, Value, ValueId } from "./graph.js";
import { adjointLocals, definedBy } from "./eqn.js";
import { printAnySize, printEqn, printType } from "./print.js";
import { rangesOver } from "./analysis/ranges.js";
import { dtypeOf } from "./scalar.js";
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
    if (graph.values[input.value] === undefined)
      faults.push(`input ${input.name} names the value ${input.value}, which is not there`);
    if (defined.has(input.value)) faults.push(`%${input.value} is an input twice`);
    if (names.has(input.name)) faults.push(`two inputs have the name ${input.name}`);
    defined.add(input.value);
    names.add(input.name);
  }

  const local = new Set<ValueId>();
  verifyEqns(graph, graph.eqns, { defined, local, outer: [] }, faults);
  for (const value of graph.values)
    if (!defined.has(value.id) && !local.has(value.id)) faults.push(`%${value.id} ${value.name} is never defined`);
  verifyOutputs(graph, defined, faults);
  return faults;
}

/** Where equations stand. */
interface Definitions<L extends Level> {
  /** What may be read. */
  readonly defined: Set<ValueId>;
  /** What was defined in the body of a scan, and cannot be read after it. */
  readonly local: Set<ValueId>;
  /** The range of the scan around them. */
  readonly outer: readonly Range<L>[];
}

function verifyEqns<L extends Level>(
  graph: Graph<L>,
  eqns: readonly Eqn<L>[],
  definitions: Definitions<L>,
  faults: string[],
): void {
  for (const eqn of eqns) {
    const missing = definedBy(eqn).filter((id) => graph.values[id] === undefined);
    if (missing.length > 0) {
      faults.push(...missing.map((id) => `a ${eqn.kind} defines the value ${id}, which is not there`));
      continue;
    }
    const found =
      eqn.kind === "scan" ? verifyScan(graph, eqn, definitions, faults) : verifyEqn(graph, eqn, definitions);
    for (const id of definedBy(eqn)) {
      if (definitions.defined.has(id) || definitions.local.has(id)) found.push(`%${id} is defined twice`);
      definitions.defined.add(id);
    }
    if (eqn.kind === "map" && eqn.adjoint !== undefined) found.push(...verifyAdjoint(graph, eqn, definitions, faults));
    if (found.length > 0) {
      const text = printEqn(graph, eqn, definitions.outer);
      faults.push(...found.map((fault) => `${fault}\n  in ${text}`));
    }
  }
}

/** The faults of an adjoint of one's own; those of its body are added to `faults`. */
function verifyAdjoint<L extends Level>(
  graph: Graph<L>,
  eqn: Extract<Eqn<L>, { kind: "map" }>,
  { defined, local, outer }: Definitions<L>,
  faults: string[],
): readonly string[] {
  if (eqn.adjoint === undefined) return [];
  const { seed, body, gradients } = eqn.adjoint;
  const inside = new Set([...defined, seed]);
  verifyEqns(graph, body, { defined: inside, local: new Set(), outer }, faults);
  for (const id of adjointLocals(eqn)) local.add(id);
  const type = (id: ValueId): TensorType<L> | undefined => graph.values[id]?.type;
  const fits = (a: TensorType<L> | undefined, b: TensorType<L> | undefined): boolean =>
    a !== undefined && b !== undefined && sameDtype(a.dtype, b.dtype) && sameShape(a.shape, b.shape);
  return [
    ...body.filter(({ kind }) => kind === "scan").map(() => "a scan in an adjoint"),
    ...(fits(type(seed), type(eqn.out)) ? [] : [`%${seed} is no adjoint of %${eqn.out}`]),
    ...gradients
      .filter(({ by, value }) => !(inside.has(by) && inside.has(value) && fits(type(by), type(value))))
      .map(({ by, value }) => `%${value} is no adjoint of %${by}`),
  ];
}

/** The faults of a scan itself; those of its body are added to `faults`. */
function verifyScan<L extends Level>(
  graph: Graph<L>,
  scan: Extract<Eqn<L>, { kind: "scan" }>,
  definitions: Definitions<L>,
  faults: string[],
): string[] {
  const found: string[] = [];
  const [first] = scan.states;
  if (definitions.outer.length > 0) found.push("a scan in the body of a scan");
  if (first === undefined) found.push("a scan without states");
  else if (first.out !== scan.out) found.push(`the result is %${scan.out}, not that of the first state`);
  found.push(...verifyRanges([scan.range], []));
  const inside = new Set(definitions.defined);
  for (const state of scan.states) {
    const type = graph.values[state.out]?.type;
    if (!definitions.defined.has(state.initial)) found.push(`state %${state.initial} is not defined before`);
    if (inside.has(state.before) || definitions.local.has(state.before))
      found.push(`%${state.before} is defined twice`);
    inside.add(state.before);
    for (const id of [state.initial, state.before, state.after]) {
      const other = graph.values[id]?.type;
      if (
        type === undefined ||
        other === undefined ||
        !sameDtype(other.dtype, type.dtype) ||
        !sameShape(other.shape, type.shape)
      )
        found.push(
          `the state %${state.out} is ${type === undefined ? "?" : printType(type)}, and %${id} is ${other === undefined ? "not there" : printType(other)}`,
        );
      else if (other.format !== null || type.format !== null) found.push(`the state %${id} is packed`);
    }
  }
  for (const eqn of scan.body)
    if (eqn.kind === "pack" || eqn.kind === "factorize" || eqn.kind === "plus")
      found.push(`a ${eqn.kind} in the body of a scan`);
  verifyEqns(
    graph,
    scan.body,
    { defined: inside, local: definitions.local, outer: [...definitions.outer, scan.range] },
    faults,
  );
  for (const state of scan.states) {
    const own = state.after === state.before || scan.body.some((eqn) => definedBy(eqn).includes(state.after));
    if (!own) found.push(`the state %${state.out} ends a step as %${state.after}, which its body does not define`);
  }
  for (const id of inside) if (!definitions.defined.has(id)) definitions.local.add(id);
  return found;
}

function verifyOutputs<L extends Level>(graph: Graph<L>, defined: ReadonlySet<ValueId>, faults: string[]): void {
  const names = new Set<string>();
  const replaced = new Set<ValueId>();
  for (const output of graph.outputs) {
    if (!defined.has(output.value)) faults.push(`output ${output.name} names %${output.value}, which is not defined`);
    if (names.has(output.name)) faults.push(`two outputs have the name ${output.name}`);
    names.add(output.name);
    if (output.input === null) continue;
    if (!graph.inputs.some((input) => input.value === output.input && input.mutable))
      faults.push(`output ${output.name} replaces %${output.input}, which is not a mutable input`);
    if (replaced.has(output.input)) faults.push(`two outputs replace %${output.input}`);
    replaced.add(output.input);
    const [now, before] = [graph.values[output.value], graph.values[output.input]];
    if (
      now &&
      before &&
      (!sameDtype(now.type.dtype, before.type.dtype) || !sameShape(now.type.shape, before.type.shape))
    ) {
      faults.push(
        `output ${output.name} is ${printType(now.type)}, and cannot replace %${output.input}, which is ${printType(before.type)}`,
      );
    }
  }
  for (const input of graph.inputs)
    if (input.mutable && !replaced.has(input.value))
      faults.push(`no output gives the final state of the mutable input ${input.name}`);
}

function verifyType<L extends Level>(graph: Graph<L>, type: TensorType<L>, value: Value<L>): string[] {
  const faults: string[] = [];
  const size = (given: L["size"], what: string): void => {
    if (typeof given === "number") {
      if (!Number.isInteger(given) || given < 0) faults.push(`${what} is ${given}`);
    } else {
      for (const symbol of sizeSymbols(given))
        if (!graph.parameters.sizes.includes(symbol))
          faults.push(`${what} mentions ${symbol}, which is not a size parameter`);
    }
  };
  type.shape.forEach((extent, axis) => size(extent, `axis ${axis}`));
  if (typeof type.dtype !== "string" && !graph.parameters.dtypes.includes(type.dtype.parameter))
    faults.push(`dtype ${type.dtype.parameter} is not a parameter`);
  if (type.format !== null) faults.push(...verifyFormat(graph, type.format));

  const { pattern } = type;
  if (pattern.kind === "nm") {
    size(pattern.n, "n of the pattern");
    size(pattern.m, "m of the pattern");
    if (typeof pattern.n === "number" && typeof pattern.m === "number" && (pattern.n < 1 || pattern.n > pattern.m))
      faults.push(`pattern ${pattern.n}:${pattern.m} is impossible`);
    if (!Number.isInteger(pattern.axis) || pattern.axis < 0 || pattern.axis >= type.shape.length)
      faults.push(`the pattern is along axis ${pattern.axis} of ${type.shape.length}`);
  }
  if (pattern.kind !== "full" && pattern.mask !== null) {
    const mask = graph.values[pattern.mask];
    if (mask === undefined) faults.push(`the pattern's mask %${pattern.mask} is not there`);
    else if (mask.type.dtype !== "bool" || !sameShape(mask.type.shape, value.type.shape))
      faults.push(`the pattern's mask %${pattern.mask} is ${printType(mask.type)}`);
  }
  return faults;
}

function verifyFormat<L extends Level>(graph: Graph<L>, format: FormatRef | FormatSpec): string[] {
  if ("parameter" in format)
    return graph.parameters.formats.includes(format.parameter) ? [] : [`format ${format.parameter} is not a parameter`];
  const symbols = Object.values(format.args).flatMap((arg) => (typeof arg === "object" ? [...sizeSymbols(arg)] : []));
  const faults = symbols
    .filter((symbol) => !graph.parameters.sizes.includes(symbol))
    .map((symbol) => `the format mentions ${symbol}, which is not a size parameter`);
  return [...faults, ...(format.of === null ? [] : verifyFormat(graph, format.of))];
}

function verifyEqn<L extends Level>(
  graph: Graph<L>,
  eqn: Exclude<Eqn<L>, { kind: "scan" }>,
  { defined, outer }: Definitions<L>,
): string[] {
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
    faults.push(...verifyScalar(graph, body, [...outer, ...ranges], defined));
  };

  switch (eqn.kind) {
    case "map":
      faults.push(...verifyRanges(eqn.indices, outer));
      if (!rangesOver(eqn.indices, out.shape)) faults.push("the ranges are not 0 .. shape");
      scalar(eqn.body, eqn.indices);
      expectDtype(dtypeOf(eqn.body), out.dtype, "the body");
      if (out.format !== null) faults.push("only pack defines a packed value");
      break;
    case "update": {
      const base = operand(eqn.base, "base");
      faults.push(...verifyRanges(eqn.indices, outer));
      if (eqn.at.length !== out.shape.length) faults.push(`${eqn.at.length} indices for rank ${out.shape.length}`);
      for (const at of eqn.at) {
        scalar(at, eqn.indices);
        expectDtype(dtypeOf(at), "i32", "an index");
      }
      scalar(eqn.body, eqn.indices);
      expectDtype(dtypeOf(eqn.body), out.dtype, "the body");
      if (base && (!sameDtype(base.dtype, out.dtype) || !sameShape(base.shape, out.shape)))
        faults.push(`the base is ${printType(base)}`);
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
      if (
        pattern.kind === "nm" &&
        (printAnySize(pattern.n) !== printAnySize(eqn.n) ||
          printAnySize(pattern.m) !== printAnySize(eqn.m) ||
          pattern.axis !== eqn.axis)
      )
        faults.push("the result's pattern is another");
      if (!Number.isInteger(eqn.axis) || eqn.axis < 0 || eqn.axis >= out.shape.length)
        faults.push(`axis ${eqn.axis} of rank ${out.shape.length}`);
      if (typeof eqn.n === "number" && typeof eqn.m === "number" && (eqn.n < 1 || eqn.n > eqn.m))
        faults.push(`top ${eqn.n} of ${eqn.m}`);
      if (out.format !== null) faults.push("only pack defines a packed value");
      break;
    }
    case "factorize": {
      const source = operand(eqn.source, "source");
      if (source && (!sameDtype(source.dtype, out.dtype) || !sameShape(source.shape, out.shape)))
        faults.push(`the source is ${printType(source)}`);
      expectDtype(out.dtype, "f32", "the result");
      if (out.shape.length !== 2 || printAnySize(out.shape[0] as L["size"]) !== printAnySize(out.shape[1] as L["size"]))
        faults.push("the result is not square");
      if (source?.format || out.format !== null) faults.push("a packed tensor cannot be factored");
      break;
    }
    case "pack": {
      const source = operand(eqn.source, "source");
      if (source && (!sameDtype(source.dtype, out.dtype) || !sameShape(source.shape, out.shape)))
        faults.push(`the source is ${printType(source)}`);
      if (out.format === null) faults.push("the result has no format");
      for (const [id, what] of [
        [eqn.scale, "scale"],
        [eqn.zero, "zero"],
      ] as const) {
        if (id === null) continue;
        const grid = operand(id, what);
        if (grid) expectDtype(grid.dtype, "f32", what);
      }
      if (eqn.zero !== null && eqn.scale === null) faults.push("a zero without a scale");
      break;
    }
    case "plus": {
      const packed = operand(eqn.packed, "packed");
      const [left, right] = [operand(eqn.left, "left"), operand(eqn.right, "right")];
      if (packed && (!sameDtype(packed.dtype, out.dtype) || !sameShape(packed.shape, out.shape)))
        faults.push(`what is corrected is ${printType(packed)}`);
      if (packed?.format === null) faults.push("what is corrected is not packed");
      if (out.format === null || !("name" in out.format) || out.format.of === null)
        faults.push("the result has no format of what is corrected");
      const [rows, columns] = out.shape;
      if (left && right && rows !== undefined && columns !== undefined && left.shape.length === 2) {
        const rank = left.shape[1] as L["size"];
        if (!sameShape(left.shape, [rows, rank])) faults.push(`left is ${printType(left)}`);
        if (!sameShape(right.shape, [rank, columns])) faults.push(`right is ${printType(right)}`);
      } else if (out.shape.length !== 2 || left?.shape.length !== 2) faults.push("it is no correction of a matrix");
      break;
    }
    default:
      eqn satisfies never;
  }
  return faults;
}

/** An equation's own ranges: distinct indices, bounds that only sizes and the indices of scans around it decide. */
function verifyRanges<L extends Level>(ranges: readonly Range<L>[], outer: readonly Range<L>[]): string[] {
  const faults: string[] = [];
  const seen = new Set<number>(outer.map((range) => range.index));
  const steps = new Set<number>(seen);
  for (const range of ranges) {
    if (seen.has(range.index)) faults.push(`index ${range.name} is bound twice`);
    seen.add(range.index);
    for (const bound of [range.low, range.high])
      if (dtypeOf(bound) !== "i32" || !isSizeScalar(bound, steps))
        faults.push(`a bound of ${range.name} is not a constant size`);
  }
  return faults;
}

function isSizeScalar<L extends Level>(scalar: Scalar<L>, steps: ReadonlySet<number>): boolean {
  if (scalar.kind === "binary") return isSizeScalar(scalar.a, steps) && isSizeScalar(scalar.b, steps);
  if (scalar.kind === "index") return steps.has(scalar.index);
  if (scalar.kind === "select")
    return [scalar.condition, scalar.then, scalar.otherwise].every((part) => isSizeScalar(part, steps));
  return scalar.kind === "constant" || scalar.kind === "size";
}

function sameShape<L extends Level>(a: readonly L["size"][], b: readonly L["size"][]): boolean {
  return a.length === b.length && a.every((size, axis) => printAnySize(size) === printAnySize(b[axis] as L["size"]));
}

function name(dtype: DtypeRef): string {
  return typeof dtype === "string" ? dtype : dtype.parameter;
}
