/**
 * A model of a known shape with random weights, and a text of random words, to time what a real one would take:
 *
 *   node bench/make-model.mjs DIR [BLOCKS] [SHAPE] [--holes] [--alike]
 *
 * SHAPE is a name of runtime/bench/model-shapes.ts, llama-3.1-8b (16 GB with its 32 blocks) where it is left out. Weights are normal with a deviation of 0.02, in
 * bf16, in shards of eight blocks. The tokenizer is that of examples/classics-3.7m with unused tokens added;
 * calibration.txt has some 346,000 tokens of it. With `--holes` all weights are zeros that take no room on the disk: a
 * model whose tensors another script fills. With `--alike` every eighth block has the same weights, which a large model
 * is made of in half the time.
 */
import {
  closeSync,
  copyFileSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { modelShapes } from "../dist/runtime/bench/model-shapes.js";

const [holes, alike] = ["--holes", "--alike"].map((word) => process.argv.includes(word));
const [folder, blocksText, shapeName = "llama-3.1-8b"] = process.argv.slice(2).filter((word) => !word.startsWith("--"));
const shape = modelShapes[shapeName];
const blocks = Number(blocksText ?? shape?.num_hidden_layers);
if (folder === undefined || shape === undefined || !Number.isInteger(blocks) || blocks < 1)
  throw new Error(
    `usage: node bench/make-model.mjs DIR [BLOCKS] [${Object.keys(modelShapes).join("|")}] [--holes] [--alike]`,
  );
const { hidden_size: hidden, intermediate_size: intermediate, vocab_size: vocabulary } = shape;
const queries = shape.num_attention_heads * shape.head_dim;
const keyValues = shape.num_key_value_heads * shape.head_dim;
const source = fileURLToPath(new URL("../examples/classics-3.7m/", import.meta.url));
const deviation = 0.02;

/** xorshift32 (Marsaglia 2003): the same model each time. */
let state = 88172645;
function random() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

/** Bits of 65536 normal numbers in bf16: drawing one is an index. */
const normals = new Uint16Array(65536).map(() => {
  const [a, b] = [(random() + 0.5) / 2 ** 32, (random() + 0.5) / 2 ** 32];
  const bits = new Uint32Array(
    Float32Array.of(deviation * Math.sqrt(-2 * Math.log(a)) * Math.cos(2 * Math.PI * b)).buffer,
  )[0];
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
});
const one = 0x3f80;

const piece = new Uint16Array(2 ** 23);
function writeWeights(file, count, isGain) {
  for (let done = 0; done < count; done += piece.length) {
    const size = Math.min(piece.length, count - done);
    if (isGain) piece.fill(one, 0, size);
    else
      for (let at = 0; at < size; at += 2) {
        const word = random();
        piece[at] = normals[word & 0xffff];
        piece[at + 1] = normals[word >>> 16];
      }
    writeSync(file, new Uint8Array(piece.buffer, 0, 2 * size));
  }
}

function blockTensors(index) {
  const name = (rest) => `model.layers.${index}.${rest}.weight`;
  return [
    [name("input_layernorm"), [hidden]],
    [name("self_attn.q_proj"), [queries, hidden]],
    [name("self_attn.k_proj"), [keyValues, hidden]],
    [name("self_attn.v_proj"), [keyValues, hidden]],
    [name("self_attn.o_proj"), [hidden, queries]],
    [name("post_attention_layernorm"), [hidden]],
    [name("mlp.gate_proj"), [intermediate, hidden]],
    [name("mlp.up_proj"), [intermediate, hidden]],
    [name("mlp.down_proj"), [hidden, intermediate]],
  ];
}

const shards = [[["model.embed_tokens.weight", [vocabulary, hidden]]]];
for (let first = 0; first < blocks; first += 8)
  shards.push(Array.from({ length: Math.min(8, blocks - first) }, (_, at) => blockTensors(first + at)).flat());
shards.push([
  ["model.norm.weight", [hidden]],
  ...(shape.tie_word_embeddings ? [] : [["lm_head.weight", [vocabulary, hidden]]]),
]);

/** Copies so many bytes from where another shard's tensors begin. */
function copyTensors(file, { path, begin }, bytes) {
  const source = openSync(path, "r");
  const part = new Uint8Array(piece.buffer);
  for (let done = 0; done < bytes; ) {
    const read = readSync(source, part, 0, Math.min(part.length, bytes - done), begin + done);
    done += writeSync(file, part, 0, read);
  }
  closeSync(source);
}

mkdirSync(folder, { recursive: true });
/** Where the tensors of the first eight blocks are. */
let first = null;
const weightMap = {};
let total = 0;
shards.forEach((tensors, at) => {
  const five = (number) => String(number).padStart(5, "0");
  const shard = `model-${five(at + 1)}-of-${five(shards.length)}.safetensors`;
  const header = {};
  let offset = 0;
  for (const [name, shape] of tensors) {
    const bytes = 2 * shape.reduce((product, size) => product * size, 1);
    header[name] = { dtype: "BF16", shape, data_offsets: [offset, offset + bytes] };
    weightMap[name] = shard;
    offset += bytes;
  }
  total += offset;
  const text = JSON.stringify(header);
  const padded = Buffer.from(text.padEnd(Math.ceil(text.length / 8) * 8));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = openSync(join(folder, shard), "w");
  writeSync(file, length);
  writeSync(file, padded);
  if (holes) ftruncateSync(file, 8 + padded.length + offset);
  if (alike && at > 1 && at < shards.length - 1) {
    copyTensors(file, first, offset);
    closeSync(file);
    return;
  }
  if (at === 1) first = { path: join(folder, shard), begin: 8 + padded.length };
  for (const [, shape] of holes ? [] : tensors)
    writeWeights(
      file,
      shape.reduce((product, size) => product * size, 1),
      shape.length === 1,
    );
  closeSync(file);
});

const json = (name, value) => writeFileSync(join(folder, name), JSON.stringify(value, null, 1));
json("model.safetensors.index.json", { metadata: { total_size: total }, weight_map: weightMap });
json("config.json", { ...shape, num_hidden_layers: blocks });
const tokenizer = JSON.parse(readFileSync(join(source, "tokenizer.json"), "utf8"));
const words = Object.keys(tokenizer.model.vocab)
  .filter((word) => /^\u0120?[A-Za-z]{2,}$/.test(word))
  .map((word) => word.replace("\u0120", " "));
const known = new Set([...Object.values(tokenizer.model.vocab), ...tokenizer.added_tokens.map(({ id }) => id)]);
for (let id = 0; id < vocabulary; id++) if (!known.has(id)) tokenizer.model.vocab[`<unused${id}>`] = id;
json("tokenizer.json", tokenizer);
copyFileSync(join(source, "tokenizer_config.json"), join(folder, "tokenizer_config.json"));
writeFileSync(
  join(folder, "calibration.txt"),
  Array.from({ length: 6600 }, () => Array.from({ length: 50 }, () => words[random() % words.length]).join("")).join(
    "\n",
  ),
);
