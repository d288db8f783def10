/**
 * A digest of the Program, WGSL and steps, of everything that the project ships, for three kinds of device: every
 * function of the standard library at several sizes, dtypes and formats, and every treatment of the examples. Run by
 * hand, before a change that must leave the kernels as they are and after it:
 *
 *   npm run build && node dist/test/support/program-digests.js > before.txt
 *
 * A folder as an argument receives each Program as JSON, to see what has changed where digests differ.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { check } from "../../compiler/check/check.js";
import { CompileError, compileFunction, type CompileBinding, type CompileOptions } from "../../compiler/compile.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import type { RecipeStep } from "../../compiler/recipe/recipe.js";
import type { Target } from "../../compiler/target.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { createHost, packageRoot } from "../../runtime/library.js";
import { parseFormat } from "./format-text.js";
import { libraryFunctions } from "./library.js";
import { formatFault, weightFormats } from "./packed.js";
import { targets } from "./targets.js";

const gpu = targets["a GPU with subgroups of 32"];
const devices: readonly Target[] = [
  targets["a CPU driver"],
  gpu,
  { ...gpu, name: "f16 and matrices", f16: true, matrices: true },
];

/** Sizes that every constraint of the library allows: small and odd ones, and those of a real layer. */
const small: Readonly<Record<string, number>> = {
  ...{ B: 2, T: 5, N: 24, K: 64, D: 64, V: 96, M: 64, A: 4, C: 48, G: 2, H: 16, P: 8 },
  ...{
    heads: 4,
    groups: 2,
    head: 16,
    tokens: 3,
    group: 32,
    kept: 2,
    of_each: 4,
    scales: 3,
    length: 64,
    POOL: 6,
    PAGE: 16,
    L: 3,
  },
};
const large: Readonly<Record<string, number>> = {
  ...{ B: 1, T: 1, N: 1024, K: 512, D: 512, V: 2048, M: 1536, A: 8, C: 256, G: 4, H: 64, P: 64 },
  ...{
    heads: 8,
    groups: 4,
    head: 64,
    tokens: 1,
    group: 128,
    kept: 2,
    of_each: 4,
    scales: 9,
    length: 512,
    POOL: 64,
    PAGE: 16,
    L: 16,
  },
};
const sizes: readonly Readonly<Record<string, number>>[] = [
  small,
  large,
  { ...large, T: 40, tokens: 40 },
  { ...large, T: 256, B: 4, tokens: 256, N: 512 },
];

const folder = process.argv[2] ?? null;
if (folder !== null) mkdirSync(folder, { recursive: true });
const reported = new Set<string>();

/** Prints the digest of one compilation, of its diagnostics where it is refused. */
function report(
  label: string,
  graph: SymbolicGraph,
  binding: CompileBinding,
  target: Target,
  options?: CompileOptions,
) {
  const whole = `${target.name}: ${label}`;
  if (reported.has(whole)) return;
  reported.add(whole);
  let text: string;
  try {
    text = JSON.stringify(compileFunction(graph, binding, target, options), null, 1);
  } catch (error) {
    text = error instanceof CompileError ? JSON.stringify(error.diagnostics) : `${error}`.split("\n")[0]!;
  }
  process.stdout.write(`${createHash("sha256").update(text).digest("hex").slice(0, 16)} ${whole}\n`);
  if (folder !== null) writeFileSync(join(folder, `${whole.replace(/[^\w.=-]+/g, "_")}.json`), text);
}

/** A function with every parameter of its bound: sizes by their names, all dtypes and formats alike. */
function tellFunction(
  graph: SymbolicGraph,
  bound: Readonly<Record<string, number>>,
  dtype: Dtype,
  format: string,
  target: Target,
  options?: CompileOptions,
): void {
  const { sizes: names, dtypes, formats } = graph.parameters;
  const binding = {
    sizes: Object.fromEntries(names.map((name) => [name, bound[name]!])),
    dtypes: Object.fromEntries(dtypes.map((name) => [name, dtype])),
    formats: Object.fromEntries(formats.map((name) => [name, parseFormat(format)])),
  };
  const shown = Object.entries(binding.sizes).map(([name, value]) => `${name}=${value}`);
  const forced = options === undefined ? [] : [JSON.stringify(options)];
  report(
    [graph.name, ...shown, dtype, ...(formats.length > 0 ? [format] : []), ...forced].join(" "),
    graph,
    binding,
    target,
    options,
  );
}

const library = libraryFunctions;
for (const target of devices) {
  for (const graph of library.values())
    for (const bound of sizes)
      for (const dtype of graph.parameters.dtypes.length > 0 && target.f16
        ? (["f32", "f16"] as const)
        : (["f32"] as const))
        for (const format of graph.parameters.formats.length > 0 ? ["f32", "f16", "nm(2, 4) of int4(32)"] : ["f32"])
          tellFunction(graph, bound, dtype, format, target);
  // every format, and every schedule that can be asked for
  for (const format of weightFormats)
    for (const [T, B] of [
      [1, 1],
      [40, 1],
      [5, 2],
    ] as const) {
      const text = format.replace("bitmask", "bitmask(nonzeros: 400)");
      const columns = formatFault(text, 24, 64) === null ? 64 : 256;
      for (const name of ["gated", "add_linear"])
        tellFunction(library.get(name)!, { ...small, T, B, D: columns, K: columns, M: 40 }, "f32", text, target);
    }
  for (const schedule of ["matvec", "quads", "matrix", "vectored", "tiled", "rows", "loops"] as const)
    tellFunction(library.get("block")!, small, target.f16 ? "f16" : "f32", "int4(32, asymmetric)", target, {
      schedule,
    });
  tellFunction(library.get("block")!, small, "f32", "f16", target, { fuse: false });
}

/** The treatments of a recipe's steps. */
function treatments(steps: readonly RecipeStep[]): readonly SymbolicGraph[] {
  return steps.flatMap((step) =>
    step.kind === "blocks"
      ? treatments(step.body)
      : step.kind === "linears"
        ? step.treatments.map(({ graph }) => graph)
        : step.kind === "observe"
          ? [step.graph]
          : [],
  );
}

const examples = join(packageRoot(), "examples");
for (const file of readdirSync(examples)
  .filter((name) => name.endsWith(".esp"))
  .sort()) {
  const { value } = check(join(examples, file), createHost());
  for (const recipe of value?.recipes.values() ?? [])
    treatments(recipe.steps).forEach((graph, at) => {
      for (const target of devices)
        for (const [N, K] of [
          [256, 256],
          [128, 768],
        ] as const) {
          const names = graph.parameters.sizes;
          const bound = Object.fromEntries(Object.entries({ N, K, T: 512 }).filter(([name]) => names.includes(name)));
          const dtypes = Object.fromEntries(graph.parameters.dtypes.map((name) => [name, "f32" as const]));
          const label = `${file} ${recipe.name} ${at} N=${N} K=${K}`;
          report(label, graph, { sizes: bound, dtypes }, target);
          if (K === 256)
            report(`${label} by columns`, graph, { sizes: bound, dtypes }, target, { scan: { blocked: false } });
        }
    });
}
