/** The rotary embedding, from the several fields that configs have for it. */
import { alternatives } from "../../compiler/words.js";
import { ModelError } from "./error.js";
import { Fields, type NumberRule } from "./fields.js";
import { describe, isObject } from "./json.js";

/** The rotary embedding's frequencies: `theta ^ (-2i / headDim)`, and how they are stretched for long contexts. */
export type Rope =
  | { readonly kind: "default"; readonly theta: number }
  /**
   * Llama 3.1: frequencies below `lowFrequencyFactor` turns in the original context are divided by `factor`, those
   * above `highFrequencyFactor` kept, those between blended.
   */
  | {
      readonly kind: "llama3";
      readonly theta: number;
      readonly factor: number;
      readonly lowFrequencyFactor: number;
      readonly highFrequencyFactor: number;
      readonly originalContext: number;
    }
  /** Every frequency divided by `factor`. */
  | { readonly kind: "linear"; readonly theta: number; readonly factor: number }
  /** For sequences beyond the original context, a theta that grows with their length (NTK). */
  | { readonly kind: "dynamic"; readonly theta: number; readonly factor: number; readonly originalContext: number }
  /**
   * YaRN (Peng et al. 2023): pairs that make fewer than `slow` turns in the original context are divided by `factor`,
   * those that make more than `fast` kept, those between blended. Cosines and sines are multiplied by `scale`.
   */
  | {
      readonly kind: "yarn";
      readonly theta: number;
      readonly factor: number;
      readonly originalContext: number;
      readonly fast: number;
      readonly slow: number;
      /** Whether the bounds of the blend are whole pairs. */
      readonly truncate: boolean;
      readonly scale: number;
    }
  /** LongRoPE (Ding et al. 2024): a divisor for each pair, others for sequences beyond the original context. */
  | {
      readonly kind: "longrope";
      readonly theta: number;
      readonly originalContext: number;
      readonly short: readonly number[];
      readonly long: readonly number[];
      readonly scale: number;
    };

/** The kinds, as configs name them. */
const kinds: readonly unknown[] = ["default", "llama3", "linear", "dynamic", "yarn", "longrope"];

const positive: NumberRule = { min: 1e-6, max: 1e15 };
const length: NumberRule = { integer: true, min: 1, max: 2 ** 27 };

/** The fields that have the parameters: the old one and the new. */
type Where = "rope_scaling" | "rope_parameters";

/**
 * The rotary embedding of a config. The old form has `rope_theta` and `rope_scaling`, the new one all of it in
 * `rope_parameters`. Where a file has several, that counts which counts for the Hugging Face library, and `warnings`
 * report what does not: `rope_scaling`, unless it is empty, before `rope_parameters`, all of it; what is inside
 * of them before what stands beside. Problems are left with `fields`.
 * @throws ModelError M132 (a kind that is not supported)
 */
export function parseRope(fields: Fields, contextLength: number, headDim: number, warnings: string[]): Rope {
  const [old, young] = [fields.raw("rope_scaling"), fields.raw("rope_parameters")];
  const where: Where = isObject(old) && Object.keys(old).length > 0 ? "rope_scaling" : "rope_parameters";
  const parameters = fields.nested(where);
  if (where === "rope_parameters" && old !== undefined && !isObject(old)) fields.nested("rope_scaling");
  const rope = ropeOf(fields, parameters, where, { contextLength, headDim }, warnings);
  if (where === "rope_scaling" && young !== undefined && !agrees(fields, young, rope, { contextLength, headDim }))
    warnings.push(
      `\`rope_scaling\` and \`rope_parameters\` say different things: ${printRope(rope)} of \`rope_scaling\` is taken, as the Hugging Face library does`,
    );
  return rope;
}

/** What of a config a rotary embedding depends on. */
interface Sizes {
  readonly contextLength: number;
  readonly headDim: number;
}

/** Whether the new form, alone, means the same. */
function agrees(fields: Fields, young: unknown, rope: Rope, size: Sizes): boolean {
  if (!isObject(young)) return false;
  if (Object.keys(young).length === 0) return true;
  const alone = new Fields({ rope_theta: fields.raw("rope_theta") });
  try {
    const other = ropeOf(alone, new Fields(young, "", alone.problems), "rope_parameters", size, []);
    return alone.problems.length === 0 && JSON.stringify(other) === JSON.stringify(rope);
  } catch {
    return false;
  }
}

function ropeOf(fields: Fields, parameters: Fields | null, where: Where, size: Sizes, warnings: string[]): Rope {
  const inside = parameters?.has("rope_theta") === true;
  const theta = (inside ? parameters : fields).number("rope_theta", positive, 10000);
  if (inside && fields.has("rope_theta") && fields.raw("rope_theta") !== theta)
    warnings.push(
      `\`${where}.rope_theta\` = ${theta} is taken, and not \`rope_theta\` = ${describe(fields.raw("rope_theta"))}`,
    );
  const kind = parameters?.raw("rope_type") ?? parameters?.raw("type") ?? "default";
  if (parameters?.has("type") === true && parameters.raw("type") !== kind)
    warnings.push(
      `\`${where}.rope_type\` = ${describe(kind)} is taken, and not \`${where}.type\` = ${describe(parameters.raw("type"))}`,
    );
  if (!kinds.includes(kind))
    throw new ModelError(
      "M132",
      `The rotary embedding of type ${describe(kind)} (\`${where}.rope_type\`) is not supported; expected ${alternatives(kinds.map((each) => `"${String(each)}"`))}.`,
    );
  const partial = parameters?.raw("partial_rotary_factor");
  if (partial !== undefined && partial !== 1)
    throw new ModelError(
      "M132",
      `\`${where}.partial_rotary_factor\` should be 1 (all of a head is rotated), found ${describe(partial)}; that is not supported.`,
    );
  if (parameters === null || kind === "default") return defaultRope(parameters, where, theta, warnings);
  if (kind === "llama3") return llama3Rope(fields, parameters, where, theta, size.contextLength, warnings);
  return scaledRope(kind as "linear" | "dynamic" | "yarn" | "longrope", fields, parameters, theta, size);
}

/** Those scalings that have the fields of their own only. */
function scaledRope(
  kind: "linear" | "dynamic" | "yarn" | "longrope",
  fields: Fields,
  parameters: Fields,
  theta: number,
  { contextLength, headDim }: Sizes,
): Rope {
  const original = "original_max_position_embeddings";
  // in the scaling, or beside it, as Phi-3 has it; else the context itself
  const originalContext = parameters.number(original, length, fields.number(original, length, contextLength));
  const factorRule: NumberRule = { min: 1, max: 1e6 };
  const number = (name: string, fallback: number): number => parameters.number(name, positive, fallback);
  switch (kind) {
    case "linear":
      return { kind, theta, factor: parameters.number("factor", factorRule) };
    case "dynamic":
      return { kind, theta, factor: parameters.number("factor", factorRule), originalContext: contextLength };
    case "yarn": {
      const factor = parameters.number("factor", factorRule, contextLength / originalContext);
      const scaleOf = (by: number): number => (factor <= 1 ? 1 : 0.1 * by * Math.log(factor) + 1);
      const both = parameters.has("mscale") && parameters.has("mscale_all_dim");
      const usual = both ? scaleOf(number("mscale", 1)) / scaleOf(number("mscale_all_dim", 1)) : scaleOf(1);
      const [fast, slow] = [number("beta_fast", 32), number("beta_slow", 1)];
      if (parameters.problems.length === 0 && fast <= slow)
        parameters.problem("beta_fast", `above beta_slow = ${slow}`, fast);
      return {
        kind,
        theta,
        factor,
        originalContext,
        fast,
        slow,
        truncate: parameters.boolean("truncate", true),
        scale: number("attention_factor", usual),
      };
    }
    case "longrope": {
      const factors = (name: string): readonly number[] => {
        const found = parameters.numbers(name, positive);
        if (parameters.problems.length === 0 && found.length !== headDim / 2)
          parameters.problem(
            name,
            `a list of ${headDim / 2} numbers, one for each pair of a head`,
            parameters.raw(name),
          );
        return found;
      };
      const factor = parameters.number("factor", { min: 1e-3, max: 1e6 }, contextLength / originalContext);
      const usual = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(originalContext));
      return {
        kind,
        theta,
        originalContext,
        short: factors("short_factor"),
        long: factors("long_factor"),
        scale: number("attention_factor", usual),
      };
    }
    default:
      return kind satisfies never;
  }
}

const scalingFields = ["factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"] as const;

function defaultRope(parameters: Fields | null, where: Where, theta: number, warnings: string[]): Rope {
  const unused = scalingFields.filter((name) => parameters?.has(name) === true);
  if (unused.length > 0)
    warnings.push(
      `\`${where}\` is of the type "default", which scales nothing: ${unused.map((name) => `\`${name}\``).join(", ")} ${unused.length === 1 ? "is" : "are"} not used`,
    );
  return { kind: "default", theta };
}

function llama3Rope(
  fields: Fields,
  parameters: Fields,
  where: Where,
  theta: number,
  contextLength: number,
  warnings: string[],
): Rope {
  const original = "original_max_position_embeddings";
  const rope = {
    kind: "llama3",
    theta,
    factor: parameters.number("factor", { min: 1, max: 1e6 }),
    lowFrequencyFactor: parameters.number("low_freq_factor", positive),
    highFrequencyFactor: parameters.number("high_freq_factor", positive),
    originalContext: parameters.number(original, length, contextLength),
  } as const;
  if (!parameters.has(original))
    warnings.push(
      `\`${where}.${original}\` is absent: \`max_position_embeddings\` = ${contextLength} is taken for it, as the Hugging Face library does`,
    );
  if (fields.has(original) && fields.raw(original) !== rope.originalContext)
    warnings.push(
      `\`${original}\` = ${describe(fields.raw(original))} beside \`${where}\` is not used, but ${rope.originalContext}`,
    );
  if (parameters.problems.length === 0 && rope.highFrequencyFactor <= rope.lowFrequencyFactor)
    parameters.problem(
      "high_freq_factor",
      `above low_freq_factor = ${rope.lowFrequencyFactor}`,
      rope.highFrequencyFactor,
    );
  return rope;
}

function printRope(rope: Rope): string {
  const by = "factor" in rope ? `a scaling by ${rope.factor} and ` : rope.kind === "longrope" ? "factors and " : "";
  return `${by}theta ${rope.theta}`;
}
