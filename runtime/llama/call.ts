/**
 * Calling functions of the language on tensors of the device: each is compiled once for the sizes, dtypes and formats
 * it meets.
 */
import { compileFunction, type CompileOptions } from "../../compiler/compile.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import type { Target } from "../../compiler/target.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { sizeValue, type Size } from "../../compiler/types/size.js";
import type { FormatSpec, SymbolicFormat } from "../../compiler/types/type.js";
import { argumentsInOrder, hasRoom } from "./interleave.js";
import type { DeviceTensor, Executor, Prepared, TensorForm } from "../run/run.js";
import { functionOf } from "./functions.js";

/** What the parameters of a function stand for. */
export interface Binding {
  readonly sizes: { readonly [name: string]: number };
  readonly dtypes: { readonly [name: string]: Dtype };
  readonly formats: { readonly [name: string]: FormatSpec };
}

/** Tensors and scalars by the names of the function's parameters. */
export interface Arguments<T extends TensorForm = DeviceTensor> {
  readonly [name: string]: T | number;
}

/** Sizes and dtypes that the arguments do not show: `size` parameters, dtypes of results only. */
export interface Extra {
  readonly sizes?: { readonly [name: string]: number };
  readonly dtypes?: { readonly [name: string]: Dtype };
}

/** Compiles, keeps and runs functions. */
export interface Caller {
  readonly executor: Executor;
  readonly target: Target;
  /** What `call` finds by name. */
  readonly functions: ReadonlyMap<string, SymbolicGraph>;
  /** How what is called is compiled. */
  readonly options: CompileOptions;
  /**
   * Runs a function of the standard library by its name; gives its results in order, without the final states of `var`
   * parameters.
   */
  call(name: string, args: Arguments, extra?: Extra): Promise<readonly DeviceTensor[]>;
  /** The same for a graph. */
  callGraph(graph: SymbolicGraph, args: Arguments, extra?: Extra): Promise<readonly DeviceTensor[]>;
  /** What `call` would run, before the device has compiled it. */
  program(name: string, args: Arguments<TensorForm>, extra?: Extra): Prepared["program"];
  /** The same of `callGraph`. */
  programOf(graph: SymbolicGraph, args: Arguments<TensorForm>, extra?: Extra): Prepared["program"];
  /** What `call` would run. */
  prepared(name: string, args: Arguments<TensorForm>, extra?: Extra): Promise<Prepared>;
  /** What `callGraph` would run. */
  preparedGraph(graph: SymbolicGraph, args: Arguments<TensorForm>, extra?: Extra): Promise<Prepared>;
  /** Compiles what `call` would run, so that the first call is not slower than the next. */
  prepare(name: string, args: Arguments<TensorForm>, extra?: Extra): Promise<void>;
}

/** What a call compiles to, and what it is known by. */
export interface Compiled {
  readonly whole: string;
  readonly program: Prepared["program"];
}

/** A format for a dense tensor whose type names none. */
export function formatOf(tensor: TensorForm): FormatSpec {
  return tensor.format ?? { name: tensor.dtype, args: {}, of: null };
}

/**
 * Makes a caller of the functions given, usually those of the standard library; `options` is how they are compiled.
 */
export function createCaller(
  executor: Executor,
  target: Target,
  functions: ReadonlyMap<string, SymbolicGraph>,
  options: CompileOptions = {},
): Caller {
  const programs = new Map<string, Compiled>();
  const prepared = new Map<string, Promise<Prepared>>();
  // by what a graph is, not by what it is called: two treatments of one recipe have one name
  const idsByText = new Map<string, number>();
  const ids = new WeakMap<SymbolicGraph, number>();

  // a graph's text is long, and every call of a token asks: it is read once a graph
  function idOf(graph: SymbolicGraph): number {
    const known = ids.get(graph);
    if (known !== undefined) return known;
    const text = JSON.stringify(graph);
    const id = idsByText.get(text) ?? idsByText.size;
    idsByText.set(text, id);
    ids.set(graph, id);
    return id;
  }

  function compiled(graph: SymbolicGraph, args: Arguments<TensorForm>, extra: Extra): Compiled {
    const binding = bind(graph, args, extra);
    // weights are held once where there is no room for them twice
    const interleave = options.interleave === true && hasRoom(executor);
    const whole = `${idOf(graph)} ${JSON.stringify(binding)}${interleave ? " interleaved" : ""}`;
    let found = programs.get(whole);
    if (found === undefined) {
      found = { whole, program: compileFunction(graph, binding, target, { ...options, interleave }) };
      programs.set(whole, found);
    }
    return found;
  }

  function compile(graph: SymbolicGraph, args: Arguments<TensorForm>, extra: Extra): Promise<Prepared> {
    const { whole, program } = compiled(graph, args, extra);
    let ready = prepared.get(whole);
    if (ready === undefined) {
      ready = executor.prepare(program);
      prepared.set(whole, ready);
      // what failed is tried again by the next call: a device may have had no memory left just then
      ready.catch(() => prepared.delete(whole));
    }
    return ready;
  }

  async function callGraph(graph: SymbolicGraph, args: Arguments, extra: Extra = {}): Promise<readonly DeviceTensor[]> {
    const ready = await compile(graph, args, extra);
    const given = await argumentsInOrder(caller, ready.program, args);
    if (given === null) return callGraph(graph, args, extra);
    const outputs = await executor.run(ready, given);
    return graph.outputs
      .filter((output) => output.input === null)
      .map((output) => {
        const tensor = outputs[output.name];
        if (tensor === undefined) throw new Error(`${graph.name} gave no ${output.name}.`);
        return tensor;
      });
  }

  const caller: Caller = {
    executor,
    target,
    functions,
    options,
    callGraph,
    call: (name, args, extra) => callGraph(functionOf(functions, name), args, extra),
    program: (name, args, extra = {}) => compiled(functionOf(functions, name), args, extra).program,
    programOf: (graph, args, extra = {}) => compiled(graph, args, extra).program,
    prepared: (name, args, extra = {}) => compile(functionOf(functions, name), args, extra),
    preparedGraph: (graph, args, extra = {}) => compile(graph, args, extra),
    async prepare(name, args, extra = {}) {
      await compile(functionOf(functions, name), args, extra);
    },
  };
  return caller;
}

/**
 * Binds a function's parameters to what the arguments show: a size parameter that is an axis by itself, a dtype, a
 * format. The compiler checks that the rest agrees.
 */
export function bind(graph: SymbolicGraph, args: Arguments<TensorForm>, extra: Extra = {}): Binding {
  const sizes: Record<string, number> = { ...extra.sizes };
  const dtypes: Record<string, Dtype> = { ...extra.dtypes };
  const formats: Record<string, FormatSpec> = {};
  for (const input of graph.inputs) {
    const argument = args[input.name];
    const type = graph.values[input.value]?.type;
    if (type === undefined || argument === undefined || typeof argument === "number") continue;
    type.shape.forEach((size, axis) => {
      const symbol = soleSymbol(size);
      const length = argument.shape[axis];
      if (symbol !== null && length !== undefined && sizes[symbol] === undefined) sizes[symbol] = length;
    });
    if (typeof type.dtype !== "string") dtypes[type.dtype.parameter] ??= argument.dtype;
    if (type.format !== null && isParameter(type.format)) formats[type.format.parameter] ??= formatOf(argument);
  }
  return { sizes, dtypes, formats };
}

function soleSymbol(size: Size): string | null {
  const [term, ...rest] = size.terms;
  if (sizeValue(size) !== null || term === undefined || rest.length > 0 || term.coefficient !== 1) return null;
  const [atom, ...more] = term.factors;
  return atom?.kind === "symbol" && more.length === 0 ? atom.name : null;
}

function isParameter(
  format: SymbolicFormat | { readonly parameter: string },
): format is { readonly parameter: string } {
  return "parameter" in format;
}
