/** `quantization_config` of bitsandbytes. */
import { quoted } from "../error.js";
import type { Fields } from "../fields.js";
import { eightBits, fourBits } from "./containers/bitsandbytes.js";
import { refuse } from "./refusal.js";
import type { Quantization } from "./scope.js";

/** @throws ModelError M133 */
export function bitsandbytes(fields: Fields): Quantization {
  const four = fields.boolean("load_in_4bit", false) || fields.boolean("_load_in_4bit", false);
  const eight = fields.boolean("load_in_8bit", false) || fields.boolean("_load_in_8bit", false);
  if (four === eight) refuse("one of `load_in_4bit` and `load_in_8bit` should be true");
  const table = fields.string("bnb_4bit_quant_type") ?? "fp4";
  if (four && table !== "nf4" && table !== "fp4")
    refuse(`the \`bnb_4bit_quant_type\` ${quoted(table)} is not supported: \`nf4\`, \`fp4\` are`);
  const nested = fields.boolean("bnb_4bit_use_double_quant", false);
  const names = fields.raw("llm_int8_skip_modules");
  const left: readonly unknown[] = Array.isArray(names) ? names : [];
  return {
    method: "bitsandbytes",
    found: four ? fourBits(table === "nf4" ? "nf4" : "fp4", nested) : eightBits,
    container: (module) => (left.some((name) => isLeft(name, module)) ? null : undefined),
    warnings: [],
  };
}

/** Whether a name leaves a module as it is: its own, its end, or that of what it is in. */
function isLeft(name: unknown, module: string): boolean {
  return (
    typeof name === "string" &&
    name !== "" &&
    (module === name || module.endsWith(`.${name}`) || module.startsWith(`${name}.`) || module.includes(`.${name}.`))
  );
}
