/** Functions of the standard library at given sizes, with inputs made up. */
import { compileStages, type CompileOptions, type Stages } from "../../compiler/compile.js";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, SymbolicGraph } from "../../compiler/graph/graph.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";
import type { Target } from "../../compiler/target.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { elementCount } from "../../compiler/types/shape.js";
import { libraryFunctions } from "../support/library.js";
import type { Case } from "../support/agreement.js";
import { parseFormat } from "../support/format-text.js";
import { numbers, packed } from "../support/packed.js";
import type { ToleranceKind } from "../support/tolerance.js";

const library = libraryFunctions;

/** What the parameters of a function are; formats as they are written, dense where left out. */
export interface Bound {
  readonly sizes: Readonly<Record<string, number>>;
  readonly formats?: Readonly<Record<string, string>>;
  /** Of every dtype parameter. Default f32. */
  readonly dtype?: Dtype;
}

/** Every stage of a function of the standard library on a target. */
export function stagesOf(
  name: string,
  { sizes, formats = {}, dtype = "f32" }: Bound,
  target: Target,
  options: CompileOptions = {},
): Stages {
  const graph = library.get(name)!;
  const stages = compileStages(
    graph,
    {
      sizes,
      dtypes: Object.fromEntries(graph.parameters.dtypes.map((each) => [each, dtype])),
      formats: Object.fromEntries(
        graph.parameters.formats.map((each) => [each, formats[each] === undefined ? null : parseFormat(formats[each])]),
      ),
    },
    target,
    options,
  );
  if ("diagnostics" in stages)
    throw new Error(`${name}: ${stages.diagnostics.map(({ message }) => message).join("; ")}`);
  return stages;
}

/** Names of the functions of the standard library. */
export const functionNames: readonly string[] = [...library.keys()];

/** The parameters that a function of the standard library has. */
export function parametersOf(name: string): ConcreteGraph["parameters"] {
  return library.get(name)!.parameters;
}

/** A function of the standard library with inputs: those given, others random, packed where a format is bound. */
export function libraryCase(
  name: string,
  bound: Bound,
  kind: ToleranceKind,
  given: Readonly<Record<string, ArrayLike<number>>> = {},
): Case {
  return graphCase(library.get(name)!, bound, kind, given);
}

/** The same of any function. */
export function graphCase(
  symbolic: SymbolicGraph,
  { sizes, formats = {}, dtype: bound = "f32" }: Bound,
  kind: ToleranceKind,
  given: Readonly<Record<string, ArrayLike<number>>> = {},
): Case {
  const parameters = symbolic.inputs.map((input) => symbolic.values[input.value]!.type.format);
  const specialized = specialize(
    symbolic,
    {
      sizes: new Map(Object.entries(sizes)),
      dtypes: new Map(symbolic.parameters.dtypes.map((each) => [each, bound])),
      formats: new Map(
        symbolic.parameters.formats.map((each) => [
          each,
          formats[each] === undefined ? null : parseFormat(formats[each]),
        ]),
      ),
    },
    { f16: bound === "f16" },
  );
  if (!("graph" in specialized)) throw new Error(specialized.map(({ message }) => message).join("; "));
  const { graph } = specialized;
  const inputs = new Map<string, TensorValue>();
  const words = new Map<string, Uint32Array>();
  graph.inputs.forEach((input, at) => {
    const { dtype, shape } = graph.values[input.value]!.type;
    const parameter = parameters[at];
    const format =
      parameter !== null && parameter !== undefined && "parameter" in parameter
        ? formats[parameter.parameter]
        : undefined;
    if (format === undefined)
      inputs.set(input.name, tensorValue(dtype, shape, given[input.name] ?? numbers(elementCount(shape), at + 1)));
    else {
      const made = packed(format, elementCount(shape.slice(0, -1)), shape.at(-1)!, at + 1);
      inputs.set(input.name, tensorValue(dtype, shape, made.dense));
      words.set(input.name, made.words);
    }
  });
  return { graph, inputs, words, kind };
}

/** The schedule of each kernel by the name of what it computes, in order. */
export function taken(stages: Stages): readonly string[] {
  return stages.kernels.flat().map(({ origin }) => `${origin.values.join()} ${origin.schedule}`);
}
