import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ModelErrorCode } from "../../../runtime/model/error.js";
import { inspect } from "../../../runtime/model/inspect.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { failure, inDirectory } from "../support.js";
import {
  f32,
  fixture,
  small,
  smallTensors,
  smallTokens,
  withTensor,
  writeGguf,
  type GgufParts,
  type Value,
} from "./support.js";

const test = suite("model/gguf/metadata");

async function opened(parts: GgufParts, look: (model: Model) => Promise<void> | void): Promise<void> {
  await inDirectory(async (directory) => {
    const model = await openModel(await writeGguf(join(directory, "m.gguf"), parts));
    try {
      await look(model);
    } finally {
      await model.close();
    }
  });
}

async function refused(
  code: ModelErrorCode,
  changes: Readonly<Record<string, Value | null>>,
  message: RegExp,
  tensors = smallTensors,
): Promise<void> {
  await inDirectory(async (directory) => {
    assert.match(
      (await failure(code, openModel(await writeGguf(join(directory, "m.gguf"), small(changes, tensors))))).message,
      message,
    );
  });
}

/** What a file that opens warns of. */
async function reported(changes: Parameters<typeof small>[0], message: RegExp, tensors = smallTensors): Promise<void> {
  await inDirectory(async (directory) => {
    const model = await openModel(await writeGguf(join(directory, "m.gguf"), small(changes, tensors)));
    await model.close();
    assert.match(model.warnings.join("; "), message);
  });
}

test("a config as Hugging Face has it", async () => {
  const model = await openModel(fixture("classics-4l-q4_0").model);
  const { raw, ...config } = model.config;
  assert.equal(config, {
    modelType: "llama",
    windows: [null, null, null, null],
    biases: { qkv: false, o: false, mlp: false },
    hiddenSize: 256,
    intermediateSize: 768,
    layers: 4,
    heads: 8,
    keyValueHeads: 4,
    headDim: 32,
    vocabSize: 2048,
    contextLength: 512,
    normEpsilon: 1e-5,
    rope: { kind: "default", theta: 10000 },
    tiedEmbeddings: true,
    dtype: "F32",
    bosToken: 0,
    eosTokens: [1],
    warnings: [],
  });
  assert.equal([raw["model_type"], raw["architectures"], raw["rms_norm_eps"]], ["llama", ["LlamaForCausalLM"], 1e-5]);
  assert.equal([model.generation.bosToken, model.generation.eosTokens, model.packed], [0, [1], null]);
  await model.close();
});

test("what a file may leave out", async () => {
  await opened(
    small(
      { "llama.attention.head_count_kv": null },
      withTensor("blk.0.attn_k.weight", { shape: [32, 32], bytes: 32 * 34 }).map((tensor) =>
        tensor.name === "blk.0.attn_v.weight" ? { ...tensor, shape: [32, 32], bytes: 32 * 64 } : tensor,
      ),
    ),
    ({ config }) => {
      assert.equal(
        [config.keyValueHeads, config.headDim, config.vocabSize, config.rope],
        [2, 16, smallTokens.length, { kind: "default", theta: 10000 }],
      );
    },
  );
});

test("more tokens may end a text, and tokens may be absent", async () => {
  await opened(
    small({
      "tokenizer.ggml.eot_token_id": { type: "u32", value: 5 },
      "tokenizer.ggml.bos_token_id": { type: "u32", value: 0xffffffff },
    }),
    ({ config, generation }) => {
      assert.equal([config.eosTokens, generation.eosTokens, config.bosToken], [[1], [1, 5], null]);
    },
  );
});

test("a head of its own", async () => {
  await opened(small({}, [...smallTensors, { name: "output.weight", shape: [smallTokens.length, 32] }]), (model) => {
    assert.is(model.config.tiedEmbeddings, false);
    assert.equal(model.tensor("lm_head.weight").shape, [smallTokens.length, 32]);
  });
});

/** What the frequencies of a head are divided by in Llama 3.1. */
function llama3Factors(headDim: number, theta: number, factor: number): readonly number[] {
  return Array.from({ length: headDim / 2 }, (_, i) => {
    const wavelength = 2 * Math.PI * theta ** ((2 * i) / headDim);
    if (wavelength < 8192 / 4) return 1;
    if (wavelength > 8192) return factor;
    const smooth = (8192 / wavelength - 1) / 3;
    return 1 / ((1 - smooth) / factor + smooth);
  });
}

test("the frequencies of Llama 3.1", async () => {
  const factors = (values: readonly number[]): GgufParts =>
    small({ "llama.rope.freq_base": { type: "f32", value: 500000 } }, [
      ...smallTensors,
      { name: "rope_freqs.weight", shape: [values.length], data: Buffer.concat(values.map(f32)) },
    ]);
  await opened(factors(llama3Factors(16, 500000, 8)), ({ config, tensors }) => {
    assert.equal(config.rope, {
      kind: "llama3",
      theta: 500000,
      factor: 8,
      lowFrequencyFactor: 1,
      highFrequencyFactor: 4,
      originalContext: 8192,
    });
    assert.not.ok(tensors.some(({ name }) => name.includes("rope")));
  });
  await opened(factors(Array<number>(8).fill(1)), ({ config }) => assert.is(config.rope.kind, "default"));
  await inDirectory(async (directory) => {
    for (const wrong of [Array<number>(8).fill(2), llama3Factors(32, 500000, 8), [NaN, 1, 1, 1, 1, 1, 1, 1]]) {
      await failure("M132", openModel(await writeGguf(join(directory, "m.gguf"), factors(wrong))));
    }
    await failure(
      "M135",
      openModel(
        await writeGguf(
          join(directory, "m.gguf"),
          small({}, [...smallTensors, { name: "rope_freqs.weight", shape: [8], type: 1, bytes: 16 }]),
        ),
      ),
    );
  });
});

test("other architectures, by name", async () => {
  await refused(
    "M130",
    { "general.architecture": { type: "string", value: "gemma3" } },
    /should be "llama", "qwen2", "qwen3" or "phi3", found "gemma3"/,
  );
  await refused("M130", { "general.architecture": null }, /found nothing/);
  await refused("M130", { "general.type": { type: "string", value: "adapter" } }, /found "adapter"/);
});

test("parts that are not supported", async () => {
  await refused(
    "M132",
    { "llama.expert_count": { type: "u32", value: 8 } },
    /`llama.expert_count` is 8: mixtures of experts/,
  );
  await refused("M132", { "split.count": { type: "u32", value: 3 } }, /split over several files/);
  await refused(
    "M132",
    { "llama.rope.scaling.type": { type: "string", value: "yarn" } },
    /`llama.rope.scaling.type` is "yarn"/,
  );
  await refused(
    "M132",
    { "llama.rope.dimension_count": { type: "u32", value: 8 } },
    /`llama.rope.dimension_count` should be the size of a head, 16, found 8/,
  );
  await refused("M132", { "llama.attention.value_length": { type: "u32", value: 8 } }, /value_length/);
  await opened(
    small({
      "llama.rope.scaling.type": { type: "string", value: "linear" },
      "llama.rope.scaling.factor": { type: "f32", value: 1 },
    }),
    ({ config }) => assert.is(config.rope.kind, "default"),
  );
});

test("entries that are missing or wrong, all of them", async () => {
  await refused(
    "M131",
    {
      "llama.block_count": null,
      "llama.embedding_length": { type: "string", value: "32" },
      "llama.feed_forward_length": { type: "i32s", value: [32, 32] },
    },
    /`llama.embedding_length` should be an integer from 1 to 1048576, found "32"[\s\S]*`llama.feed_forward_length`.*found the list \[32,32\][\s\S]*`llama.block_count`.*found nothing/,
  );
  await refused("M131", { "llama.attention.head_count": { type: "u32", value: 3 } }, /head_dim|key_length/);
  await refused("M131", { "llama.block_count": { type: "u64", value: 2 ** 60 } }, /found "1152921504606846976"/);
  await refused(
    "M131",
    { "llama.rope.freq_base": { type: "f32", value: NaN } },
    /`llama.rope.freq_base` should be a number from .*, found NaN/,
  );
  await refused("M131", { "llama.attention.head_count": { type: "u32", value: 0 } }, /head_count/);
  await reported({ "tokenizer.ggml.eos_token_id": { type: "u32", value: 5000 } }, /`eos_token_id`.*5000 is not used/);
});

test("what does not fit the config is refused also where a file is only looked at, and not read beyond a tensor", async () => {
  await inDirectory(async (directory) => {
    for (const changes of [
      { "llama.attention.key_length": { type: "u32", value: 24 } },
      { "llama.attention.key_length": { type: "u32", value: 96 } },
    ] as const) {
      const path = await writeGguf(join(directory, "m.gguf"), small(changes));
      const { message } = await failure("M135", openModel(path));
      assert.match(message, /q_proj.weight` has the shape \[32, 32\]; expected/);
      assert.is((await failure("M135", inspect(path))).message, message);
    }
  });
});

test("tensors of another model", async () => {
  await refused(
    "M135",
    { "llama.block_count": { type: "u32", value: 2 } },
    /`model.layers.1.input_layernorm.weight` is missing/,
  );
  await refused("M135", {}, /`model.norm.weight` is missing/, smallTensors.slice(1));
  // biases of q alone
  await refused("M135", {}, /the tensor `model.layers.0.self_attn.k_proj.bias` is missing/, [
    ...smallTensors,
    { name: "blk.0.attn_q.bias", shape: [32] },
  ]);
  for (const name of ["blk.7.ffn_up.weight", "constructor.weight"])
    for (const type of [0, 99])
      await reported({}, new RegExp(`the tensor \`${name}\` has no place in a Llama with 1 block and is left out`), [
        ...smallTensors,
        { name, shape: [32, 32], type, bytes: 4096 },
      ]);
  await refused(
    "M135",
    {},
    /has the shape \[32, 64\]; expected \[32, 32\]/,
    withTensor("blk.0.attn_q.weight", { shape: [32, 64], bytes: 64 * 18 }),
  );
  await refused(
    "M135",
    {},
    /`output_norm.weight` of shape \[32\] should be of type F32, F16 or BF16, found Q8_0/,
    withTensor("output_norm.weight", { type: 8, bytes: 34 }),
  );
});

test.run();
