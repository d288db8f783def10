import { check, type CheckedModule } from "../../compiler/check/check.js";
import { compileStages, type CompileBinding } from "../../compiler/compile.js";
import { hasErrors } from "../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import { printKernel } from "../../compiler/kernel/print.js";
import { printRecipe } from "../../compiler/recipe/print.js";
import type { Recipe, RecipeStep } from "../../compiler/recipe/recipe.js";
import { didYouMean } from "../../compiler/suggest.js";
import { parse } from "../../compiler/syntax/parse.js";
import { baselineTarget, type Target } from "../../compiler/target.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { createHost } from "../library.js";
import { sourcePath } from "../package.js";
import type { stages } from "./stages.js";
import { DiagnosticsError, UsageError } from "./failure.js";
import { parseFormat } from "./format.js";
import { chosenDevice, settings, type DeviceOptions } from "./options.js";
import type { Output } from "./output.js";

interface CompileCommandOptions extends DeviceOptions {
  readonly fn?: string;
  readonly size: readonly string[];
  readonly set: readonly string[];
  readonly emit: (typeof stages)[number];
}

/** `espalier compile`: a function's stages, down to the Program. */
export async function run(output: Output, given: string, options: CompileCommandOptions): Promise<number | void> {
  const file = sourcePath(given);
  const host = createHost();
  if (options.emit === "ast") {
    const source = host.read(file);
    if (source === null) {
      const problem = host.problem(file);
      const meant = problem === null ? host.meant(file) : null;
      throw new UsageError(
        `${problem === null ? `there is no file ${file}` : `the file ${file} ${problem}`}${meant === null ? "" : `; did you mean \`${meant}\`?`}`,
      );
    }
    const { value, diagnostics } = parse(source, file);
    if (value === null) throw new DiagnosticsError(diagnostics, host.sources);
    output.result(value, () => JSON.stringify(value, null, 1));
    return;
  }
  const { value, diagnostics } = check(file, host, { set: settings(options.set) });
  if (value === null || hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, host.sources);
  if (options.emit === "recipe") {
    const recipes = [...value.recipes.values()];
    if (recipes.length === 0) throw new UsageError(`${file} has no recipe`);
    output.result(recipes, () => recipes.map(printRecipe).join("\n").trimEnd());
    return;
  }
  const graph = chooseGraph(file, value, options.fn);
  const binding = bindingOf(graph, options.size);
  if (options.emit === "graph" && options.size.length === 0) {
    output.result(graph, () => printGraph(graph).trimEnd());
    return;
  }
  requireSizes(graph, binding);
  const compiled = compileStages(graph, binding, await targetFor(options, output));
  if ("diagnostics" in compiled) throw new DiagnosticsError(compiled.diagnostics, host.sources);
  const { fused, kernels, notes, program: made } = compiled;
  for (const note of notes) output.note(`note: ${note}`);
  switch (options.emit) {
    case "graph":
      return output.result({ ...fused, notes }, () => printGraph(fused).trimEnd());
    case "kernel":
      return output.result({ kernels: kernels.flat(), notes }, () =>
        kernels
          .flat()
          .map((kernel) => printKernel(kernel).trimEnd())
          .join("\n\n"),
      );
    case "wgsl":
      return output.result({ kernels: made.kernels.map(({ name, wgsl }) => ({ name, wgsl })), notes }, () =>
        made.kernels.map((kernel) => kernel.wgsl.trimEnd()).join("\n\n"),
      );
    case "plan":
      return output.result({ ...made, notes }, () => JSON.stringify(made, null, 1));
    default:
      return options.emit satisfies never;
  }
}

/** The target of the device asked for; plain WebGPU where none is, since nothing is run. */
async function targetFor(options: DeviceOptions, output: Output): Promise<Target> {
  if (options.device === "auto") return baselineTarget;
  const [{ openDevice }, { targetOf }] = [await import("../device/device.js"), await import("../run/target.js")];
  const device = await openDevice({ ...chosenDevice(options.device), log: output.note });
  const target = targetOf(device);
  device.close();
  return target;
}

/**
 * The graphs of a recipe by name: `name.store` (numbered where there are several) and `name.x2` for an observation x2.
 */
function recipeGraphs(recipe: Recipe): readonly (readonly [string, SymbolicGraph])[] {
  const stores: SymbolicGraph[] = [];
  const observed: [string, SymbolicGraph][] = [];
  const visit = (step: RecipeStep): void => {
    if (step.kind === "blocks") step.body.forEach(visit);
    if (step.kind === "observe") observed.push([`${recipe.name}.${step.name}`, step.graph]);
    if (step.kind === "linears" || step.kind === "tensors")
      for (const treatment of step.treatments) if (treatment.stores !== null) stores.push(treatment.graph);
  };
  recipe.steps.forEach(visit);
  return [
    ...observed,
    ...stores.map((graph, at) => [`${recipe.name}.store${stores.length === 1 ? "" : at + 1}`, graph] as const),
  ];
}

/** The graph of that name; without a name the file's only function or, in a file of a recipe only, what it stores. */
export function chooseGraph(file: string, value: CheckedModule, name: string | undefined): SymbolicGraph {
  const ofRecipes = new Map([...value.recipes.values()].flatMap(recipeGraphs));
  const known = new Map([...value.functions, ...ofRecipes]);
  const { declared: own } = value;
  const offered = [...own, ...ofRecipes.keys()];
  const stored = [...ofRecipes.keys()].filter((key) => /\.store$/.test(key));
  const wanted = name ?? (own.length === 1 ? own[0] : own.length === 0 && stored.length === 1 ? stored[0] : undefined);
  if (wanted === undefined)
    throw new UsageError(
      offered.length === 0
        ? `${file} declares no function and no recipe`
        : `--fn NAME is needed: ${file} has ${offered.join(", ")}`,
    );
  const found = known.get(wanted);
  if (found !== undefined) return found;
  const hint = didYouMean(wanted, known.keys()) ?? "";
  throw new UsageError(
    `there is no function ${wanted}; ${hint === "" ? "" : `${hint} `}${file} has ${offered.join(", ") || "none"}`,
  );
}

/** Sizes, dtypes and formats from `NAME=VALUE`; dtypes default to f32 and formats to dense. */
export function bindingOf(graph: SymbolicGraph, given: readonly string[]): CompileBinding {
  const sizes: Record<string, number> = {};
  const dtypes: Record<string, Dtype> = Object.fromEntries(graph.parameters.dtypes.map((name) => [name, "f32"]));
  const formats: Record<string, FormatSpec | null> = Object.fromEntries(
    graph.parameters.formats.map((name) => [name, null]),
  );
  for (const text of given) {
    const at = text.indexOf("=");
    const [name, value] = [text.slice(0, at).trim(), text.slice(at + 1).trim()];
    if (at < 1) throw new UsageError(`--size is NAME=VALUE, not "${text}"`);
    if (graph.parameters.sizes.includes(name)) {
      const size = Number(value);
      if (!/^\d+$/.test(value) || !Number.isSafeInteger(size) || size < 1)
        throw new UsageError(`the size ${name} should be a whole number above 0, not "${value}"`);
      sizes[name] = size;
    } else if (graph.parameters.dtypes.includes(name)) {
      if (value !== "f32" && value !== "f16")
        throw new UsageError(`the dtype ${name} should be f32 or f16, not "${value}"`);
      dtypes[name] = value;
    } else if (graph.parameters.formats.includes(name)) formats[name] = parseFormat(value);
    else
      throw new UsageError(
        `${graph.name} has no parameter ${name}; it has ${[...graph.parameters.sizes, ...graph.parameters.dtypes, ...graph.parameters.formats].join(", ") || "none"}`,
      );
  }
  return { sizes, dtypes, formats };
}

/** Refuses a binding without all sizes of the function, with what is to be given. */
export function requireSizes(graph: SymbolicGraph, binding: CompileBinding): void {
  const missing = graph.parameters.sizes.filter((name) => binding.sizes?.[name] === undefined);
  if (missing.length > 0)
    throw new UsageError(
      `the sizes of ${graph.name} are needed: --size ${missing.map((name) => `${name}=...`).join(" ")}`,
    );
}
