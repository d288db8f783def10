// Cuts one layer out of each of the checkpoints that README.md tells of: node cut.mjs DIRECTORY. Writes NAME.safetensors
// for each, and layers.json with what their configs say and the values that are expected.
import { readFileSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const [source] = process.argv.slice(2);
const here = dirname(fileURLToPath(import.meta.url));
const modules = {
  "ct-pack-int4-g128": "model.layers.0.self_attn.k_proj",
  "ct-pack-int4-g128-asym": "model.layers.0.self_attn.k_proj",
  "ct-pack-int4-g128-actorder": "model.layers.0.self_attn.k_proj",
  "ct-int8-channel": "model.layers.0.self_attn.k_proj",
  "ct-sparse-bitmask": "model.layers.0.self_attn.k_proj",
  "ct-sparse-24-bitmask": "model.layers.0.self_attn.k_proj",
  "ct-marlin-24-g128": "model.layers.0.self_attn.q_proj",
  "ct-marlin-24-channel": "model.layers.0.self_attn.k_proj",
  "gptq-int4-g128": "model.layers.0.self_attn.k_proj",
  "gptq-int4-g128-desc-act": "model.layers.0.self_attn.k_proj",
  "awq-int4-g128-gemm": "model.layers.0.self_attn.k_proj",
};

const layers = {};
for (const [name, module] of Object.entries(modules)) {
  const directory = join(source, name);
  const json = (file) => JSON.parse(readFileSync(join(directory, file), "utf8"));
  const tensors = [];
  for (const file of readdirSync(directory).filter((each) => each.endsWith(".safetensors"))) {
    const bytes = readFileSync(join(directory, file));
    const start = 8 + Number(bytes.readBigUInt64LE(0));
    for (const [key, { dtype, shape, data_offsets }] of Object.entries(JSON.parse(bytes.subarray(8, start).toString())))
      if (key.startsWith(`${module}.`))
        tensors.push({ key, dtype, shape, data: bytes.subarray(start + data_offsets[0], start + data_offsets[1]) });
  }
  let end = 0;
  const header = {};
  for (const { key, dtype, shape, data } of tensors)
    header[key] = { dtype, shape, data_offsets: [end, (end += data.length)] };
  const text = Buffer.from(JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(text.length));
  writeFileSync(join(here, `${name}.safetensors`), Buffer.concat([length, text, ...tensors.map(({ data }) => data)]));
  const expected = json("expected.json");
  const all = expected.float32_scales?.tensors ?? expected.tensors;
  const { shape, mean, sum_abs, zeros, first8, last8, sha256_f32le } =
    all[`${module}.weight`] ?? expected.tensors[`${module}.weight`];
  const { quantization_config } = json("config.json");
  delete quantization_config.meta?.hessian;
  layers[name] = {
    module,
    shape,
    made_with: expected.made_with,
    quantization_config,
    expected: { mean, sum_abs, zeros, first8, last8, sha256_f32le },
  };
}
writeFileSync(join(here, "layers.json"), `${JSON.stringify(layers, null, 2)}\n`);
