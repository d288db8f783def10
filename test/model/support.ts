import { existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as assert from "uvu/assert";
import { byteCount, type ElementType } from "../../runtime/model/elements.js";
import { ModelError, type ModelErrorCode } from "../../runtime/model/error.js";
import { createSafetensors } from "../../runtime/model/safetensors-writer.js";

/** The model that comes with the project, wherever the tests were built to. */
export const exampleModel = findExample(dirname(fileURLToPath(import.meta.url)));

function findExample(directory: string): string {
  const candidate = join(directory, "examples", "classics-3.7m");
  if (existsSync(candidate)) return candidate;
  if (dirname(directory) === directory) throw new Error("examples/classics-3.7m is not found above the tests");
  return findExample(dirname(directory));
}

/** Runs work in a fresh directory that is removed afterwards. */
export async function inDirectory<T>(work: (directory: string) => Promise<T>): Promise<T> {
  const directory = await mkdtemp(join(tmpdir(), "espalier-test-"));
  try {
    return await work(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** The ModelError of that code that the work ends in. Every message is made of sentences without line noise. */
export async function failure(code: ModelErrorCode, work: Promise<unknown> | (() => unknown)): Promise<ModelError> {
  let error: unknown;
  try {
    await (typeof work === "function" ? work() : work);
  } catch (reason) {
    error = reason;
  }
  if (!(error instanceof ModelError)) throw error ?? new Error(`expected ${code}, but nothing failed`);
  assert.is(error.code, code, error.message);
  return error;
}

/** A safetensors file with this header text, whatever it says, and this many bytes of data. */
export function rawSafetensors(header: string, data: number): Buffer {
  const text = Buffer.from(header);
  const file = Buffer.alloc(8 + text.length + data);
  file.writeBigUInt64LE(BigInt(text.length));
  text.copy(file, 8);
  return file;
}

/** Writes tensors; `fill` gives the bytes of each, zeros where not said. */
export async function writeTensors(
  path: string,
  tensors: readonly { readonly name: string; readonly dtype: ElementType; readonly shape: readonly number[] }[],
  fill?: (name: string, bytes: number) => Uint8Array,
): Promise<void> {
  const writer = await createSafetensors(path, tensors);
  for (const { name, dtype, shape } of tensors) {
    const bytes = byteCount(dtype, shape) ?? 0;
    await writer.append(name, fill?.(name, bytes) ?? new Uint8Array(bytes));
  }
  await writer.finish();
}

/** The config of a very small Llama: hidden 8, two blocks, 4 heads of 4, vocabulary 2048 as the example's tokenizer. */
export const smallConfig = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_size: 8,
  intermediate_size: 16,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 2,
  head_dim: 4,
  vocab_size: 2048,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-5,
  rope_theta: 10000,
  tie_word_embeddings: true,
  torch_dtype: "bfloat16",
  bos_token_id: 0,
  eos_token_id: [1],
};

/** Writes JSON. */
export async function writeJson(path: string, value: unknown): Promise<void> {
  await writeFile(path, JSON.stringify(value));
}
