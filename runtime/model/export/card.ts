/** The `README.md` of an exported model: what it is, how it was made, what it was rounded to. */
import { bitsPerWeight, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { formatBytes } from "../../device/error.js";
import type { Model } from "../model.js";
import { denseFormat, printPattern, type RecipeRecord } from "../packed.js";
import type { Loss } from "./plan.js";

/** What is known of an export when it is written. */
export interface CardFacts {
  readonly model: Model;
  /** As `--to` has it. */
  readonly target: string;
  readonly version: string;
  readonly bytes: number;
  /** How each tensor is stored. */
  readonly tensors: readonly { readonly source: string; readonly stored: string; readonly loss: Loss | null }[];
  /** The recipe's text, where the model has it beside it. */
  readonly recipe: string | null;
  /** Figures that were measured: `perplexity on eval.txt`, and its value. */
  readonly figures: readonly { readonly what: string; readonly value: string }[];
  readonly notes: readonly string[];
}

/** The card, in Markdown with the front matter that the Hugging Face hub reads. */
export function printCard(facts: CardFacts): string {
  const { model, target, version, tensors, recipe, figures, notes } = facts;
  const { config } = model;
  const parameters = model.tensors.reduce((sum, { shape }) => sum + elementCount(shape), 0);
  const rounded = tensors.filter(({ loss }) => loss !== null);
  const lines: string[] = [
    "---",
    "pipeline_tag: text-generation",
    "tags:",
    "- llama",
    "- espalier",
    `- ${target}`,
    "---",
    "",
    `# A Llama with ${config.layers} blocks, as ${target}`,
    "",
    `Written by ${`espalier ${version}`.trim()}. ${parameters} parameters in ${formatBytes(facts.bytes)}: ${((8 * facts.bytes) / parameters).toFixed(3)} bits a weight; hidden size ${config.hiddenSize}, ${config.heads} heads, vocabulary ${config.vocabSize}, context ${config.contextLength}.`,
    "",
    "## Weights",
    "",
    "| stored as | tensors | made from | pattern | bits a weight there |",
    "|---|---|---|---|---|",
    ...rows(facts),
    "",
    rounded.length === 0
      ? "Every value is that of the model it was made from, bit for bit."
      : `${rounded.length} of ${tensors.length} tensors were rounded; the most, by ${Math.max(...rounded.map(({ loss }) => loss!.relative)).toPrecision(2)} of its size (root mean square), \`${worst(rounded)}\`.`,
    ...notes.flatMap((note) => ["", `${note}.`]),
  ];
  const records = [...(model.packed?.history ?? []), ...(model.packed?.recipe ? [model.packed.recipe] : [])];
  if (records.length > 0) lines.push("", "## Recipe", "", ...records.map(recordLine));
  if (recipe !== null) lines.push("", "```esp", recipe.trimEnd(), "```");
  if (figures.length > 0)
    lines.push(
      "",
      "## Figures",
      "",
      "| | |",
      "|---|---|",
      ...figures.map(({ what, value }) => `| ${what} | ${value} |`),
    );
  return `${lines.join("\n")}\n`;
}

function rows({ model, tensors }: CardFacts): readonly string[] {
  const counts = new Map<string, number>();
  const names = new Set(model.tensors.map(({ name }) => name));
  for (const { source, stored } of tensors) {
    // factors of the rotary embedding are a part of the config
    if (!names.has(source)) continue;
    const { format, dtype, pattern, shape } = model.tensor(source);
    const spec = format ?? denseFormat(dtype);
    const bits = spec === null ? 0 : bitsPerWeight(spec, shapeOf(shape));
    const key = `| ${stored} | # | ${spec === null ? dtype : printFormat(spec)} | ${printPattern(pattern)} | ${bits.toFixed(3)} |`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return [...counts].map(([key, count]) => key.replace("#", String(count)));
}

function worst(rounded: CardFacts["tensors"]): string {
  return [...rounded].sort((a, b) => b.loss!.relative - a.loss!.relative)[0]!.source;
}

function recordLine({ name, hash, parameters, library }: RecipeRecord): string {
  const settings = Object.entries(parameters).map(([key, value]) => `\`${key} = ${String(value)}\``);
  return `- \`${name}\`${settings.length === 0 ? "" : ` with ${settings.join(", ")}`} (${hash}${library === undefined ? "" : `, library of espalier ${library.version}`})`;
}
