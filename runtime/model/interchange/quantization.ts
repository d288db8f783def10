/** `quantization_config`: which layers are stored how. */
import { Fields } from "../fields.js";
import { describe, isObject, type JsonObject } from "../json.js";
import { ModelError, problemsError, quoted } from "../error.js";
import { awqGemm, awqGemv } from "./containers/awq.js";
import { gptq, type GptqArguments } from "./containers/gptq.js";
import { bitsandbytes } from "./bitsandbytes.js";
import { compressedTensors } from "./compressed-tensors.js";
import { refuse } from "./refusal.js";
import type { Quantization } from "./scope.js";
import { matchesTarget } from "./targets.js";

/** The methods that are read. */
const methods: { readonly [name: string]: ((fields: Fields) => Quantization) | undefined } = {
  "compressed-tensors": compressedTensors,
  gptq: gptqOf,
  awq: awqOf,
  bitsandbytes,
};

/**
 * Reads a `quantization_config`; `path` is for messages.
 * @throws ModelError M131 (fields that are wrong), M133 (a method, format or setting that is not supported, by name)
 */
export function parseQuantization(path: string, raw: unknown): Quantization {
  const heading = `The \`quantization_config\` of ${quoted(path)} cannot be used`;
  if (!isObject(raw)) throw problemsError("M131", heading, [`it should be an object, found ${describe(raw)}`]);
  const fields = new Fields(raw, "quantization_config.");
  const method = methodOf(raw);
  const read = typeof method === "string" && Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (read === undefined)
    throw new ModelError(
      "M133",
      `${quoted(path)} says that the weights are quantised by another tool (\`quantization_config\` with \`quant_method\` ${describe(method)}), which is not supported.`,
      `the methods that are read are ${Object.keys(methods).join(", ")}: take such a checkpoint, or the original model`,
    );
  try {
    const quantization = read(fields);
    if (fields.problems.length > 0) throw problemsError("M131", heading, fields.problems);
    return quantization;
  } catch (error) {
    if (!(error instanceof ModelError) || error.code !== "M133") throw error;
    throw new ModelError("M133", `${heading}: ${error.message}`, error.help);
  }
}

/** Old checkpoints of compressed-tensors that are only sparse leave the method out. */
function methodOf(raw: JsonObject): unknown {
  return raw["quant_method"] ?? (isObject(raw["sparsity_config"]) ? "compressed-tensors" : undefined);
}

const groupRule = { integer: true, min: -1, max: 2 ** 20 };

/** The group of a config that says -1 for a whole row. */
function groupOf(fields: Fields): number | null {
  const group = fields.number("group_size", groupRule, -1);
  if (group === 0) fields.problem("group_size", "a number of columns, or -1 for all", group);
  return group > 0 ? group : null;
}

function gptqOf(fields: Fields): Quantization {
  const bits = fields.number("bits", { integer: true, min: 1, max: 32 });
  if (bits !== 2 && bits !== 3 && bits !== 4 && bits !== 8)
    refuse(`GPTQ of ${bits} bits is not supported: 2, 3, 4, 8 are`);
  const format = fields.string("checkpoint_format") ?? fields.string("format") ?? "gptq";
  if (format !== "gptq" && format !== "gptq_v2")
    refuse(`the format ${quoted(format)} of GPTQ checkpoints is not supported: \`gptq\`, \`gptq_v2\` are`);
  refuseOthers(fields, ["is_marlin_format", "is_bitblas_format"]);
  const args: GptqArguments = {
    bits,
    group: groupOf(fields),
    isOrdered: fields.boolean("desc_act", false),
    symmetric: fields.boolean("sym", true),
    zeros: format === "gptq_v2" ? "v2" : zerosOf(fields, bits),
  };
  const left = leftOut(fields);
  return {
    method: "gptq",
    found: gptq(args),
    container: (module) => (left.some((target) => matchesTarget(target, module)) ? null : undefined),
    warnings: [],
  };
}

/** How the tool that wrote `gptq` takes one from zero points. */
function zerosOf(fields: Fields, bits: number): GptqArguments["zeros"] {
  const quantizer = fields.nested("meta")?.raw("quantizer");
  const tools: readonly unknown[] = Array.isArray(quantizer) ? quantizer : [quantizer];
  const tool = tools.find((each) => typeof each === "string" && each.startsWith("gptqmodel"));
  if (tool === undefined) return "items";
  // of 3 bits, which cross words, each by itself since this version
  const [, major] = /^gptqmodel:(\d+)\./.exec(String(tool)) ?? [];
  return bits === 3 && Number(major) >= 7 ? "turns" : "words";
}

function awqOf(fields: Fields): Quantization {
  const bits = fields.number("bits", { integer: true, min: 1, max: 32 }, 4);
  if (bits !== 4) refuse(`AWQ of ${bits} bits is not supported: 4 are`);
  const version = (fields.string("version") ?? fields.string("format") ?? "gemm").toLowerCase();
  if (version !== "gemm" && version !== "gemv")
    refuse(`the version ${quoted(version)} of AWQ checkpoints is not supported: \`gemm\`, \`gemv\` are`);
  if (!fields.boolean("zero_point", true)) refuse("AWQ without zero points is not supported");
  refuseOthers(fields, []);
  if (leftOut(fields).length > 0) refuse("`dynamic`, settings of single layers, is not supported");
  const names = fields.raw("modules_to_not_convert");
  const left: readonly unknown[] = Array.isArray(names) ? names : [];
  return {
    method: "awq",
    found: (version === "gemm" ? awqGemm : awqGemv)(groupOf(fields)),
    container: (module) =>
      left.some((name) => typeof name === "string" && name !== "" && module.includes(name)) ? null : undefined,
    warnings: [],
  };
}

/** Settings of GPTQ and AWQ that change what tensors mean. */
function refuseOthers(fields: Fields, flags: readonly string[]): void {
  for (const flag of flags) if (fields.boolean(flag, false)) refuse(`\`${flag}\` is true, which is not supported`);
  const packing = fields.string("pack_dtype");
  if (packing !== null && packing !== "int32")
    refuse(`\`pack_dtype\` ${quoted(packing)} is not supported: \`int32\` is`);
  const adapter = fields.raw("adapter");
  if (isObject(adapter) && Object.keys(adapter).length > 0) refuse("`adapter`, weights of its own, is not supported");
}

/** Names of layers that `dynamic` leaves as they are, `-:` and an expression each; it may say nothing else. */
function leftOut(fields: Fields): readonly string[] {
  const dynamic = fields.raw("dynamic");
  const names = isObject(dynamic) ? Object.keys(dynamic) : [];
  if (names.length > 2 ** 16 || !names.every((name) => name.startsWith("-:")))
    refuse("`dynamic`, settings of single layers, is not supported but for layers that are left out");
  return names.map((name) => `re:${name.slice(2)}`);
}
