/** What the retentions of a recipe make of a model: which parts its layers have, and the config that is left. */
import { error, type Diagnostic } from "../../../compiler/diagnostic.js";
import { removal, type Removal } from "../../../compiler/graph/analysis/removal.js";
import { removableParts } from "../../../compiler/graph/analysis/removable-parts.js";
import type { Recipe, RecipeStep } from "../../../compiler/recipe/recipe.js";
import { counted } from "../../../compiler/words.js";
import type { LlamaConfig } from "../../model/config.js";
import { blocksOf, type Block, type Linear } from "../../model/layout.js";
import { narrowedConfig } from "../../model/narrowed.js";
import { denseFormat } from "../../model/packed.js";
import type { Model } from "../../model/opened.js";
import { blockCall, weightSizes } from "../blocks.js";
import type { Functions } from "../functions.js";
import { isSelected, treatmentsFor } from "./names.js";

export type Loop = Extract<RecipeStep, { kind: "linears" }>;

/** A retention of one layer of each block. */
export interface PlannedRetention {
  /** The layers, one of each block, in order. */
  readonly layers: readonly Linear[];
  /** What may be taken out of each block; blocks of one layout share it. */
  readonly removals: readonly Removal[];
  readonly kept: number;
  /** The config behind it. */
  readonly config: LlamaConfig;
}

/** What a step of a recipe makes smaller. */
export interface Narrowing {
  readonly step: RecipeStep;
  readonly retentions: ReadonlyMap<Loop, PlannedRetention>;
  readonly config: LlamaConfig;
}

/** The shapes of a model. */
export interface Shapes {
  readonly blocks: readonly Block[];
  readonly linears: readonly Linear[];
}

/** The shapes that a config says. */
export function shapesOf(config: LlamaConfig): Shapes {
  const blocks = blocksOf(config);
  return { blocks, linears: blocks.flatMap(({ linears }) => linears) };
}

/** The loops over layers of a step that retain. */
export function retainingLoops(step: RecipeStep): readonly Loop[] {
  const inner = step.kind === "blocks" ? step.body : [step];
  return inner
    .filter((each) => each.kind === "linears")
    .filter((loop) => loop.treatments.some(({ retains }) => retains));
}

/** The retentions of a recipe for a model, each narrowing by its step, and what is wrong with them. */
export function planRetentions(
  functions: Functions | undefined,
  model: Pick<Model, "config" | "blocks" | "linears" | "tensor">,
  recipe: Recipe,
): { readonly narrowings: ReadonlyMap<RecipeStep, Narrowing>; readonly found: readonly Diagnostic[] } {
  const narrowings = new Map<RecipeStep, Narrowing>();
  const found: Diagnostic[] = [];
  let { config } = model;
  for (const step of recipe.steps) {
    const retentions = new Map<Loop, PlannedRetention>();
    for (const loop of retainingLoops(step)) {
      const planned = functions === undefined ? null : planRetention(functions, model, config, loop);
      if (planned === null || "because" in planned) {
        if (planned !== null) found.push(planned.because);
        return { narrowings, found };
      }
      retentions.set(loop, planned);
      ({ config } = planned);
    }
    if (retentions.size > 0) narrowings.set(step, { step, retentions, config });
  }
  return { narrowings, found };
}

function planRetention(
  functions: Functions,
  model: Pick<Model, "tensor">,
  config: LlamaConfig,
  loop: Loop,
): PlannedRetention | { readonly because: Diagnostic } {
  const { blocks, linears } = shapesOf(config);
  const [retention] = loop.treatments.flatMap(({ retains }) => retains ?? []);
  if (retention === undefined) throw new RangeError("the loop retains nothing");
  const refuse = (message: string, label: string, help?: string): { readonly because: Diagnostic } => ({
    because: error("E620", message, { span: retention.span, message: label }, help === undefined ? {} : { help }),
  });
  const layers = linears.filter(
    ({ name }) =>
      isSelected(loop, name) && treatmentsFor(loop.treatments, name).some(({ retains }) => retains !== null),
  );
  const uneven = blocks.find(({ index }) => layers.filter(({ block }) => block === index).length !== 1);
  if (uneven !== undefined) {
    const own = layers.filter(({ block }) => block === uneven.index);
    return refuse(
      own.length === 0
        ? `nothing is retained in ${uneven.name}, and the config has one size for all blocks`
        : `in ${uneven.name} columns of ${own.map(({ parameter }) => `\`${parameter}\``).join(" and ")} are retained, and a loop retains of one layer in each block`,
      `retains of ${counted(layers.length, "layer")} in ${counted(blocks.length, "block")}`,
      'choose the layer by `matching`: `for w in block.linears matching "down_proj"`',
    );
  }
  const removals = new Map<string, Removal>();
  const perBlock: Removal[] = [];
  let next: LlamaConfig | null = null;
  let kept = 0;
  for (const layer of layers) {
    const block = blocks[layer.block]!;
    const { graph } = blockCall(functions, block, { whole: true });
    const sizes = weightSizes(graph, block);
    const key = `${graph.name} ${layer.parameter} ${JSON.stringify(sizes)}`;
    let proven = removals.get(key);
    if (proven === undefined) {
      const axis = removableParts(graph, layer.parameter, sizes);
      const because = (why: string): { readonly because: Diagnostic } =>
        refuse(`the columns of ${layer.name} cannot be taken out of the model: ${why}`, "not these columns");
      if ("because" in axis) return because(axis.because);
      const count = retention.kept < 1 ? Math.round(retention.kept * axis.count) : retention.kept;
      if (count < 1 || count >= axis.count)
        return refuse(
          `of the ${axis.count} parts that the ${layer.inputs} columns of ${layer.name} have, ${count} would be retained`,
          count < 1 ? "nothing would be left" : "nothing would be taken out",
          `retain between 1 and ${axis.count - 1}, or a share of them`,
        );
      const wanted = new Map<string, readonly number[]>();
      for (const each of blocks)
        for (const { name, parameter, shape } of each.layout.tensors) {
          const own = graph.inputs.find((input) => input.name === parameter);
          const membership = own === undefined ? undefined : axis.values.get(own.value);
          const at = membership?.axes[0];
          wanted.set(
            `${each.name}.${name}`,
            shape.map((length, nth) => (nth === at ? (length / axis.count) * count : length)),
          );
        }
      const smaller = narrowedConfig(config, { kept: count, of: axis.count }, (shapes) =>
        [...wanted].every(([name, shape]) => shapes.get(name)?.join() === shape.join()),
      );
      if (smaller === null) return because("no size in the config is that of its parts");
      const after = removal(graph, layer.parameter, sizes, weightSizes(graph, shapesOf(smaller).blocks[layer.block]!));
      if ("because" in after) return because(after.because);
      if (after.after.count !== count) return because("what is left has other parts");
      if (next !== null && JSON.stringify(next.raw) !== JSON.stringify(smaller.raw))
        return because("blocks would become smaller by different sizes");
      [proven, next, kept] = [after, smaller, count];
      removals.set(key, proven);
    }
    perBlock.push(proven);
    const packed = partsOfBlock(proven, block).find(({ name }) => !isPlain(model, name));
    if (packed !== undefined)
      return refuse(
        `${packed.name} has lost its rows or columns with those of ${layer.name}, and is packed`,
        "only dense weights become smaller",
        "retain in the model before it is packed",
      );
  }
  if (next === null) throw new RangeError("there are no blocks");
  return { layers, removals: perBlock, kept, config: next };
}

/** The tensors of a block that lose rows or columns, by name and parameter. */
export function partsOfBlock(
  { before }: Removal,
  block: Block,
): readonly { readonly name: string; readonly parameter: string }[] {
  return block.layout.tensors.flatMap(({ name, parameter }) => {
    const input = before.graph.inputs.find((each) => each.name === parameter);
    return input !== undefined && before.values.has(input.value) ? [{ name: `${block.name}.${name}`, parameter }] : [];
  });
}

function isPlain(model: Pick<Model, "tensor">, name: string): boolean {
  const { dtype, format } = model.tensor(name);
  return format === null && denseFormat(dtype) !== null;
}
