/** The rotary embedding, from the several fields that configs have for it. */
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
    };

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
export function parseRope(fields: Fields, contextLength: number, warnings: string[]): Rope {
  const [old, young] = [fields.raw("rope_scaling"), fields.raw("rope_parameters")];
  const where: Where = isObject(old) && Object.keys(old).length > 0 ? "rope_scaling" : "rope_parameters";
  const parameters = fields.nested(where);
  if (where === "rope_parameters" && old !== undefined && !isObject(old)) fields.nested("rope_scaling");
  const rope = ropeOf(fields, parameters, where, contextLength, warnings);
  if (where === "rope_scaling" && young !== undefined && !agrees(fields, young, rope, contextLength))
    warnings.push(
      `\`rope_scaling\` and \`rope_parameters\` say different things: ${printRope(rope)} of \`rope_scaling\` is taken, as the Hugging Face library does`,
    );
  return rope;
}

/** Whether the new form, alone, means the same. */
function agrees(fields: Fields, young: unknown, rope: Rope, contextLength: number): boolean {
  if (!isObject(young)) return false;
  if (Object.keys(young).length === 0) return true;
  const alone = new Fields({ rope_theta: fields.raw("rope_theta") });
  try {
    const other = ropeOf(alone, new Fields(young, "", alone.problems), "rope_parameters", contextLength, []);
    return alone.problems.length === 0 && JSON.stringify(other) === JSON.stringify(rope);
  } catch {
    return false;
  }
}

function ropeOf(
  fields: Fields,
  parameters: Fields | null,
  where: Where,
  contextLength: number,
  warnings: string[],
): Rope {
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
  if (kind !== "default" && kind !== "llama3")
    throw new ModelError(
      "M132",
      `The rotary embedding of type ${describe(kind)} (\`${where}.rope_type\`) is not supported; expected "default" or "llama3".`,
    );
  const partial = parameters?.raw("partial_rotary_factor");
  if (partial !== undefined && partial !== 1)
    throw new ModelError(
      "M132",
      `\`${where}.partial_rotary_factor\` should be 1 (all of a head is rotated), found ${describe(partial)}; that is not supported.`,
    );
  return parameters === null || kind === "default"
    ? defaultRope(parameters, where, theta, warnings)
    : llama3Rope(fields, parameters, where, theta, contextLength, warnings);
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
  return rope.kind === "default" ? `theta ${rope.theta}` : `a scaling by ${rope.factor} and theta ${rope.theta}`;
}
