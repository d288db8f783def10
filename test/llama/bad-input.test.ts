/**
 * Input that is degenerate, which must work, and input that is wrong, which must be reported. More of it is in
 * activations, pivots, resume, windows, and in model/gguf.
 */
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import type { Settings } from "../../compiler/check/settings.js";
import { formatOfSpec, shapeOf } from "../../compiler/formats/registry.js";
import { createHost, packageRoot } from "../../runtime/library.js";
import { compress } from "../../runtime/llama/compression/compress.js";
import { LlamaError } from "../../runtime/llama/error.js";
import { perplexity } from "../../runtime/llama/inference/evaluate.js";
import { generate } from "../../runtime/llama/inference/generate.js";
import { openSession } from "../../runtime/llama/inference/session.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { openToyWorkshop } from "./machine.js";
import { calibrationIds, exampleRecipe, patchedModel, writtenRecipe } from "./recipes.js";

const test = suite("bad input");
/** Features: q6_k takes 256 at once. */
const width = 256;
const { caller, model, bos, folder } = await openToyWorkshop(test, "bad-input", width);
const text = { ids: await calibrationIds(model), bos, windows: 3, window: 24 };

/** The codes and messages of what is wrong with an example, or with a recipe that stores one tensor. */
function found(recipe: { readonly example: string } | { readonly stores: string }, set: Settings): string {
  const host = createHost();
  const source =
    "stores" in recipe
      ? `use quantize, prune\nrecipe a(model: llama, group = 128) {\n  for w in model.linears {\n    ${recipe.stores}\n  }\n}\n`
      : null;
  const file = "example" in recipe ? join(packageRoot(), "examples", recipe.example) : "test.esp";
  const { diagnostics } = check(
    file,
    { ...host, read: (path) => (path === "test.esp" ? source : host.read(path)) },
    { set },
  );
  return diagnostics
    .map(({ code, message, help }) => `${code} ${message}${help === null ? "" : ` (${help})`}`)
    .join("; ");
}

test("bits, groups, patterns and parameters that are out of range are reported by name, with what is possible", () => {
  const int4 = { example: "int4.esp" };
  const cases: readonly (readonly [Parameters<typeof found>[0], Settings, RegExp])[] = [
    ...[0, 7, 12, -8].map(
      (group) =>
        [
          int4,
          { group },
          new RegExp(
            `E501 \`int4\\(${group}\\)\` is not a format: the group of int4 must be a positive multiple of 8 or \`channel\`, and is ${group}`,
          ),
        ] as const,
    ),
    [int4, { group: 1.5 }, /E415 a size is expected here, and this is 1.5/],
    [int4, { group: "many" }, /E210 the parameter `group` is a number, and is set to `many`/],
    [{ example: "gptq-int4.esp" }, { damp: "" }, /E210 the parameter `damp` is a number, and is set to ``/],
    [{ example: "gptq-int4.esp" }, { damp: "NaN" }, /E210 the parameter `damp` is a number, and is set to `NaN`/],
    [
      { example: "gptq-int4.esp" },
      { damp: Infinity },
      /E210 the parameter `damp` is a number, and is set to `Infinity`/,
    ],
    [
      { example: "gptq-int4.esp" },
      { damp: "1e39" },
      /E210 the parameter `damp` is set to `1e39`, which is too large for an f32/,
    ],
    ...["1e-50", "-1e-40", 5e-324].map(
      (damp) =>
        [
          { example: "gptq-int4.esp" },
          { damp },
          new RegExp(`E210 the parameter \`damp\` is set to \`${damp}\`, which is too small for an f32`),
        ] as const,
    ),
    [{ example: "gptq-int4.esp" }, { damp: 2 ** -126 }, /^$/],
    [{ example: "gptq-int4.esp" }, { dmap: 0.1 }, /E210 there is no parameter `dmap` to set \(did you mean `damp`/],
    [
      { stores: "store w as pack w as int9(group) with scale int4_scale(w, group)" },
      {},
      /E501 there is no format `int9` \(the formats are .*int8, int6,/,
    ],
    [{ stores: "store w as pack w as int4(group, bits: 3) with scale int4_scale(w, group)" }, {}, /E501 .*int4/],
    [
      { stores: "let keep = top 3 of 4 along k in magnitude(w)\n store w as pack w where keep as nm(2, 4) of f16" },
      {},
      /E502 .* is packed as 2:4, but nothing guarantees/,
    ],
    [
      { stores: "let keep = row_mask(magnitude(w), 128)\n store w as pack w where keep as nm(2, 4) of f16" },
      {},
      /E502 .* is packed as 2:4, but nothing guarantees/,
    ],
    [
      { stores: "let keep = top 5 of 4 along k in magnitude(w)\n store w as pack w where keep as bitmask of f16" },
      {},
      /E408 `top 5 of 4` is impossible/,
    ],
    [
      { stores: "let keep = top 3 of 7 along k in magnitude(w)\n store w as pack w where keep as nm(3, 7) of f16" },
      {},
      /E501 .*m of nm\(n, m\) must be 2, 4, 8 or 16, and is 7/,
    ],
    [
      { stores: "let keep = top 2 of 4 along k in magnitude(w)\n store w as pack w where keep as nm(4, 4) of f16" },
      {},
      /E501 .*n of nm\(n, m\) must be less than m/,
    ],
  ];
  for (const [recipe, set, message] of cases) assert.match(found(recipe, set), message);
});

async function refusal(code: LlamaError["code"], work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === code, String(error));
  return error instanceof Error ? error.message : "";
}

test("a model whose results are not finite has no perplexity and no text, and the weight is named", async () => {
  const nan = Uint8Array.of(0xc0, 0x7f); // of bf16
  for (const [tensor, named] of [
    ["model.layers.1.mlp.gate_proj.weight", "gate_proj of block 1"],
    ["model.layers.0.post_attention_layernorm.weight", "post_attention_layernorm of block 0"],
  ] as const) {
    const directory = join(folder, "nan");
    const broken = await patchedModel(directory, [{ tensor, begin: 6, bytes: nan }], model.directory);
    const session = await openSession(caller, broken);
    try {
      const why = new RegExp(`is NaN or infinite: ${named} holds values`);
      assert.match(await refusal("not-finite", perplexity(session, text.ids, { window: 24, bos, limit: 2 })), why);
      assert.match(
        await refusal(
          "not-finite",
          generate(session, text.ids.slice(0, 5), { maxNewTokens: 3, temperature: 0, eosTokens: [] }),
        ),
        why,
      );
    } finally {
      session.release();
      await broken.close();
      await rm(directory, { recursive: true });
    }
  }
});

test("infinite activations name the layers that receive them, whatever is observed, and nothing is written", async () => {
  const infinite = Uint8Array.of(0x80, 0x7f); // of bf16
  const inside = await patchedModel(
    join(folder, "infinite"),
    [{ tensor: "model.layers.0.input_layernorm.weight", begin: 6, bytes: infinite }],
    model.directory,
  );
  const [wanda, gptq] = [exampleRecipe("wanda-2of4.esp"), exampleRecipe("gptq-int4.esp")];
  for (const { recipe, source } of [wanda, gptq]) {
    const message = await refusal(
      "not-finite",
      compress(caller, inside, recipe, { output: join(folder, "out"), source, text }),
    );
    assert.match(
      message,
      /^What model\.layers\.0\.self_attn\.q_proj, model\.layers\.0\.self_attn\.k_proj, model\.layers\.0\.self_attn\.v_proj receive on the calibration text is NaN or infinite/,
    );
  }
  await inside.close();
  await rm(join(folder, "infinite"), { recursive: true });
  assert.equal(await readdir(folder), []);
});

test("a text without a whole window says how many tokens it needs, before anything is computed", async () => {
  const { recipe, source } = exampleRecipe("wanda-2of4.esp");
  const short = { ids: text.ids.slice(0, 40), bos, window: 64 };
  assert.match(
    await refusal(
      "text-too-short",
      compress(caller, model, recipe, { output: join(folder, "out"), source, text: short }),
    ),
    /has 40 tokens, but a window of 64 needs 63/,
  );
  assert.match(
    await refusal(
      "text-too-short",
      compress(caller, model, recipe, {
        output: join(folder, "out"),
        source,
        text: { ...short, window: 11, windows: 9 },
      }),
    ),
    /has 40 tokens, but 9 windows of 11 need 90; it is enough for 4/,
  );
  assert.equal(await readdir(folder), []);
});

/** Dead input features, rows of zeros, and whole groups of zeros, in the layers that `degenerate` treats. */
const row = 2 * width;
const zeros = (bytes: number): Uint8Array => new Uint8Array(bytes);
const patches = [
  // features 0 .. 8 of down_proj are never seen
  { tensor: "model.layers.0.mlp.gate_proj.weight", begin: 0, bytes: zeros(9 * row) },
  { tensor: "model.layers.0.mlp.down_proj.weight", begin: row * 3, bytes: zeros(row) },
  { tensor: "model.layers.0.self_attn.q_proj.weight", begin: 0, bytes: zeros(row) },
  { tensor: "model.layers.0.self_attn.k_proj.weight", begin: row / 2, bytes: zeros(row / 2) },
  { tensor: "model.layers.0.self_attn.v_proj.weight", begin: 0, bytes: zeros(width * row) },
  { tensor: "model.layers.0.self_attn.o_proj.weight", begin: row, bytes: zeros(row) },
  { tensor: "model.layers.1.self_attn.k_proj.weight", begin: 0, bytes: zeros(row) },
  { tensor: "model.layers.1.self_attn.v_proj.weight", begin: 0, bytes: zeros(row) },
  { tensor: "model.layers.1.self_attn.o_proj.weight", begin: 0, bytes: zeros(row) },
];
const degenerate = writtenRecipe(`use statistics, quantize, prune, solve, gptq, sparsegpt, refine
recipe degenerate(model: llama, text: tokens, group = 128, damp = 0.01) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears matching "model.layers.0.mlp.down_proj" {
      let u = walk_factor(x2[w], windows(text), damp)
      let sparse, _keep = sparsegpt(without_dead(w, x2[w]), u, 2, 4)
      store w as pack sparse as nm(2, 4) of int4(group) with scale int4_search(sparse, group)
    }
    for w in block.linears matching "model.layers.0.self_attn.q_proj" {
      let q, s = gptq_search(without_dead(w, x2[w]), walk_factor(x2[w], windows(text), damp), group, -8.0, 7.0)
      store w as pack q as int4(group) with scale s
    }
    for w in block.linears matching "model.layers.0.self_attn.k_proj" {
      let s, z = int4_grid(w, group)
      store w as pack w as int4(group, asymmetric) with scale s, zero z
    }
    for w in block.linears matching "model.layers.0.self_attn.v_proj" {
      store w as pack w as int8(channel) with scale int8_channel_scale(w)
    }
    for w in block.linears matching "model.layers.0.self_attn.o_proj" {
      let h = damped(hessian(x2[w], windows(text)), damp)
      let sparse = w where mask_2of4(magnitude(w))
      let better, _keep = pair_sweep(w, sparse, h)
      store w as pack better as nm(2, 4) of f16
    }
    for w in block.linears matching "model.layers.1.self_attn.k_proj" { store w as pack w as q4_1 }
    for w in block.linears matching "model.layers.1.self_attn.v_proj" { store w as pack w as q6_k }
    for w in block.linears matching "model.layers.1.self_attn.o_proj" { store w as pack w as q8_0 }
  }
}
`);

async function decoded(from: Model, name: string): Promise<Float32Array> {
  const { format, shape } = from.tensor(name);
  assert.ok(format !== null, name);
  return formatOfSpec(format).decode(format, shapeOf(shape), new Uint32Array((await from.read(name)).buffer));
}

test("dead input features, and rows and groups of zeros, go through every kind of method and grid without a NaN", async () => {
  const dead = await patchedModel(join(folder, "dead"), patches, model.directory);
  const report = await compress(caller, dead, degenerate.recipe, {
    output: join(folder, "out"),
    source: degenerate.source,
    text,
  });
  assert.is(report.tensors.length, 8);
  assert.ok(
    report.tensors.every(({ relativeError, layerError }) => relativeError < 1 && layerError !== null && layerError < 1),
  );
  const written = await openModel(join(folder, "out"));
  for (const { tensor, begin, bytes } of patches.slice(1)) {
    const values = await decoded(written, tensor);
    assert.ok(values.every(Number.isFinite), tensor);
    assert.ok(values.some((value) => value !== 0) || bytes.length === width * row, tensor);
    // zeros stay zeros, but where a walk spreads the error of other columns over them
    if (/layers\.1|[kv]_proj/.test(tensor))
      assert.ok(
        values.subarray(begin / 2, (begin + bytes.length) / 2).every((value) => value === 0),
        tensor,
      );
  }
  // no weight of a feature that was never seen is kept
  const down = await decoded(written, "model.layers.0.mlp.down_proj.weight");
  assert.ok(down.every((value, at) => at % width > 8 || value === 0));
  await written.close();
  await dead.close();
  for (const name of ["dead", "out"]) await rm(join(folder, name), { recursive: true });
});

test.run();
