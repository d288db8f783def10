import type { Command } from "commander";
import { readFileSync } from "node:fs";
import { check } from "../../compiler/check/check.js";
import { compileStages, type CompileBinding } from "../../compiler/compile.js";
import { hasErrors } from "../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { printKernel } from "../../compiler/kernel/print.js";
import { didYouMean } from "../../compiler/suggest.js";
import { parse } from "../../compiler/syntax/parse.js";
import { baselineTarget, type Target } from "../../compiler/target.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { openDevice } from "../device/device.js";
import { createHost } from "../library.js";
import { targetOf } from "../run/target.js";
import { action, withDevice, type DeviceOptions } from "./context.js";
import { DiagnosticsError, UsageError } from "./failure.js";
import { parseFormat } from "./format.js";
import type { Output } from "./output.js";

const stages = ["ast", "graph", "kernel", "wgsl", "plan"] as const;

interface CompileCommandOptions extends DeviceOptions {
  readonly fn?: string;
  readonly size: readonly string[];
  readonly emit: string;
}

/** `espalier compile`: a function's stages, down to the Program. */
export function addCompile(program: Command): void {
  withDevice(program.command("compile").description("compile a function and print a stage").argument("<file>", ".esp file")
    .option("--fn <name>", "function; may be left out where the file has one")
    .option("--size <name=value...>", "a size (N=4096), a dtype (E=f16) or a format (F=nm(2,4) of int4(128)) of the function", collect, [])
    .option("--emit <stage>", "ast, graph, kernel, wgsl or plan", "plan"))
    .action(action(async (output, file: string, options: CompileCommandOptions) => {
      if (!stages.some((stage) => stage === options.emit)) throw new UsageError(`--emit is one of ${stages.join(", ")}, not "${options.emit}"`);
      const host = createHost();
      const source = host.read(file);
      if (options.emit === "ast" && source !== null) {
        const { value, diagnostics } = parse(source, file);
        if (value === null) throw new DiagnosticsError(diagnostics, host.sources);
        output.result(value, () => JSON.stringify(value, null, 1));
        return;
      }
      const { value, diagnostics } = check(file, host);
      if (value === null || hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, host.sources);
      const own = ownFunctions(file, host.read(file) ?? readFileSync(file, "utf8"));
      const graph = chooseFunction(value.functions, own, options.fn);
      if (options.emit === "graph" && options.size.length === 0) {
        output.result(graph, () => printGraph(graph));
        return;
      }
      const target = await targetFor(options, output);
      const compiled = compileStages(graph, bindingOf(graph, options.size), target);
      if ("diagnostics" in compiled) throw new DiagnosticsError(compiled.diagnostics, host.sources);
      switch (options.emit) {
        case "graph": return output.result(compiled.fused, () => printGraph(compiled.fused));
        case "kernel": return output.result(compiled.kernels.flat(), () => compiled.kernels.flat().map(printKernel).join("\n"));
        case "wgsl": return output.result(compiled.program.kernels.map(({ name, wgsl }) => ({ name, wgsl })), () => compiled.program.kernels.map((kernel) => kernel.wgsl).join("\n"));
        default: return output.result(compiled.program, () => JSON.stringify(compiled.program, null, 1));
      }
    }));
}

function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value];
}

/** The target of the device asked for; with `auto`, a plain WebGPU device if none can be opened, since nothing is run. */
async function targetFor(options: DeviceOptions, output: Output): Promise<Target> {
  if (options.device === "auto") return baselineTarget;
  if (options.device !== "gpu" && options.device !== "cpu") throw new UsageError(`--device is auto, gpu or cpu, not "${options.device}"`);
  const device = await openDevice({ kind: options.device, log: output.note });
  const target = targetOf(device);
  device.close();
  return target;
}

/** Names of the functions that the file itself declares. */
function ownFunctions(file: string, source: string): readonly string[] {
  const { value } = parse(source, file);
  return value === null ? [] : value.declarations.filter((declaration) => declaration.kind === "function").map((declaration) => declaration.name.name);
}

function chooseFunction(functions: ReadonlyMap<string, SymbolicGraph>, own: readonly string[], name: string | undefined): SymbolicGraph {
  if (name === undefined) {
    const [only, ...others] = own;
    if (only === undefined) throw new UsageError("the file declares no function; a recipe is compiled when it runs");
    if (others.length > 0) throw new UsageError(`--fn NAME is needed: the file declares ${own.join(", ")}`);
    return functions.get(only)!;
  }
  const found = functions.get(name);
  if (found !== undefined) return found;
  throw new UsageError(`there is no function ${name}; ${didYouMean(name, functions.keys()) ?? ""} the file declares ${own.join(", ")}`);
}

/** Sizes, dtypes and formats from `NAME=VALUE`; dtypes default to f32 and formats to dense. */
export function bindingOf(graph: SymbolicGraph, given: readonly string[]): CompileBinding {
  const sizes: Record<string, number> = {};
  const dtypes: Record<string, Dtype> = Object.fromEntries(graph.parameters.dtypes.map((name) => [name, "f32"]));
  const formats: Record<string, FormatSpec | null> = Object.fromEntries(graph.parameters.formats.map((name) => [name, null]));
  for (const text of given) {
    const at = text.indexOf("=");
    const [name, value] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
    if (at < 1) throw new UsageError(`--size is NAME=VALUE, not "${text}"`);
    if (graph.parameters.sizes.includes(name)) {
      const size = Number(value);
      if (!Number.isSafeInteger(size) || size < 1) throw new UsageError(`the size ${name} must be a positive whole number, not "${value}"`);
      sizes[name] = size;
    } else if (graph.parameters.dtypes.includes(name)) {
      if (value !== "f32" && value !== "f16") throw new UsageError(`the dtype ${name} must be f32 or f16, not "${value}"`);
      dtypes[name] = value;
    } else if (graph.parameters.formats.includes(name)) formats[name] = parseFormat(value);
    else throw new UsageError(`${graph.name} has no parameter ${name}; it has ${[...graph.parameters.sizes, ...graph.parameters.dtypes, ...graph.parameters.formats].join(", ") || "none"}`);
  }
  return { sizes, dtypes, formats };
}
