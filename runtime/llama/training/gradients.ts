/** The gradients that training runs, derived from the functions of the language. */
import { CompileError, error, InternalError, type Span } from "../../../compiler/diagnostic.js";
import { cast, indexOf, load, range, sizeScalar } from "../../../compiler/graph/build.js";
import { eqnOperands, freshIndices } from "../../../compiler/graph/eqn.js";
import { differentiate, type Differentiation } from "../../../compiler/graph/gradient/differentiate.js";
import { scalarLoads, scalarReductions } from "../../../compiler/graph/scalar.js";
import type { SymbolicGraph, Value } from "../../../compiler/graph/graph.js";
import { adding } from "../../../compiler/graph/passes/accumulate.js";
import { withHostPacks } from "../../../compiler/graph/passes/host-packs.js";
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import { full, type Symbolic } from "../../../compiler/types/type.js";
import type { ActivationDtype } from "../weights.js";

const codes = { independent: "E701", refused: "E702", unbounded: "E703" } as const;

/** What was derived of a graph, which never changes: blocks and layers ask for the same again and again. */
const known = new WeakMap<SymbolicGraph, Map<string, unknown>>();

function derived<T>(graph: SymbolicGraph, what: string, derive: () => T): T {
  const own = known.get(graph) ?? new Map<string, unknown>();
  known.set(graph, own);
  if (!own.has(what)) own.set(what, derive());
  return own.get(what) as T;
}

/**
 * A function's gradient.
 * @throws CompileError E701 to E703 where there is none
 */
export function gradientOf(graph: SymbolicGraph, asked: Differentiation, at: Span | null = graph.span): SymbolicGraph {
  const found = derived(graph, JSON.stringify(asked), () => differentiate(graph, asked));
  if ("graph" in found) return found.graph;
  throw new CompileError(
    found.faults.map((fault) => {
      const span = fault.span ?? at;
      return error(codes[fault.kind], fault.message, span === null ? null : { span, message: "" }, {
        labels: fault.labels,
        ...(fault.help === null ? {} : { help: fault.help }),
      });
    }),
  );
}

/** The one result of a function. */
export function resultOf(graph: SymbolicGraph): string {
  const [output, ...more] = graph.outputs.filter(({ input }) => input === null);
  if (output === undefined || more.length > 0) throw new InternalError(`${graph.name} does not give one tensor`);
  return output.name;
}

/** The name of the total that a gradient by an input is added to. */
export function totalOf(input: string): string {
  return `total_${input}`;
}

/**
 * The gradient of a function's result by `through`, which goes on to what comes before, and by `by`, which are added to
 * totals. The adjoint of the result is `d_<result>`.
 */
export function backward(graph: SymbolicGraph, through: readonly string[], by: readonly string[]): SymbolicGraph {
  return derived(graph, `back ${through.join()} ${by.join()}`, () =>
    adding(
      gradientOf(graph, { of: resultOf(graph), by: [...through, ...by] }),
      new Map(by.map((name) => [`d_${name}`, totalOf(name)])),
    ),
  );
}

/** The gradient of a loss by what it takes from the model, of the dtype that activations are kept in. */
export function lossGradient(loss: SymbolicGraph, by: string, dtype: ActivationDtype): SymbolicGraph {
  const gradient = gradientOf(loss, { of: resultOf(loss), by: [by] });
  const value = gradient.values[gradient.outputs[0]?.value ?? -1];
  if (value === undefined) throw new InternalError(`${gradient.name} gives nothing`);
  if (value.type.dtype !== "f32" || dtype !== "f16") return gradient;
  return derived(gradient, "in halves", () => inHalves(gradient, value));
}

/** A graph whose one result is rounded to f16. */
function inHalves(graph: SymbolicGraph, value: Value<Symbolic>): SymbolicGraph {
  const id = graph.values.length;
  const fresh = freshIndices(graph);
  const indices = value.type.shape.map((size, axis) =>
    range<Symbolic>(fresh(), `i${axis}`, 0, sizeScalar<Symbolic>(size)),
  );
  const body = cast<Symbolic>(load(value, indices.map(indexOf)), "f16");
  return {
    ...graph,
    values: [
      ...graph.values,
      { ...value, id, type: { dtype: "f16", shape: value.type.shape, pattern: full, format: null } },
    ],
    eqns: [...graph.eqns, { kind: "map", out: id, indices, body }],
    outputs: graph.outputs.map((output) => (output.value === value.id ? { ...output, value: id } : output)),
  };
}

/** Whether a treatment changes something that is trained. */
export function isTrained({ inputs }: Treatment): boolean {
  return inputs.some(({ kind }) => kind === "weight" || kind === "factors" || kind === "parameter");
}

/**
 * What a treatment stores, as a function of its own, and that function's gradients by each input that is trained. What is
 * packed on the host is computed by what the library, `functions`, says of it.
 */
export function treatmentGraphs(
  treatment: Treatment,
  functions: ReadonlyMap<string, SymbolicGraph>,
): { readonly stored: SymbolicGraph; readonly gradients: ReadonlyMap<string, SymbolicGraph> } {
  const { stores, inputs } = treatment;
  const at = treatment.graph.span;
  const graph = derived(treatment.graph, `packs of ${stores ?? ""}`, () =>
    withHostPacks(treatment.graph, stores ?? "", (format) => functions.get(`rounded_to_${format}`)),
  );
  const output = graph.outputs.find(({ name }) => name === stores);
  const by = inputs
    .filter(({ kind }) => kind === "weight" || kind === "factors" || kind === "parameter")
    .map(({ name }) => name);
  if (output === undefined || by.length === 0) throw new InternalError(`${graph.name} stores nothing that is trained`);
  return derived(graph, `what ${output.name} is stored of ${by.join()}`, () => {
    const stored = { ...graph, outputs: [output] };
    const gradient = (name: string): SymbolicGraph =>
      gradientOf(stored, { of: output.name, by: [name], packs: "through" }, at);
    return { stored, gradients: new Map(by.map((name) => [name, gradient(name)])) };
  });
}

/**
 * Whether an input of a graph, a dense weight, may be given as it is stored: all that reads it reads its elements, which are
 * decoded there, and no sum does, which would decode them again for each of its terms. True, too, of one that takes any
 * format already.
 */
export function takesAnyFormat(graph: SymbolicGraph, name: string): boolean {
  const input = graph.inputs.find((each) => each.name === name);
  if (input === undefined) return false;
  if (graph.values[input.value]?.type.format !== null) return true;
  return (
    graph.values[input.value]?.type.shape.length === 2 &&
    !input.mutable &&
    graph.outputs.every(({ value }) => value !== input.value) &&
    graph.eqns.every(
      (eqn) =>
        !new Set(eqnOperands(eqn)).has(input.value) ||
        (eqn.kind === "map" &&
          !scalarReductions(eqn.body).some((each) => scalarLoads(each).some(({ tensor }) => tensor === input.value))),
    )
  );
}

/** The graph with inputs that are dense given in any format, each a parameter of its own. */
export function inAnyFormat(graph: SymbolicGraph, names: readonly string[]): SymbolicGraph {
  return derived(graph, `in any format ${names.join()}`, () => {
    const formats = new Map(
      graph.inputs.flatMap(({ name, value }) =>
        names.includes(name) && graph.values[value]?.type.format === null
          ? [[value, `format of ${name}`] as const]
          : [],
      ),
    );
    return {
      ...graph,
      values: graph.values.map((value) => {
        const parameter = formats.get(value.id);
        return parameter === undefined ? value : { ...value, type: { ...value.type, format: { parameter } } };
      }),
      parameters: { ...graph.parameters, formats: [...graph.parameters.formats, ...formats.values()] },
    };
  });
}
