/** Whether a recipe fits a model, which is reported before a weight is read. */
import { CompileError, compileStages } from "../../../compiler/compile.js";
import { error, type Diagnostic, type Span } from "../../../compiler/diagnostic.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { withCorrectionApart } from "../../../compiler/graph/passes/correction.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { NamePattern, Recipe, RecipeStep, Treatment } from "../../../compiler/recipe/recipe.js";
import { suggest } from "../../../compiler/suggest.js";
import { baselineTarget, type Target } from "../../../compiler/target.js";
import { constantSize, sizeValue, substituteSize, type Size } from "../../../compiler/types/size.js";
import { counted } from "../../../compiler/words.js";
import type { Linear, Model } from "../../model/model.js";
import type { Caller } from "../call.js";
import { channelsOf, fixedWords } from "./channels.js";
import type { Functions } from "../functions.js";
import { rotationFindings } from "./fit-rotation.js";
import { scaleFindings } from "./fit-scales.js";
import { layerCounts, unmeasured } from "./measured.js";
import { isSelected, matchesName, treatmentsFor } from "./names.js";
import { partsOf } from "./shared.js";
import { tensorsOf } from "./tensors.js";
import { trainedLayers } from "./trained-layers.js";
import { planRetentions, shapesOf, type Shapes, type Narrowing } from "./retention-plan.js";
import { packsOnHost, sizesOf } from "./host-pack.js";
import type { LayerTreatment } from "./treat.js";

/**
 * Checks a recipe against a model before anything is read: each pattern matches something, each treatment compiles for
 * the shapes it will meet. What the compiler notes of them, for people, each once, and what its retentions leave.
 * @throws CompileError with all that does not fit, E407 and E605 and what the compiler refuses, each once
 */
export function checkRecipe(
  caller: Pick<Caller, "target"> & { readonly functions?: Functions | null },
  model: Model,
  recipe: Recipe,
): { readonly notes: readonly string[]; readonly narrowings: ReadonlyMap<RecipeStep, Narrowing> } {
  const notes = new Set<string>();
  const counts = layerCounts(recipe, model);
  const retained = planRetentions(caller.functions ?? undefined, model, recipe);
  const found: Diagnostic[] = [...unmeasured(recipe, model), ...retained.found];
  /** The model as it is when a step comes. */
  let config = model.config;
  let { blocks, linears }: Shapes = model;
  let isSplit = false;
  const { functions = null, target } = caller;
  if (functions !== null)
    found.push(...scaleFindings(functions, model, recipe, target), ...rotationFindings(functions, model, recipe));
  const visit = (step: RecipeStep): void => {
    if (step.kind === "blocks") for (const inner of step.body) visit(inner);
    if (step.kind === "scale" || step.kind === "round")
      for (const pattern of [...step.matching, ...step.except]) found.push(...unmatched(linears, step, pattern));
    if (step.kind === "train") {
      for (const inner of step.layers) visit(inner);
      const own = trainedLayers(linears, step);
      for (const note of own.notes) notes.add(note);
      found.push(...own.found);
    }
    if (step.kind === "tensors") isSplit ||= ["embedding", "head"].includes(step.of);
    if (step.kind === "rotate") isSplit = true;
    if (step.kind !== "linears" && step.kind !== "tensors") return;
    const all = step.kind === "linears" ? linears : tensorsOf({ config, blocks }, step.of, null, isSplit);
    if (all.length === 0)
      notes.add(
        `the model has no ${step.kind === "linears" ? "linear layers" : step.of}: a loop over them does nothing`,
      );
    const conditions = step.treatments.flatMap((treatment) => treatment.conditions.map(({ pattern }) => pattern));
    for (const pattern of [...step.matching, ...step.except, ...conditions])
      found.push(...unmatched(all, step, pattern));
    const layers = all.flatMap((linear) =>
      isSelected(step, linear.name)
        ? treatmentsFor(step.treatments, linear.name).map((treatment) => ({ linear, treatment }))
        : [],
    );
    for (const { linear, treatment } of layers)
      found.push(...fixedChannels(caller.functions ?? null, model, linear, treatment));
    for (const treatment of new Set(layers.map((layer) => layer.treatment))) {
      const treated = layers.filter((layer) => layer.treatment === treatment);
      const parts = [
        ...(treatment.stores === null ? [] : [treatment]),
        ...treatment.choices,
        ...treatment.measures,
        ...treatment.prints,
        ...(treatment.permutes === null ? [] : [treatment.permutes.score]),
        ...(treatment.retains === null ? [] : [treatment.retains]),
      ];
      for (const part of parts) {
        const compiled = compileFor(treated, { ...treatment, ...part }, caller.target, counts);
        for (const note of compiled.notes) notes.add(note);
        found.push(...reported(compiled.refused, treated, recipe));
      }
    }
  };
  for (const step of recipe.steps) {
    visit(step);
    const narrowing = retained.narrowings.get(step);
    if (narrowing === undefined) continue;
    ({ config } = narrowing);
    ({ blocks, linears } = shapesOf(config));
  }
  const once = new Map(found.map((each) => [identityOf(each), each]));
  if (once.size > 0) throw new CompileError([...once.values()]);
  return { notes: [...notes], narrowings: retained.narrowings };
}

/**
 * Whether the recipe fits the model: names and sizes, as `checkRecipe`, on a device without limits of its own. What is to
 * be noted, for people. Without `functions`, those of the library, pairs of scales are not looked at.
 */
export function checkAgainst(model: Model, recipe: Recipe, functions: Functions | null = null): readonly string[] {
  return checkRecipe({ functions, target: { ...baselineTarget, f16: true, maxBinding: Infinity } }, model, recipe)
    .notes;
}

/** E605 for channels that cannot change places. */
function fixedChannels(
  functions: Functions | null,
  model: Model,
  linear: Linear,
  { permutes }: Treatment,
): readonly Diagnostic[] {
  if (permutes === null || functions === null) return [];
  const shared = channelsOf(functions, model, linear);
  if (shared.kind === "shared") return [];
  const { message, help } = fixedWords(linear, shared.reason);
  return [error("E605", message, { span: permutes.span, message: "not these" }, { help })];
}

function unmatched(
  linears: readonly Linear[],
  step: Extract<RecipeStep, { kind: "linears" | "tensors" | "scale" | "round" }>,
  pattern: NamePattern,
): readonly Diagnostic[] {
  if (linears.some(({ name }) => matchesName(pattern, name))) return [];
  const some = [...new Set(linears.map(({ name }) => name.split(".").at(-1) ?? name))];
  const names = linears.map(({ name }) => name);
  const { glob } = pattern;
  const last = glob.slice(glob.lastIndexOf(".") + 1);
  const meant = suggest(last, some);
  const repaired = meant === null ? null : `${glob.slice(0, glob.length - last.length)}${meant}`;
  const works = repaired !== null && names.some((name) => matchesName({ ...pattern, glob: repaired }, name));
  return [
    error(
      "E605",
      `"${glob}" matches ${step.kind !== "tensors" ? "no linear layer" : `none of the ${step.of}`} of the model`,
      { span: pattern.span, message: "selects nothing" },
      {
        notes: [`the layers have names such as ${names[0] ?? "none"}, and end in ${some.join(", ")}`],
        ...(works
          ? { help: `did you mean \`"${repaired}"\`?` }
          : glob.includes("|")
            ? { help: `several patterns stand with \`,\` between: \`matching "${glob.split("|").join('", "')}"\`` }
            : {}),
      },
    ),
  ];
}

/** Something that the compiler refuses, for a layer. */
interface Refused {
  readonly found: Diagnostic;
  readonly linear: Linear;
}

/** The rank of a correction, and the format of what is packed, are known when the steps before have run. */
const standIns = { sizes: { R: 1 }, dtypes: {}, formats: { F: { name: "f16", args: {}, of: null } } } as const;

/** What the compiler says of a treatment for the layers that it is for; it compiles once a shape. */
function compileFor(
  layers: readonly LayerTreatment[],
  treatment: Treatment,
  target: Target,
  counts: { readonly [symbol: string]: number },
): { readonly notes: readonly string[]; readonly refused: readonly Refused[] } {
  const notes: string[] = [];
  const refused: Refused[] = [];
  const byShape = new Map<string, readonly Diagnostic[]>();
  const host = packsOnHost(treatment);
  for (const { linear } of layers) {
    const sizes = { ...counts, ...sizesOf(linear) };
    const shape = `${sizes.N} ${sizes.K}`;
    let found = byShape.get(shape);
    if (found === undefined) {
      const problem = host === null ? null : formatOfSpec(host.format).check(host.format, shapeOf([sizes.N, sizes.K]));
      const { shared, rest } = partsOf(
        host?.graph ?? withCorrectionApart(treatment.graph, treatment.stores ?? "").graph,
        treatment.inputs,
      );
      const unstored =
        host === null || problem === null ? [] : [cannotStore(treatment, linear, host.format.name, problem)];
      const stages = [rest, ...(shared === null ? [] : [shared])].map(({ graph }) =>
        compileStages(graph, { ...standIns, sizes: { ...standIns.sizes, ...sizes } }, target),
      );
      found = [...unstored, ...stages.flatMap((each) => ("diagnostics" in each ? each.diagnostics : []))];
      notes.push(...stages.flatMap((each) => ("diagnostics" in each ? [] : each.notes)));
      byShape.set(shape, found);
    }
    refused.push(...found.map((each) => ({ found: each, linear })));
  }
  return { notes, refused };
}

/** E407 for a format that is packed on the host. */
function cannotStore({ graph, stores }: Treatment, linear: Linear, format: string, problem: string): Diagnostic {
  const output = graph.outputs.find(({ name }) => name === stores);
  const value = output === undefined ? undefined : graph.values[output.value];
  return error(
    "E407",
    `\`${value?.name ?? "w"}\`, of shape [${linear.outputs}, ${linear.inputs}], cannot be stored as \`${format}\`: ${problem}`,
    value?.span ? { span: value.span, message: "stored here" } : null,
  );
}

/** Each finding once, with the first layer that it is of and how many more there are. */
function reported(
  refused: readonly Refused[],
  layers: readonly LayerTreatment[],
  recipe: Recipe,
): readonly Diagnostic[] {
  const firsts = new Map<string, Refused>();
  for (const each of refused.toReversed()) firsts.set(identityOf(each.found), each);
  return [...firsts].reverse().map(([identity, { found, linear }]) => {
    const like = refused.filter((each) => identityOf(each.found) === identity);
    const more = new Set(like.map((each) => each.linear.name)).size - 1;
    const where = `for ${linear.name}, N = ${linear.outputs}, K = ${linear.inputs}`;
    const help = found.help ?? settingThatFits(found, layers, recipe);
    return {
      ...found,
      notes: [...found.notes, more === 0 ? where : `${where}, and ${counted(more, "more layer")}`],
      ...(help === null ? {} : { help }),
    };
  });
}

function identityOf({ code, labels, message }: Diagnostic): string {
  const at = labels[0]?.span;
  return at === undefined ? `${code} ${message}` : `${code} ${at.file} ${at.start} ${at.end}`;
}

/**
 * What a parameter of the recipe could be set to, where its value is why a size is not divisible: the powers of two
 * that are nearest to it and divide the sizes of all the layers.
 */
function settingThatFits(found: Diagnostic, layers: readonly LayerTreatment[], recipe: Recipe): string | null {
  const graph = layers[0]?.treatment.graph;
  const divisor = graph === undefined ? null : divisorOf(found.labels[0]?.span ?? null, graph);
  if (divisor === null) return null;
  const parameter = recipe.parameters
    .filter(({ value }) => typeof value === "number" && value > 1 && divisor.right % value === 0)
    .sort((a, b) => Number(b.value) - Number(a.value))[0];
  if (parameter === undefined) return null;
  const value = Number(parameter.value);
  const lengths = layers.map(({ linear }) => sizeAt(divisor.left, linear)).filter((length) => length !== null);
  const distance = (power: number): number => Math.abs(Math.log2(power / value));
  const fitting = Array.from({ length: 16 }, (_, exponent) => 2 ** (exponent + 1))
    .filter((power) => lengths.every((length) => length % ((divisor.right / value) * power) === 0))
    .sort((a, b) => distance(a) - distance(b))
    .slice(0, 3);
  const [nearest] = fitting;
  if (nearest === undefined) return `\`${parameter.name}\` is ${value}: no power of two fits all these layers`;
  const listed = fitting.toSorted((a, b) => a - b);
  const words = listed.length === 1 ? `${nearest} fits` : `${listed.slice(0, -1).join(", ")} and ${listed.at(-1)} fit`;
  return `\`${parameter.name}\` is ${value}, and ${words}: write \`${parameter.name} = ${nearest}\`, or give \`--set ${parameter.name}=${nearest}\``;
}

/** What must divide what, where a constraint of a graph is reported at a span. */
function divisorOf(at: Span | null, graph: SymbolicGraph): { readonly left: Size; readonly right: number } | null {
  for (const { kind, left, right, span } of graph.constraints) {
    const value = sizeValue(right);
    if (kind === "divides" && value !== null && span?.file === at?.file && span?.start === at?.start)
      return { left, right: value };
  }
  return null;
}

function sizeAt(size: Size, linear: Linear): number | null {
  const sizes: { readonly [name: string]: number } = sizesOf(linear);
  return sizeValue(
    substituteSize(size, (symbol) => (sizes[symbol] === undefined ? null : constantSize(sizes[symbol]))),
  );
}
