import { check } from "../../../compiler/check/check.js";
import { compileStages, type CompileBinding } from "../../../compiler/compile.js";
import { hasErrors } from "../../../compiler/diagnostic.js";
import { completeFormat, formatOfSpec, printFormat, scaleShape, shapeOf } from "../../../compiler/formats/registry.js";
import type { GridValues, Shape } from "../../../compiler/formats/format.js";
import { evaluate, tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { ConcreteGraph, SymbolicGraph } from "../../../compiler/graph/graph.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { didYouMean } from "../../../compiler/suggest.js";
import type { Dtype } from "../../../compiler/types/dtype.js";
import { printSize } from "../../../compiler/types/size.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import { counted } from "../../../compiler/words.js";
import { createHost } from "../../library.js";
import { bind } from "../../llama/call.js";
import { sourcePath } from "../../package.js";
import type { Argument, DeviceTensor, TensorForm } from "../../run/run.js";
import { bindingOf, chooseGraph, requireSizes } from "../compile.js";
import { DiagnosticsError, UsageError } from "../failure.js";
import { chosenDevice, settings, type DeviceOptions } from "../options.js";
import type { Output } from "../output.js";
import { nested, printResult, writeResult, type Result } from "./show.js";
import { ownDtype, readValue, valuesOf, type GivenValue } from "./values.js";

interface RunCommandOptions extends DeviceOptions {
  readonly fn?: string;
  readonly arg: readonly string[];
  readonly size: readonly string[];
  readonly set: readonly string[];
  readonly out: readonly string[];
  readonly evaluate?: boolean;
}

/** `espalier run`: a function on numbers, on a device or by the evaluator. */
export async function run(output: Output, given: string, options: RunCommandOptions): Promise<number | void> {
  const file = sourcePath(given);
  const host = createHost();
  const { value, diagnostics } = check(file, host, { set: settings(options.set) });
  if (value === null || hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, host.sources);
  const graph = chooseGraph(file, value, options.fn);
  const places = outputPlaces(graph, options.out);
  // what does not fit is said before a device is opened
  const { binding, concrete, inputs } = boundTo(graph, options, host.sources);
  const start = performance.now();
  const { results, by } =
    options.evaluate === true
      ? { results: evaluated(concrete, inputs), by: "the evaluator" }
      : await onDevice(output, graph, binding, inputs, options, host.sources);
  for (const [name, path] of places) {
    const result = results.find((each) => each.name === name);
    if (result !== undefined) writeResult(path, result);
  }
  const shown = results.filter(({ name }) => !places.has(name));
  output.result(
    {
      function: graph.name,
      sizes: binding.sizes,
      device: by,
      results: results.map((each) => ({
        name: each.name,
        dtype: each.dtype,
        shape: each.shape,
        ...(places.has(each.name) ? { file: places.get(each.name) } : { values: nested(each) }),
      })),
    },
    () => [...shown.map(printResult), ...[...places].map(([name, path]) => `${name}: ${path}`)].join("\n"),
  );
  output.note(
    `${graph.name}${described(binding)} in ${((performance.now() - start) / 1000).toFixed(2)} s ${options.evaluate === true ? "by" : "on"} ${by}`,
  );
}

/** A function's results on arguments as `--arg` and `--size` have them, by the evaluator. */
export function evaluateGiven(
  graph: SymbolicGraph,
  given: { readonly arg: readonly string[]; readonly size: readonly string[] },
  sources: ReadonlyMap<string, string>,
): readonly Result[] {
  const { concrete, inputs } = boundTo(graph, given, sources);
  return evaluated(concrete, inputs);
}

/** A function with its sizes, dtypes and formats, and its inputs. */
function boundTo(
  graph: SymbolicGraph,
  given: { readonly arg: readonly string[]; readonly size: readonly string[] },
  sources: ReadonlyMap<string, string>,
): { readonly binding: CompileBinding; readonly concrete: ConcreteGraph; readonly inputs: readonly Input[] } {
  const values = givenValues(graph, given.arg);
  const binding = bindingFor(graph, values, given.size);
  requireSizes(graph, binding);
  const bound = specialize(graph, asMaps(binding), { f16: true });
  if (!("graph" in bound)) throw new DiagnosticsError(bound, sources);
  return { binding, concrete: bound.graph, inputs: inputsOf(graph, bound.graph, binding, values) };
}

function described({ sizes = {} }: CompileBinding): string {
  const list = Object.entries(sizes).map(([name, size]) => `${name} = ${size}`);
  return list.length === 0 ? "" : ` with ${list.join(", ")}`;
}

function asMaps({ sizes = {}, dtypes = {}, formats = {} }: CompileBinding): Parameters<typeof specialize>[1] {
  return {
    sizes: new Map(Object.entries(sizes)),
    dtypes: new Map(Object.entries(dtypes)),
    formats: new Map(Object.entries(formats)),
  };
}

/** What `--arg` gives, by the names of the function's inputs: each once, and none is missing. */
function givenValues(graph: SymbolicGraph, args: readonly string[]): ReadonlyMap<string, GivenValue> {
  const values = new Map<string, GivenValue>();
  const names = graph.inputs.map(({ name }) => name);
  for (const text of args) {
    const at = text.indexOf("=");
    if (at < 1) throw new UsageError(`--arg is NAME=VALUE, not "${text}"`);
    const name = text.slice(0, at).trim();
    if (graph.parameters.sizes.includes(name))
      throw new UsageError(`${name} is a size of ${graph.name}: --size ${name}=${text.slice(at + 1)}`);
    if (!names.includes(name))
      throw new UsageError(
        `${graph.name} takes no ${name}; ${didYouMean(name, names) ?? `it takes ${names.join(", ") || "nothing"}`}`,
      );
    if (values.has(name)) throw new UsageError(`${name} is given twice`);
    values.set(name, readValue(name, text.slice(at + 1)));
  }
  const missing = graph.inputs.filter(({ name }) => !values.has(name));
  if (missing.length > 0)
    throw new UsageError(
      `${graph.name} takes ${missing.map((input) => `${input.name}: ${printInput(graph, input.value)}`).join(", ")} as well: ${missing.map(({ name }) => `--arg ${name}=...`).join(" ")}`,
    );
  for (const { name, value } of graph.inputs) {
    const shape = values.get(name)?.shape ?? [];
    if (shape.length !== graph.values[value]?.type.shape.length)
      throw new UsageError(`${name} should be ${printInput(graph, value)}, and ${shapeInWords(shape)}`);
  }
  return values;
}

function shapeInWords(shape: readonly number[]): string {
  return shape.length === 0 ? "is a single number" : `has the shape [${shape.join(", ")}]`;
}

function printInput(graph: SymbolicGraph, value: number): string {
  const type = graph.values[value]?.type;
  if (type === undefined) return "?";
  const dtype = typeof type.dtype === "string" ? type.dtype : type.dtype.parameter;
  return `${dtype}${type.shape.length === 0 ? "" : `[${type.shape.map(printSize).join(", ")}]`}`;
}

/** Sizes by the shapes that are given, dtypes by the files; what `--size` says comes first. */
function bindingFor(
  graph: SymbolicGraph,
  values: ReadonlyMap<string, GivenValue>,
  sizes: readonly string[],
): CompileBinding {
  const named = new Set(sizes.map((text) => text.split("=", 1)[0]?.trim()));
  const said = bindingOf(graph, sizes);
  const forms = Object.fromEntries(
    [...values].map(([name, value]): [string, TensorForm] => [
      name,
      { dtype: ownDtype(value), shape: value.shape, format: null },
    ]),
  );
  const dtypes = Object.fromEntries(Object.entries(said.dtypes ?? {}).filter(([name]) => named.has(name)));
  const found = bind(graph, forms, { sizes: said.sizes ?? {}, dtypes });
  return { sizes: found.sizes, dtypes: { ...said.dtypes, ...found.dtypes }, formats: said.formats ?? {} };
}

/** An input as it goes to the evaluator, and with its words where it is packed. */
interface Input {
  readonly name: string;
  readonly value: TensorValue;
  readonly packed: { readonly format: FormatSpec; readonly words: Uint32Array<ArrayBuffer> } | null;
  readonly parameter: string | null;
}

function inputsOf(
  graph: SymbolicGraph,
  concrete: ConcreteGraph,
  binding: CompileBinding,
  values: ReadonlyMap<string, GivenValue>,
): readonly Input[] {
  return concrete.inputs.map(({ name, value }, at): Input => {
    const type = concrete.values[value]?.type;
    const given = values.get(name);
    const written = graph.values[graph.inputs[at]?.value ?? -1]?.type;
    if (type === undefined || given === undefined || written === undefined) throw new UsageError(`${name} is missing`);
    if (given.shape.join() !== type.shape.join()) {
      const symbols = written.shape.map(printSize).join(", ");
      const of = `${type.dtype}[${type.shape.join(", ")}]`;
      const why = described(binding).replace(" with", " where");
      throw new UsageError(
        `${name} should be ${of}${symbols === "" || symbols === type.shape.join(", ") ? "" : `, [${symbols}]${why},`} and ${shapeInWords(given.shape)}`,
      );
    }
    const dense = tensorValue(type.dtype, type.shape, valuesOf(name, given, type.dtype));
    const parameter = written.format !== null && "parameter" in written.format ? written.format.parameter : null;
    if (type.format === null || type.shape.length === 0) return { name, value: dense, packed: null, parameter };
    const packed = pack(name, type.format, shapeOf(type.shape), Float32Array.from(dense.data));
    const decoded = formatOfSpec(packed.format).decode(packed.format, shapeOf(type.shape), packed.words);
    return { name, value: tensorValue(type.dtype, type.shape, decoded), packed, parameter };
  });
}

/** Dense values in a format: scales are those of the largest weight of a group, values the nearest on the grid. */
function pack(name: string, format: FormatSpec, shape: Shape, dense: Float32Array): NonNullable<Input["packed"]> {
  const grid = gridOf(format, shape, dense);
  const complete = completeFormat(format, shape, dense, grid);
  try {
    return { format: complete, words: formatOfSpec(complete).encode(complete, shape, dense, grid) };
  } catch (error) {
    throw new UsageError(
      `${name} cannot be stored as ${printFormat(format)}: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function gridOf(format: FormatSpec, shape: Shape, dense: Float32Array): GridValues | null {
  const own = formatOfSpec(format).grid(format);
  const groups = scaleShape(format, shape);
  if (own === null || groups === null) return null;
  const count = groups.rows * groups.columns;
  const width = groups.columns === 0 ? 0 : shape.columns / groups.columns;
  const bounds = Array.from({ length: count }, (_, at) => {
    const values = dense.subarray(at * width, (at + 1) * width);
    return values.reduce<readonly [number, number]>(
      ([low, high], value) => [Math.min(low, value), Math.max(high, value)],
      [0, 0],
    );
  });
  const levels = own.high - own.low;
  const scale = bounds.map(([low = 0, high = 0]) =>
    own.symmetric ? Math.max(-low, high) / own.high || 1 : (high - low) / levels || 1,
  );
  return {
    scale: Float32Array.from(scale),
    zero: own.symmetric ? null : Float32Array.from(bounds, ([low = 0], at) => Math.round(-low / (scale[at] ?? 1))),
  };
}

/** Where each result goes that `--out` names; a path alone is that of the only result. */
function outputPlaces(graph: SymbolicGraph, out: readonly string[]): ReadonlyMap<string, string> {
  const names = graph.outputs.map(({ name }) => name);
  const places = new Map<string, string>();
  for (const text of out) {
    const at = text.indexOf("=");
    const [name, path] =
      at < 0 ? [names.length === 1 ? names[0] : undefined, text] : [text.slice(0, at), text.slice(at + 1)];
    if (name === undefined)
      throw new UsageError(
        `${graph.name} has ${counted(names.length, "result")}, ${names.join(", ")}: --out NAME=FILE says which is meant`,
      );
    if (!names.includes(name))
      throw new UsageError(
        `${graph.name} has no result ${name}; ${didYouMean(name, names) ?? `it has ${names.join(", ")}`}`,
      );
    if (!/\.(?:npy|json)$/i.test(path)) throw new UsageError(`${path} should end in .npy or .json`);
    places.set(name, path);
  }
  return places;
}

function evaluated(graph: ConcreteGraph, inputs: readonly Input[]): readonly Result[] {
  const values = evaluate(graph, new Map(inputs.map(({ name, value }) => [name, value])));
  return [...values].map(([name, value]) => ({ name, ...value }));
}

async function onDevice(
  output: Output,
  graph: SymbolicGraph,
  binding: CompileBinding,
  inputs: readonly Input[],
  options: RunCommandOptions,
  sources: ReadonlyMap<string, string>,
): Promise<{ readonly results: readonly Result[]; readonly by: string }> {
  const { openDevice } = await import("../../device/device.js");
  const { createExecutor } = await import("../../run/run.js");
  const { targetOf } = await import("../../run/target.js");
  // the values of a packed input say how its scales are stored
  const formats = { ...binding.formats };
  for (const { parameter, packed } of inputs)
    if (parameter !== null && packed !== null) formats[parameter] = packed.format;
  const device = await openDevice({ ...chosenDevice(options.device), log: output.note });
  try {
    const compiled = compileStages(graph, { ...binding, formats }, targetOf(device));
    if ("diagnostics" in compiled) throw new DiagnosticsError(compiled.diagnostics, sources);
    for (const note of compiled.notes) output.note(`note: ${note}`);
    const executor = await createExecutor(device);
    const { program } = compiled;
    const args: Record<string, Argument> = {};
    for (const { name, value, packed } of inputs) {
      const wanted = program.inputs.find((each) => each.name === name);
      if (value.shape.length === 0) args[name] = value.dtype === "bool" ? value.data[0] !== 0 : (value.data[0] ?? 0);
      else if (packed !== null)
        args[name] = await executor.upload(
          { dtype: wanted?.dtype ?? value.dtype, shape: value.shape, format: packed.format },
          packed.words,
          name,
        );
      else args[name] = await executor.fill(wanted?.dtype ?? value.dtype, value.shape, value.data, name);
    }
    const outputs = await executor.run(await executor.prepare(program), args);
    const results: Result[] = [];
    for (const { name, dtype } of program.outputs) {
      const tensor = outputs[name];
      if (tensor !== undefined) results.push({ name, ...(await hostValue(executor, tensor, dtype)) });
    }
    return { results, by: device.name };
  } finally {
    device.close();
  }
}

/** A tensor of the device on the host, decoded if it is packed. */
async function hostValue(
  executor: {
    read(tensor: DeviceTensor): Promise<Uint8Array<ArrayBuffer>>;
    values(tensor: DeviceTensor): Promise<ArrayLike<number>>;
  },
  tensor: DeviceTensor,
  dtype: Dtype,
): Promise<TensorValue> {
  const { shape, format } = tensor;
  if (format === null || format.name === tensor.dtype) return tensorValue(dtype, shape, await executor.values(tensor));
  const bytes = await executor.read(tensor);
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  return tensorValue(dtype, shape, formatOfSpec(format).decode(format, shapeOf(shape), words));
}
