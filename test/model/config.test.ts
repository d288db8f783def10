import { suite } from "uvu";
import * as assert from "uvu/assert";
import { truncate, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseConfig } from "../../runtime/model/config.js";
import type { ModelErrorCode } from "../../runtime/model/error.js";
import { diskDirectory } from "../../runtime/model/files.js";
import { readGeneration } from "../../runtime/model/generation.js";
import { failure, inDirectory, smallConfig, writeJson } from "./support.js";

const test = suite("model/config");

const llama3 = {
  rope_type: "llama3",
  factor: 8,
  low_freq_factor: 1,
  high_freq_factor: 4,
  original_max_position_embeddings: 8192,
};

test("the old form and the new say the same", () => {
  const { rope_theta: _theta, torch_dtype: _dtype, ...rest } = smallConfig;
  const old = parseConfig("c", { ...rest, rope_theta: 500000, rope_scaling: llama3, torch_dtype: "float16" });
  const new_ = parseConfig("c", { ...rest, rope_parameters: { rope_theta: 500000, ...llama3 }, dtype: "float16" });
  assert.equal({ ...old, raw: {} }, { ...new_, raw: {} });
  assert.equal(old.rope, {
    kind: "llama3",
    theta: 500000,
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContext: 8192,
  });
  assert.is(old.dtype, "F16");
});

test("Gemma 3 says two rotary embeddings, in the old form and in the new", () => {
  const { rope_theta: _theta, rope_scaling: _scaling, ...rest } = { rope_scaling: null, ...smallConfig };
  const base = { ...rest, ...gemma3, num_hidden_layers: 12, sliding_window: 512 };
  const old = parseConfig("c", {
    ...base,
    rope_theta: 500000,
    rope_local_base_freq: 5000,
    rope_scaling: { rope_type: "linear", factor: 8 },
    sliding_window_pattern: 6,
  });
  const local = "sliding_attention";
  const new_ = parseConfig("c", {
    ...base,
    rope_parameters: {
      full_attention: { rope_type: "linear", factor: 8, rope_theta: 500000 },
      sliding_attention: { rope_type: "default", rope_theta: 5000 },
    },
    layer_types: Array.from({ length: 12 }, (_, at) => (at % 6 === 5 ? "full_attention" : local)),
  });
  assert.equal({ ...old, raw: {} }, { ...new_, raw: {} });
  assert.equal(old.rope, { kind: "linear", theta: 500000, factor: 8 });
  assert.equal(old.numbers, { query_pre_attn_scalar: 256, local_theta: 5000 });
  assert.equal(old.windows, [512, 512, 512, 512, 512, null, 512, 512, 512, 512, 512, null]);
  const plain = parseConfig("c", base);
  assert.equal([plain.rope, plain.numbers?.["local_theta"]], [{ kind: "default", theta: 1e6 }, 10000]);
});

test("what is absent or null has the defaults of the Hugging Face library", () => {
  const config = parseConfig("c", {
    model_type: "llama",
    hidden_size: 64,
    intermediate_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 4,
    vocab_size: 100,
    rope_scaling: null,
    head_dim: null,
  });
  assert.equal(
    { ...config, raw: {} },
    {
      modelType: "llama",
      windows: [null],
      biases: { qkv: false, o: false, mlp: false },
      hiddenSize: 64,
      intermediateSize: 16,
      layers: 1,
      heads: 4,
      keyValueHeads: 4,
      headDim: 16,
      vocabSize: 100,
      contextLength: 2048,
      normEpsilon: 1e-6,
      rope: { kind: "default", theta: 10000 },
      tiedEmbeddings: false,
      dtype: null,
      bosToken: null,
      eosTokens: [],
      warnings: [],
      raw: {},
    },
  );
  assert.is(parseConfig("c", smallConfig).headDim, 4);
  assert.equal(parseConfig("c", { ...smallConfig, eos_token_id: [1, 5] }).eosTokens, [1, 5]);
});

const mistral = { model_type: "mistral", architectures: ["MistralForCausalLM"] };
const qwen2 = { model_type: "qwen2", architectures: ["Qwen2ForCausalLM"] };
const qwen3 = { model_type: "qwen3", architectures: ["Qwen3ForCausalLM"] };

const gemma3 = { model_type: "gemma3_text", architectures: ["Gemma3ForCausalLM"] };

const refused: readonly (readonly [ModelErrorCode, { readonly [name: string]: unknown }, ...RegExp[]])[] = [
  [
    "M130",
    { model_type: "gpt2", architectures: ["GPT2LMHeadModel"], hidden_size: null },
    /`model_type` should be "llama", "mistral", "qwen2", "qwen3", "phi3" or "gemma3_text", found "gpt2"/,
    /`architectures`.*GPT2LMHeadModel/,
    /`hidden_size`: absent/,
  ],
  [
    "M130",
    { architectures: "LlamaForCausalLM" },
    /`architectures` should be a list that holds "LlamaForCausalLM", found "LlamaForCausalLM", which is no list/,
  ],
  [
    "M131",
    { rms_norm_eps: NaN, bos_token_id: [Infinity] },
    /`rms_norm_eps`.*found NaN/,
    /`bos_token_id`.*found the list \[Infinity\]/,
  ],
  ["M130", { model_type: undefined }, /found nothing/],
  [
    "M132",
    {
      ...qwen3,
      attention_bias: true,
      hidden_act: "gelu",
      use_sliding_window: true,
      sliding_window: 4,
      layer_types: ["x", "x"],
    },
    /`attention_bias`/,
    /`layer_types` should hold .*"x"/,
    /`hidden_act`.*"gelu"/,
  ],
  ["M132", { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
  ["M132", { rope_scaling: { type: "su", factor: 2 } }, /"su".*rope_scaling/],
  ["M132", { rope_parameters: { rope_type: "mrope", rope_theta: 1e4 } }, /"mrope".*rope_parameters/],
  ["M131", { rope_scaling: { type: "linear" } }, /`rope_scaling.factor`/],
  [
    "M131",
    { rope_scaling: { rope_type: "yarn", factor: 2, beta_fast: 1, beta_slow: 2 } },
    /above beta_slow = 2, found 1/,
  ],
  [
    "M131",
    { rope_scaling: { rope_type: "longrope", short_factor: [1], long_factor: [2, 0] } },
    /`rope_scaling.long_factor`/,
  ],
  [
    "M131",
    { rope_scaling: { rope_type: "longrope", short_factor: [1], long_factor: [1, 2] } },
    /`rope_scaling.short_factor` should be a list of 2 numbers/,
  ],
  // windows that lie
  ["M131", { ...mistral, sliding_window: 0 }, /`sliding_window`.*from 1 to .*found 0/],
  ["M131", { ...mistral, sliding_window: "wide" }, /`sliding_window`.*found "wide"/],
  [
    "M131",
    { ...mistral, num_attention_heads: 6, head_dim: 4, num_key_value_heads: 4 },
    /divisor of num_attention_heads/,
  ],
  [
    "M131",
    { ...qwen2, use_sliding_window: true, sliding_window: 4, layer_types: ["full_attention"] },
    /`layer_types` should be a list of num_hidden_layers = 2/,
  ],
  ["M131", { ...gemma3, sliding_window: null }, /`sliding_window` should be an integer from 1 .*found nothing/],
  [
    "M131",
    { ...qwen2, use_sliding_window: false, layer_types: ["sliding_attention", "full_attention"] },
    /`layer_types` should be "full_attention" for each block, as no window is in use, found "sliding_attention"/,
  ],
  [
    "M132",
    {
      ...gemma3,
      hidden_act: undefined,
      hidden_activation: "gelu",
      final_logit_softcapping: 30,
      use_bidirectional_attention: true,
      rope_parameters: { full_attention: {}, sliding_attention: { rope_type: "linear", factor: 2 } },
    },
    /`hidden_activation` should be "gelu_pytorch_tanh", found "gelu"/,
    /`final_logit_softcapping` is given/,
    /`use_bidirectional_attention` is true/,
    /`rope_parameters.sliding_attention.rope_type` should be "default", found "linear"/,
  ],
  ["M131", { ...gemma3, query_pre_attn_scalar: 0 }, /`query_pre_attn_scalar`.*found 0/],
  ["M131", { ...gemma3, rope_local_base_freq: "x" }, /`rope_local_base_freq`.*found "x"/],
  ["M130", { ...qwen2, architectures: ["LlamaForCausalLM"] }, /should hold "Qwen2ForCausalLM"/],
  [
    "M131",
    { hidden_size: "8", num_hidden_layers: 0, rms_norm_eps: -1, vocab_size: 1e9 },
    /`hidden_size`.*found "8"/,
    /`num_hidden_layers`.*found 0/,
    /`rms_norm_eps`/,
    /`vocab_size`/,
  ],
  ["M131", { num_hidden_layers: 1.5 }, /integer/],
  ["M131", { head_dim: null, hidden_size: 9 }, /`head_dim`/],
  ["M131", { head_dim: 5 }, /even/],
  ["M131", { num_key_value_heads: 3 }, /divisor of num_attention_heads = 4/],
  ["M131", { eos_token_id: "</s>" }, /`eos_token_id`/],
  ["M131", { rope_theta: 0 }, /`rope_theta`/],
  ["M131", { rope_parameters: 3 }, /`rope_parameters` should be an object/],
  ["M131", { rope_parameters: { rope_theta: "x" } }, /`rope_parameters.rope_theta`/],
  [
    "M131",
    { rope_scaling: { rope_type: "llama3", factor: 8 } },
    /`rope_scaling.low_freq_factor`/,
    /`rope_scaling.high_freq_factor`/,
  ],
  ["M131", { rope_scaling: "x" }, /`rope_scaling` should be an object/],
  ["M132", { rope_scaling: { rope_type: "su" }, rope_parameters: { rope_type: "default" } }, /"su".*rope_scaling/],
  ["M132", { rope_parameters: { rope_type: "default", partial_rotary_factor: 0.5 } }, /partial_rotary_factor.*0\.5/],
  ["M131", { rope_scaling: { ...llama3, high_freq_factor: 1 } }, /above low_freq_factor/],
  ["M131", { tie_word_embeddings: "yes" }, /true or false/],
];

test("what cannot be run is refused by field, several at once", async () => {
  for (const [code, change, ...messages] of refused) {
    const error = await failure(code, () => parseConfig("c", { ...smallConfig, ...change }));
    for (const message of messages) assert.match(error.message, message);
  }
});

const scaled = { kind: "llama3", factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContext: 8192 };
const plain = { rope_type: "default", rope_theta: 500000 };

/**
 * Configs with several fields for one thing: the embedding that transformers 5.24 makes of them, and what is reported.
 */
const twins: readonly (readonly [{ readonly [name: string]: unknown }, object, ...RegExp[]])[] = [
  [
    { rope_scaling: llama3, rope_parameters: { ...llama3, rope_theta: 10000 } },
    { ...scaled, theta: 10000 },
  ],
  [{ rope_scaling: {}, rope_parameters: plain }, { kind: "default", theta: 500000 }, /rope_theta.*500000.*10000/],
  [
    { rope_scaling: llama3, rope_parameters: {} },
    { ...scaled, theta: 10000 },
  ],
  [
    { rope_scaling: llama3, rope_parameters: { ...plain, rope_theta: 10000 } },
    { ...scaled, theta: 10000 },
    /`rope_scaling` and `rope_parameters` say different things: a scaling by 8 and theta 10000 of `rope_scaling`/,
  ],
  [
    { rope_theta: undefined, rope_scaling: llama3, rope_parameters: plain },
    { ...scaled, theta: 10000 },
    /say different things/,
  ],
  [
    { rope_theta: 20000, rope_scaling: llama3, rope_parameters: plain },
    { ...scaled, theta: 20000 },
    /say different things/,
  ],
  [{ rope_scaling: llama3, rope_parameters: { rope_type: "yarn" } }, { ...scaled, theta: 10000 }, /say different/],
  [{ rope_scaling: llama3, rope_parameters: 3 }, { ...scaled, theta: 10000 }, /say different/],
  [
    { rope_theta: 20000, rope_scaling: { ...llama3, rope_theta: 300 } },
    { ...scaled, theta: 300 },
    /`rope_scaling.rope_theta` = 300 is taken, and not `rope_theta` = 20000/,
  ],
  [{ rope_scaling: { ...llama3, type: "linear" } }, { ...scaled, theta: 10000 }, /rope_type` = "llama3".*"linear"/],
  [
    { rope_scaling: { ...llama3, rope_type: undefined } },
    { kind: "default", theta: 10000 },
    /of the type "default", which scales nothing: `factor`, .* are not used/,
  ],
  [
    { rope_scaling: { ...llama3, original_max_position_embeddings: undefined } },
    { ...scaled, theta: 10000, originalContext: 64 },
    /is absent: `max_position_embeddings` = 64 is taken for it/,
  ],
  [
    { rope_scaling: llama3, original_max_position_embeddings: 77 },
    { ...scaled, theta: 10000 },
    /`original_max_position_embeddings` = 77 beside `rope_scaling` is not used, but 8192/,
  ],
];

test("of several fields for one thing that one counts that counts for the Hugging Face library, and it is reported", () => {
  for (const [change, rope, ...reported] of twins) {
    const config = parseConfig("c", { ...smallConfig, ...change });
    assert.equal(config.rope, rope, JSON.stringify(change));
    assert.is(config.warnings.length, reported.length, config.warnings.join("; "));
    for (const [at, one] of reported.entries()) assert.match(config.warnings[at] ?? "", one);
  }
});

test("what nothing rests on may be wrong: types, ids that the vocabulary has not", () => {
  const config = parseConfig("c", {
    ...smallConfig,
    dtype: "float16",
    torch_dtype: "bfloat16",
    bos_token_id: 2048,
    eos_token_id: [1, -1],
  });
  assert.equal([config.dtype, config.bosToken, [...config.eosTokens]], ["F16", null, [1]]);
  assert.match(config.warnings[0] ?? "", /`bos_token_id` of `c` should be below vocab_size = 2048: 2048 is not used/);
  assert.match(config.warnings[1] ?? "", /`eos_token_id`.*: -1 is not used/);
  assert.is(parseConfig("c", { ...smallConfig, torch_dtype: "float8" }).dtype, null);
});

test("generation_config.json: what cannot be used of it is as if it were not there, and is reported", async () => {
  await inDirectory(async (directory) => {
    const config = parseConfig("c", smallConfig);
    const path = join(directory, "generation_config.json");
    const without = {
      bosToken: 0,
      eosTokens: [1],
      sample: null,
      temperature: null,
      topK: null,
      topP: null,
      maxNewTokens: null,
      warnings: [],
    };
    assert.equal(await readGeneration(diskDirectory(directory), config), without);
    await writeJson(path, {
      eos_token_id: [2, 3],
      do_sample: true,
      temperature: 0.6,
      top_p: 0.9,
      top_k: 50,
      max_new_tokens: 10,
    });
    assert.equal(await readGeneration(diskDirectory(directory), config), {
      bosToken: 0,
      eosTokens: [2, 3],
      sample: true,
      temperature: 0.6,
      topK: 50,
      topP: 0.9,
      maxNewTokens: 10,
      warnings: [],
    });
    await writeJson(path, { eos_token_id: [4, 4000], top_k: -1, top_p: 2, temperature: "hot" });
    const { warnings, ...rest } = await readGeneration(diskDirectory(directory), config);
    const { warnings: _, ...expected } = without;
    assert.equal(rest, { ...expected, eosTokens: [4] });
    assert.is(warnings.length, 3);
    for (const message of [/eos_token_id/, /top_p/, /temperature/]) assert.match(warnings.join("\n"), message);
    await writeJson(path, { eos_token_id: "</s>" });
    assert.equal((await readGeneration(diskDirectory(directory), config)).eosTokens, [1]);
    await writeFile(path, "{");
    const unread = await readGeneration(diskDirectory(directory), config);
    assert.equal({ ...unread, warnings: [] }, without);
    assert.match(
      unread.warnings[0] ?? "",
      /generation_config\.json` is not valid JSON.*texts end as `config\.json` says/,
    );
    await truncate(path, 2 ** 25);
    assert.match(
      (await readGeneration(diskDirectory(directory), config)).warnings[0] ?? "",
      /has 32 MiB; at most 16 MiB/,
    );
  });
});

test.run();
