/** `quantization_config` of compressed-tensors. */
import { quoted } from "../error.js";
import type { Fields } from "../fields.js";
import { describe, isObject } from "../json.js";
import { floatQuantized } from "./containers/float-quantized.js";
import { intQuantized } from "./containers/int-quantized.js";
import { marlin24 } from "./containers/marlin-24.js";
import { packQuantized } from "./containers/pack-quantized.js";
import { sparse24Bitmask } from "./containers/sparse-24-bitmask.js";
import { sparseBitmask } from "./containers/sparse-bitmask.js";
import type { AskedActivations } from "./input-scales.js";
import type { Container } from "./layer.js";
import { matchesTarget } from "./targets.js";
import { refuse } from "./refusal.js";
import type { Quantization } from "./scope.js";
import type { WeightArguments } from "./weight-arguments.js";

/** A part of the config that names modules. */
interface Scope {
  readonly targets: readonly string[];
  readonly ignore: readonly string[];
}

/** @throws ModelError M133 */
export function compressedTensors(fields: Fields): Quantization {
  const warnings: string[] = [];
  const transforms = fields.nested("transform_config")?.raw("config_groups");
  if (isObject(transforms) && Object.keys(transforms).length > 0)
    refuse("`transform_config`, rotations of weights and activations, is not supported");
  if (fields.has("kv_cache_scheme"))
    warnings.push("`kv_cache_scheme` asks for keys and values that are rounded: that is not done here");
  const ignore = namesOf(fields, "ignore");
  const sparsity = sparsityOf(fields);
  const groups = groupsOf(fields, warnings);
  const container = (module: string): Container | null => {
    const sparse = sparsity !== null && isIn(module, sparsity) ? sparsity.container : null;
    const group = ignore.some((name) => matchesTarget(name, module))
      ? undefined
      : groups.find(({ targets }) => isIn(module, { targets, ignore: [] }));
    if (group === undefined) return sparse;
    return group.container(sparse);
  };
  const activations = (module: string): AskedActivations | null =>
    ignore.some((name) => matchesTarget(name, module))
      ? null
      : (groups.find(({ targets }) => isIn(module, { targets, ignore: [] }))?.activations ?? null);
  return { method: "compressed-tensors", container, activations, found: null, warnings };
}

function isIn(module: string, { targets, ignore }: Scope): boolean {
  return targets.some((name) => matchesTarget(name, module)) && !ignore.some((name) => matchesTarget(name, module));
}

function namesOf(fields: Fields, name: string, fallback: readonly string[] = []): readonly string[] {
  const value = fields.raw(name);
  if (value === undefined) return fallback;
  if (Array.isArray(value) && value.length <= 2 ** 16 && value.every((one) => typeof one === "string")) return value;
  fields.problem(name, "a list of names", value);
  return fallback;
}

function sparsityOf(fields: Fields): (Scope & { readonly container: Container }) | null {
  const section = fields.nested("sparsity_config");
  const format = section?.string("format") ?? null;
  if (section === null || format === null || format === "dense") return null;
  const scope = { targets: namesOf(section, "targets", ["Linear"]), ignore: namesOf(section, "ignore") };
  if (format === "sparse-bitmask") return { ...scope, container: sparseBitmask };
  if (format === "sparse-24-bitmask") return { ...scope, container: sparse24Bitmask(null) };
  refuse(`the sparsity format ${quoted(format)} is not supported: ${sparseFormats} are`);
}

const sparseFormats = "`dense`, `sparse-bitmask`, `sparse-24-bitmask`";
const formats =
  "`dense`, `pack-quantized`, `int-quantized`, `naive-quantized`, `marlin-24` (integers), `float-quantized`, `naive-quantized` (fp8)";

interface Group {
  readonly targets: readonly string[];
  readonly activations: AskedActivations | null;
  /** With the container of the sparsity that also holds. @throws ModelError M133 where no such are known */
  container(sparse: Container | null): Container | null;
}

function groupsOf(fields: Fields, warnings: string[]): readonly Group[] {
  const section = fields.raw("config_groups");
  if (section === undefined) return [];
  if (!isObject(section) || Object.keys(section).length > 1024) {
    fields.problem("config_groups", "an object of at most 1024 groups", section);
    return [];
  }
  const all = fields.string("format");
  const nested = fields.nested("config_groups")!;
  return Object.keys(section).flatMap((name): readonly Group[] => {
    const group = nested.nested(name);
    if (group === null) return [];
    const activations = activationsOf(group);
    for (const which of ["input_activations", "output_activations"])
      if (group.has(which) && (which !== "input_activations" || activations === null))
        warnings.push(`\`config_groups.${name}.${which}\` asks for rounded activations: that is not done here`);
    const weights = group.nested("weights");
    const targets = namesOf(group, "targets");
    if (weights === null) return [{ targets, activations, container: (sparse) => sparse }];
    const format = group.string("format") ?? all;
    const args = argumentsOf(weights);
    if (format === "dense") return [{ targets, activations, container: (sparse) => sparse }];
    const own = containerOf(format, args);
    return [
      {
        targets,
        activations,
        container(sparse) {
          if (sparse === null) return own;
          if (
            sparse.name === "sparse-24-bitmask" &&
            ["int-quantized", "float-quantized"].includes(own.name) &&
            args.symmetric &&
            args.bits === 8
          )
            return sparse24Bitmask(args);
          refuse(`${quoted(own.name)} within ${quoted(sparse.name)} is not supported`);
        },
      },
    ];
  });
}

/**
 * int8 with scales that are found as a model runs, for each token or for groups of its channels, or with one that is
 * stored for each layer; null for others.
 */
function activationsOf(group: Fields): AskedActivations | null {
  const given = group.raw("input_activations");
  if (!isObject(given)) return null;
  const { num_bits: bits, type = "int", dynamic, symmetric = true, strategy, group_size: size } = given;
  if (bits !== 8 || type !== "int" || symmetric !== true) return null;
  if (dynamic === undefined || dynamic === null || dynamic === false)
    return strategy === "tensor" || ((strategy ?? null) === null && (size ?? null) === null)
      ? { name: "int8", group: "tensor" }
      : null;
  if (dynamic !== true) return null;
  if (strategy === "token") return { name: "int8", group: "token" };
  const fits = typeof size === "number" && Number.isSafeInteger(size) && size > 0 && size % 4 === 0;
  return strategy === "group" && fits ? { name: "int8", group: size } : null;
}

function containerOf(format: string | null, args: WeightArguments): Container {
  if (args.type === "int")
    switch (format) {
      case "pack-quantized":
        if (args.bits !== 2 && args.bits !== 4 && args.bits !== 8)
          refuse(`\`pack-quantized\` of ${args.bits} bits is not supported: 2, 4, 8 are`);
        return packQuantized(args);
      case "int-quantized":
      case "naive-quantized":
        return intQuantized(format, args);
      case "marlin-24":
        return marlin24(args);
    }
  else if (args.bits === 8 && args.symmetric && (format === "float-quantized" || format === "naive-quantized"))
    return floatQuantized(format, args);
  const what = `${args.type} of ${args.bits} bits`;
  refuse(
    format === null
      ? `it has no \`format\` for weights of ${what}`
      : `the format ${quoted(format)} for weights of ${what} is not supported: ${formats} are`,
  );
}

function argumentsOf(fields: Fields): WeightArguments {
  const type = fields.string("type") ?? "int";
  if (type !== "int" && type !== "float") refuse(`weights of the type ${quoted(type)} are not supported`);
  const bits = fields.number("num_bits", { integer: true, min: 1, max: 64 }, 8);
  if (bits > 8) refuse(`weights of ${bits} bits are not supported`);
  const size = fields.number("group_size", { integer: true, min: -1, max: 2 ** 20 }, 0);
  const block = type === "float" ? blockOf(fields) : null;
  const strategy =
    fields.string("strategy") ?? (block !== null ? "block" : size > 0 ? "group" : size === -1 ? "channel" : "tensor");
  if (strategy !== "tensor" && strategy !== "channel" && strategy !== "group" && !(strategy === "block" && block))
    refuse(
      `the \`strategy\` ${quoted(strategy)} of weights is not supported: \`tensor\`, \`channel\`, \`group\`, and \`block\` of floats are`,
    );
  if (strategy === "group" && size <= 0) fields.problem("group_size", "a number of columns", size);
  const dynamic = fields.raw("dynamic");
  if (dynamic !== undefined && dynamic !== false)
    refuse(`\`dynamic\` weights are not supported: found ${describe(dynamic)}`);
  const order = fields.raw("actorder");
  return {
    type,
    bits,
    strategy,
    symmetric: fields.boolean("symmetric", true),
    group: strategy === "group" ? Math.max(1, size) : strategy === "block" ? block![1] : null,
    blockRows: strategy === "block" ? block![0] : null,
    isOrdered: order === "group" || order === "dynamic",
  };
}

/** Rows and columns that share a scale. */
function blockOf(fields: Fields): readonly [number, number] | null {
  const value = fields.raw("block_structure");
  if (value === undefined || value === null) return null;
  const isSize = (size: unknown): size is number =>
    Number.isInteger(size) && Number(size) > 0 && Number(size) <= 2 ** 20;
  if (Array.isArray(value) && value.length === 2 && isSize(value[0]) && isSize(value[1])) return [value[0], value[1]];
  fields.problem("block_structure", "two sizes", value);
  return null;
}
