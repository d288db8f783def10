/** GGUF files for llama.cpp. */
import { basename } from "node:path";
import { formatOfSpec, plainType as plainTypeOf, printFormat } from "../../../compiler/formats/registry.js";
import { isObject, type JsonObject } from "../files.js";
import { ModelError, quoted } from "../error.js";
import { tensorTypeNumber, tensorTypes } from "../gguf/types.js";
import { unwritable, writtenFactors, writtenMetadata } from "../gguf/written-metadata.js";
import { writtenTokenizer, type GivenTokenizer } from "../gguf/written-tokenizer.js";
import type { GgufLayout, Metadata } from "../gguf/writer.js";
import { gridFacts } from "../interchange/grid-values.js";
import { embeddingName, headName } from "../layout.js";
import type { Model, ModelTensor } from "../model.js";
import { plannedBlocks } from "./blocks.js";
import type { PlannedTensor, PlanOptions, Refusal } from "./plan.js";
import { exportTypes, type ExportType } from "./targets.js";
import { plainType } from "./values.js";

/** A file: its tensors, in order. */
export interface GgufExport {
  readonly tensors: readonly PlannedTensor<GgufLayout>[];
  readonly notes: readonly string[];
  /** The type of most of its weights. */
  readonly type: string;
}

/**
 * Each tensor in the type that holds its values, or the linear layers of blocks in `type`, embedding and head in
 * `embedding`; vectors are f32.
 */
export function planGguf(
  model: Model,
  options: PlanOptions & { readonly type: ExportType | null; readonly embedding: ExportType | null },
): GgufExport | Refusal {
  const unsaid = unwritable(model.config);
  if (unsaid.length > 0) return { problems: unsaid };
  const problems = new Map<string, string[]>();
  const chosen = model.tensors.map((tensor): string => {
    const { name, shape } = tensor;
    if (shape.length === 1) return "F32";
    const isTable = name === embeddingName || name === headName;
    const asked = isTable ? options.embedding : options.type;
    const type = asked === null ? typeOf(tensor, isTable ? "--embedding-type" : "--type") : asked.toUpperCase();
    const problem = typeof type === "string" ? blockProblem(type, shape[1]!) : type.problem;
    if (problem !== null) problems.set(problem, [...(problems.get(problem) ?? []), name]);
    return typeof type === "string" ? type : "F32";
  });
  if (problems.size > 0)
    return {
      problems: [...problems].map(
        ([problem, names]) =>
          `${names.length === 1 ? `\`${names[0]}\`` : `${names.length} tensors (\`${names[0]}\` the first)`}: ${problem}`,
      ),
    };
  const linear = model.linears.map(({ weight }) => chosen[model.tensors.indexOf(model.tensor(weight))]!);
  const counts = new Map<string, number>();
  for (const type of linear) counts.set(type, (counts.get(type) ?? 0) + 1);
  const [[type] = ["F32"]] = [...counts].sort(([, a], [, b]) => b - a);
  const factors = writtenFactors(model.config);
  return {
    type,
    tensors: [
      ...model.tensors.map((tensor, at) => plannedBlocks(model, tensor, chosen[at]!, options)),
      ...(factors === null ? [] : [plannedFactors(factors)]),
    ],
    notes: [],
  };
}

function plannedFactors(factors: Float32Array): PlannedTensor<GgufLayout> {
  const layout: GgufLayout = { name: "rope_freqs.weight", type: "F32", shape: [factors.length] };
  return {
    source: "rope_freqs.weight",
    parts: [layout],
    stored: "F32",
    async write(append) {
      await append(layout, new Uint8Array(factors.buffer));
      return null;
    },
  };
}

/** Why rows cannot be cut into blocks of a type. */
function blockProblem(type: string, inputs: number): string | null {
  const { columns } = tensorTypes[tensorTypeNumber(type)]!;
  return inputs % columns === 0
    ? null
    : `rows of ${inputs} columns are no multiple of the ${columns} of a block of ${type}`;
}

/** The type that has the values of a tensor, or why there is none, and what of the option may be said instead. */
function typeOf(tensor: ModelTensor, option: string): string | { readonly problem: string } {
  const { format } = tensor;
  const plain = plainType(tensor);
  if (plain !== null || format === null) return plain ?? "F32";
  const named = format.name.toUpperCase();
  if (exportTypes.some((type) => type.toUpperCase() === named)) return named;
  const written = printFormat(format, "short");
  const facts = gridFacts(format);
  if (formatOfSpec(format).pattern(format) !== null) {
    const plain = plainTypeOf(format);
    const dense = plain === "f16" || plain === "bf16" ? plain : "f32";
    const type = facts === null ? dense : facts.bits === 8 ? "q8_0" : "q4_0";
    return { problem: `GGUF has no type for ${written}: \`${option} ${type}\` stores the zeros, too` };
  }
  if (facts === null) return { problem: `GGUF has no type for ${written}: \`${option} f32\` holds the values` };
  if (facts.isOrdered)
    return { problem: `GGUF has no type for groups in another order, ${written}: \`${option} f32\` holds the values` };
  if (facts.group !== "channel" && facts.group % 32 !== 0)
    return { problem: `GGUF has blocks of 32 columns, not of ${facts.group}: \`${option} f32\` holds the values` };
  if (facts.bits <= 4) return facts.symmetric ? "Q4_0" : "Q4_1";
  return facts.symmetric
    ? "Q8_0"
    : { problem: `GGUF has no zero points of 8 bits, ${written}: \`${option} f32\` holds the values` };
}

/** All that comes before the tensors. @throws ModelError M100 to M104, M140 to M142, M155 (the tokenizer) */
export async function ggufMetadata(model: Model, type: string, version: string): Promise<Metadata> {
  const companions = new Map((await model.companions()).map((each) => [each.name, each]));
  const tokenizer = await model.tokenizer();
  const text = async (name: string): Promise<string | null> => {
    const found = companions.get(name);
    return found === undefined ? null : Buffer.from(await found.read()).toString("utf8");
  };
  const json = async (name: string): Promise<JsonObject> => {
    const value: unknown = JSON.parse((await text(name)) ?? "{}");
    if (isObject(value)) return value;
    throw new ModelError("M104", `${quoted(name)} of ${quoted(model.directory)} should hold an object.`);
  };
  const given: GivenTokenizer = {
    json: await json("tokenizer.json"),
    settings: await json("tokenizer_config.json"),
    template: await text("chat_template.jinja"),
    bos: tokenizer.bos,
    eos: model.generation.eosTokens,
  };
  const name = basename(model.directory).replace(/\.gguf$/, "");
  return [
    ...writtenMetadata(model.config, name, type),
    ["general.description", { type: "string", value: `Written by espalier ${version}`.trim() }],
    ...writtenTokenizer(model.config, given),
  ];
}
