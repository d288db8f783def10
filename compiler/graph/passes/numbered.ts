/** Graphs of equations that were taken out, put in or replaced: in order again. */
import { substituteSize, type Size } from "../../types/size.js";
import { mapFormat, type TensorType } from "../../types/type.js";
import { allEqns, definedBy, renameValues } from "../eqn.js";
import { divisibilityFacts, type Eqn, type Range, type Scalar, type SymbolicGraph, type ValueId } from "../graph.js";
import { mapRange, mapScalar } from "../scalar.js";

/**
 * The graph with its values numbered anew, inputs first and then what its equations define, in order; a value that
 * nothing defines any more is left out.
 */
export function numbered(graph: SymbolicGraph): SymbolicGraph {
  const ids = new Map<ValueId, ValueId>();
  const order = [
    ...graph.inputs.map(({ value }) => value),
    ...allEqns(graph.eqns).flatMap((eqn) => [
      ...(eqn.kind === "scan" ? eqn.states.map(({ before }) => before) : []),
      ...definedBy(eqn),
    ]),
  ];
  for (const id of order) if (!ids.has(id)) ids.set(id, ids.size);
  const id = (old: ValueId): ValueId => ids.get(old) ?? old;
  return {
    ...graph,
    values: [...ids].map(([old, now]) => {
      const value = graph.values[old]!;
      const { pattern } = value.type;
      const renamed =
        pattern.kind === "full" || pattern.mask === null
          ? pattern
          : { ...pattern, mask: ids.get(pattern.mask) ?? null };
      return { ...value, id: now, type: { ...value.type, pattern: renamed } };
    }),
    inputs: graph.inputs.map((input) => ({ ...input, value: id(input.value) })),
    outputs: graph.outputs.map((output) => ({
      ...output,
      value: id(output.value),
      input: output.input === null ? null : id(output.input),
    })),
    eqns: graph.eqns.map((eqn) => renameValues(eqn, id)),
  };
}

/** The graph with a size parameter replaced by a size wherever it stands; the parameter goes. */
export function withSize(graph: SymbolicGraph, symbol: string, by: Size): SymbolicGraph {
  const facts = divisibilityFacts(graph);
  const size = (old: Size): Size => substituteSize(old, (name) => (name === symbol ? by : null), facts);
  return {
    ...graph,
    values: graph.values.map((value) => ({ ...value, type: sizedType(value.type, size) })),
    eqns: graph.eqns.map((eqn) => sizedEqn(eqn, size)),
    constraints: graph.constraints.map((each) => ({ ...each, left: size(each.left), right: size(each.right) })),
    parameters: { ...graph.parameters, sizes: graph.parameters.sizes.filter((name) => name !== symbol) },
  };
}

/** A type with its sizes replaced. */
export function sizedType(type: TensorType, size: (old: Size) => Size): TensorType {
  const { format, pattern } = type;
  return {
    ...type,
    shape: type.shape.map(size),
    pattern: pattern.kind === "nm" ? { ...pattern, n: size(pattern.n), m: size(pattern.m) } : pattern,
    format: format === null || "parameter" in format ? format : mapFormat(format, size),
  };
}

/** An equation with the sizes in it replaced. */
export function sizedEqn(eqn: Eqn, size: (old: Size) => Size): Eqn {
  const scalar = (old: Scalar): Scalar =>
    mapScalar(old, (node) => (node.kind === "size" ? { ...node, size: size(node.size) } : node));
  const range = (old: Range): Range => mapRange(old, scalar);
  switch (eqn.kind) {
    case "map":
      return { ...eqn, indices: eqn.indices.map(range), body: scalar(eqn.body) };
    case "update":
      return { ...eqn, indices: eqn.indices.map(range), at: eqn.at.map(scalar), body: scalar(eqn.body) };
    case "scan":
      return { ...eqn, range: range(eqn.range), body: eqn.body.map((each) => sizedEqn(each, size)) };
    case "top":
      return { ...eqn, n: size(eqn.n), m: size(eqn.m) };
    case "factorize":
    case "pack":
    case "plus":
      return eqn;
    default:
      return eqn satisfies never;
  }
}
