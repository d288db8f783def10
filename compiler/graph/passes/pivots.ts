/** The pivots of factorisations as further results of a graph. */
import { freeName } from "../../names.js";
import { constantSize } from "../../types/size.js";
import { full, type Symbolic } from "../../types/type.js";
import { binary, indexOf, integer, load, range, select, sizeScalar } from "../build.js";
import { freshIndices } from "../eqn.js";
import type { Eqn, Output, SymbolicGraph, Value } from "../graph.js";

/** A Cholesky factorisation of a graph, and where its pivots are found. */
export interface WatchedFactorization {
  /** The output of the graph, f32 [2, K]: the diagonal of the factor, and that of the matrix. */
  readonly output: string;
  /** What the matrix is called. */
  readonly matrix: string;
}

/** A graph with the pivots of its factorisations among its results. */
export interface WatchedGraph {
  readonly graph: SymbolicGraph;
  readonly factorizations: readonly WatchedFactorization[];
}

/**
 * The graph with an output more for each Cholesky factorisation: the diagonal of the factor, where a pivot that is not
 * positive stands (`spec/ops.md`), beside that of the matrix. Each is made right after its factorisation, so that
 * neither
 * matrix lives longer; a graph without any stays the same object.
 */
export function withPivots(graph: SymbolicGraph): WatchedGraph {
  const values = [...graph.values];
  const outputs: Output[] = [];
  const factorizations: WatchedFactorization[] = [];
  const fresh = freshIndices(graph);
  const taken = new Set(graph.outputs.map(({ name }) => name));

  const watch = (factor: Value, matrix: Value): Eqn => {
    const name = freeName("pivots", (other) => taken.has(other));
    taken.add(name);
    const size = matrix.type.shape[0] ?? constantSize(0);
    const [part, k] = [
      range<Symbolic>(fresh(), "part", 0, 2),
      range<Symbolic>(fresh(), "k", 0, sizeScalar<Symbolic>(size)),
    ];
    const diagonal = (value: Value) => load(value, [indexOf(k), indexOf(k)]);
    const value: Value = {
      id: values.length,
      name,
      span: null,
      type: { dtype: "f32", shape: [constantSize(2), size], pattern: full, format: null },
    };
    values.push(value);
    outputs.push({ value: value.id, name, input: null });
    factorizations.push({ output: name, matrix: matrix.name });
    return {
      kind: "map",
      out: value.id,
      indices: [part, k],
      body: select(binary("equal", indexOf(part), integer<Symbolic>(0)), diagonal(factor), diagonal(matrix)),
    };
  };

  const eqns = graph.eqns.flatMap((eqn): readonly Eqn[] => {
    if (eqn.kind !== "factorize" || eqn.op !== "cholesky") return [eqn];
    const [factor, matrix] = [graph.values[eqn.out], graph.values[eqn.source]];
    return factor === undefined || matrix === undefined ? [eqn] : [eqn, watch(factor, matrix)];
  });
  return factorizations.length === 0
    ? { graph, factorizations }
    : { graph: { ...graph, values, eqns, outputs: [...graph.outputs, ...outputs] }, factorizations };
}
