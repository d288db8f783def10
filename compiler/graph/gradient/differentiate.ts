/** A function's gradient as a function. */
import { freeName } from "../../names.js";
import { full, type Level } from "../../types/type.js";
import { eqnOperands, freshIndices, removeDead } from "../eqn.js";
import type { Graph, Output, Value, ValueId } from "../graph.js";
import type { GradientFault } from "./derivation.js";
import { deriveGradients } from "./gradient.js";
import { copyHost } from "./host.js";

/** Which gradients. */
export interface Differentiation {
  /** The output whose adjoint is given. */
  readonly of: string;
  /** Inputs. */
  readonly by: readonly string[];
  readonly packs?: "stop" | "through";
  /** Outputs of the function to keep beside the gradients. */
  readonly keep?: readonly string[];
}

/**
 * A function of the inputs of `graph` and of `d_<of>`, the adjoint of that output in its dtype and shape, that gives
 * `d_<name>` for each of `by`, of the dtype and shape of that input, dense. It computes anew what it needs of the
 * function itself. Inputs that it does not need are left out, and every input keeps its place in the order.
 */
export function differentiate<L extends Level>(
  graph: Graph<L>,
  { of, by, packs = "stop", keep = [] }: Differentiation,
): { readonly graph: Graph<L> } | { readonly faults: readonly GradientFault[] } {
  const output = graph.outputs.find((each) => each.name === of);
  const inputs = by.map((name) => graph.inputs.find((each) => each.name === name));
  if (output === undefined) return { faults: [missing(`\`${graph.name}\` has no output \`${of}\``)] };
  const absent = by.filter((_, at) => inputs[at] === undefined);
  if (absent.length > 0) return { faults: absent.map((name) => missing(`\`${graph.name}\` has no input \`${name}\``)) };

  const seedName = freeName(
    `d_${of}`,
    (name) => graph.inputs.some((input) => input.name === name),
    (number) => `d_${of}${number}`,
  );
  const { graph: whole, seed } = withSeed(graph, seedName, output.value);
  const host = copyHost(whole, freshIndices(whole));
  const found = deriveGradients(host, {
    of: output.value,
    seed,
    by: inputs.flatMap((input) => (input === undefined ? [] : [input.value])),
    packs,
    span: graph.span,
  });
  if ("faults" in found) return found;
  const outputs: readonly Output[] = [
    ...graph.outputs.filter((each) => keep.includes(each.name)).map((each) => ({ ...each, input: null })),
    ...found.gradients.map((value, at) => ({ value, name: `d_${by[at]}`, input: null })),
  ];
  return { graph: withoutUnread(removeDead({ ...host.graph(), name: `${graph.name}_gradient`, outputs })) };
}

/** The graph with one more input, of the dtype and shape of a value, dense. */
function withSeed<L extends Level>(
  graph: Graph<L>,
  name: string,
  like: ValueId,
): { readonly graph: Graph<L>; readonly seed: ValueId } {
  const seed = graph.values.length;
  const { dtype, shape } = graph.values[like]?.type ?? { dtype: "f32" as L["dtype"], shape: [] };
  const value: Value<L> = { id: seed, name, type: { dtype, shape, pattern: full, format: null }, span: null };
  // what the function changes in place, its gradient only reads
  const inputs = graph.inputs.map((input) => ({ ...input, mutable: false }));
  return {
    graph: { ...graph, values: [...graph.values, value], inputs: [...inputs, { value: seed, name, mutable: false }] },
    seed,
  };
}

/** The graph without the inputs that nothing reads. */
function withoutUnread<L extends Level>(graph: Graph<L>): Graph<L> {
  const read = new Set(graph.eqns.flatMap((eqn) => [...eqnOperands(eqn)]));
  for (const { value } of graph.outputs) read.add(value);
  const inputs = graph.inputs.filter(({ value }) => read.has(value));
  // a format that no input has any more is decided by none
  const named = new Set(
    inputs.flatMap(({ value }) => {
      const format = graph.values[value]?.type.format;
      return format !== null && format !== undefined && "parameter" in format ? [format.parameter] : [];
    }),
  );
  const formats = graph.parameters.formats.filter((name) => named.has(name));
  return removeDead({ ...graph, inputs, parameters: { ...graph.parameters, formats } });
}

function missing(message: string): GradientFault {
  return { kind: "independent", message, span: null, help: null, labels: [] };
}
