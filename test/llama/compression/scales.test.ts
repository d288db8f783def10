import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bitsPerWeight, formatOfSpec, printFormat, shapeOf } from "../../../compiler/formats/registry.js";
import { compress, type Compression } from "../../../runtime/llama/compression/compress.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { loadBlock, unpackBlock } from "../../../runtime/llama/weights.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { createSafetensors } from "../../../runtime/model/safetensors-writer.js";
import { calibrationIds, exampleRecipe, patchedModel, writtenRecipe, type Written } from "../recipes.js";
import { classics, openWorkshop } from "../machine.js";
import { openArena } from "../../../runtime/run/arena.js";

const test = suite("weights of any size");
const { caller, model, bos, folder } = await openWorkshop(test, "scales");
const ids = await calibrationIds(model);
const query = "model.layers.0.self_attn.q_proj.weight";

/**
 * The small model cut to its first block, q, k, v, gate and up times 2^-exponent and the gains before them times
 * 2^exponent: whatever the exponent, the same model.
 */
async function rescaled(exponent: number): Promise<Model> {
  const directory = join(folder, `times-${exponent}`);
  await cp(classics, directory, { recursive: true });
  const config = JSON.parse(await readFile(join(directory, "config.json"), "utf8")) as object;
  await writeFile(join(directory, "config.json"), JSON.stringify({ ...config, num_hidden_layers: 1 }));
  const kept = model.tensors.filter(({ name }) => !/layers\.[1-9]/.test(name));
  const writer = await createSafetensors(join(directory, "model.safetensors"), kept, new Map([["format", "pt"]]));
  for (const { name, bytes } of kept) {
    const words = new Uint16Array(bytes / 2);
    await model.readInto(name, new Uint8Array(words.buffer), 0);
    const change = /layernorm/.test(name) ? exponent : /(q|k|v|gate|up)_proj/.test(name) ? -exponent : 0;
    const scaled = words.map((word) => ((word & 0x7f80) === 0 ? word : word + change * 2 ** 7));
    await writer.append(name, new Uint8Array(scaled.buffer));
  }
  await writer.finish();
  return openModel(directory);
}

/** A small model with one element of its first query projection replaced, by a bf16. */
function withElement(name: string, bits: number): Promise<Model> {
  return patchedModel(join(folder, name), [{ tensor: query, begin: 0, bytes: Uint8Array.of(bits & 0xff, bits >> 8) }]);
}

async function made(
  source: Model,
  { recipe, source: text }: Written,
  name: string,
): Promise<{ readonly report: Compression; readonly result: Model }> {
  const output = join(folder, name);
  const evaluation = { ids, window: 64, bos, windows: 1 };
  const report = await compress(caller, source, recipe, { output, source: text, layerErrors: false, evaluation });
  return { report, result: await openModel(output) };
}

const grids = writtenRecipe(`use quantize, prune
recipe grids(model: llama) {
  for w in model.linears {
    if w matches "q_proj" {
      store w as pack w as int8(128) with scale int8_scale(w, 128)
    } else if w matches "k_proj" {
      let s, z = int4_grid(w, 128)
      store w as pack w as int4(128, asymmetric) with scale s, zero z
    } else if w matches "v_proj" {
      // packed on the way, too: of a third of the weight
      let third[n, k] = w[n, k] / 3.0
      let rough = unpack pack third as int4(channel) with scale int4_channel_scale(third)
      let whole[n, k] = rough[n, k] * 3.0
      store w as pack whole as int8(channel) with scale int8_channel_scale(whole)
    } else if w matches "gate_proj" {
      let sparse = w where mask_2of4(magnitude(w))
      store w as pack sparse as nm(2, 4) of int4(128) with scale int4_search(sparse, 128)
    } else {
      store w as pack w as int4(128) with scale int4_scale(w, 128)
    }
  }
}
`);

test("weights times 2^-12 behind gains times 2^12 are compressed as without: the same codes, bits, and perplexities", async () => {
  const [plain, small] = [await rescaled(0), await rescaled(12)];
  const [usual, other] = [await made(plain, grids, "usual"), await made(small, grids, "small")];
  // the model as given, then compressed: 58141 it was with int4 alone, of two blocks
  const [given, compressed] = usual.report.perplexities.map(({ value }) => value);
  assert.ok(compressed! < 1.2 * given!, `${given} and ${compressed}`);
  assert.equal(
    other.report.perplexities.map(({ value }) => value),
    [given, compressed],
  );
  assert.equal(
    other.report.tensors.map(({ relativeError, bitsPerWeight: bits }) => [relativeError, bits]),
    usual.report.tensors.map(({ relativeError, bitsPerWeight: bits }) => [relativeError, bits]),
  );
  assert.ok(usual.report.tensors.every(({ format }) => !/shift|f32/.test(format)));
  const shifts = other.report.tensors.map(({ format }) => /shift: (\d+)/.exec(format)?.[1] ?? "0");
  assert.equal(shifts, ["16", "8", "16", "0", "8", "8", "0"]);
  for (const { name, shape } of usual.result.tensors.filter((tensor) => tensor.format !== null)) {
    const decoded = async (of: Model): Promise<Float32Array> => {
      const { format, bytes } = of.tensor(name);
      const words = new Uint32Array(bytes / 4);
      await of.readInto(name, new Uint8Array(words.buffer), 0);
      assert.ok(bitsPerWeight(format!, shapeOf(shape)) < 8.2, printFormat(format!));
      return formatOfSpec(format!).decode(format!, shapeOf(shape), words);
    };
    const factor = /o_proj|down_proj/.test(name) ? 1 : 2 ** -12;
    assert.equal(
      await decoded(other.result),
      (await decoded(usual.result)).map((value) => value * factor),
      name,
    );
  }
  for (const each of [plain, small, usual.result, other.result]) await each.close();
});

test("scales too far apart or too large for f16 are stored in f32, and that is reported by the format", async () => {
  const large = await withElement("large", 0x4974); // 999424
  const { report, result } = await made(large, exampleRecipe("int4.esp"), "held");
  const [first, ...rest] = report.tensors;
  assert.is(first!.format, "int4(128, symmetric, scale: f32)");
  assert.is(first!.bitsPerWeight, 4.25);
  assert.ok(rest.every(({ format }) => format === "int4(128, symmetric)"));
  assert.ok(first!.relativeError < 0.07);
  for (const each of [large, result]) await each.close();
});

test("a weight beyond what is to hold it is named, with its range", async () => {
  const [large, huge] = [await withElement("f16", 0x47c3), await withElement("f32", 0x6904)];
  const fault = async (of: Model, recipe: Written): Promise<string> => {
    try {
      await compress(caller, of, recipe.recipe, { output: join(folder, "none"), source: recipe.source });
    } catch (error) {
      if (error instanceof LlamaError && error.code === "not-finite") return error.message;
      throw error;
    }
    return "no fault";
  };
  const stored = (format: string, scale = ""): Written =>
    writtenRecipe(
      `use prune, quantize\nrecipe one(model: llama) { for w in model.linears matching "model.layers.0.self_attn.q_proj" { let s = w where mask_2of4(magnitude(w))\n store w as pack s as ${format}${scale} } }`,
    );
  for (const format of ["f16", "nm(2, 4) of f16", "bitmask of f16"])
    assert.match(
      await fault(large, stored(format)),
      new RegExp(
        `^The weight ${query} of the model has values up to 99800, and the recipe stores it as .*f16: f16 holds no more than 65504\\.`,
      ),
    );
  assert.match(
    await fault(huge, stored("int4(128)", " with scale int4_scale(s, 128)")),
    new RegExp(`^The weight ${query} of the model has values up to 9\\.97e\\+24, whose squares are beyond f32`),
  );
  assert.match(
    await fault(huge, stored("q4_0")),
    new RegExp(
      `^The weight ${query} cannot be stored as q4_0: In row 0, columns 0 to 31, the scale is .*, which f16 cannot hold`,
    ),
  );
  for (const each of [large, huge]) await each.close();
});

test("weights that f16 cannot hold stay in f32 where a pass decodes weights to f16", async () => {
  const [small, large] = [await rescaled(20), await withElement("beyond", 0x47c3)];
  for (const [of, beyond] of [
    [model, []],
    [large, ["wq"]],
    [small, ["wq", "wk", "wv", "gate", "up"]],
  ] as const) {
    const arena = openArena(caller.executor);
    const unpacked = await unpackBlock(caller, await loadBlock(caller, of, 0, "stored", "f16", arena), "f16", arena);
    const kept = Object.entries(unpacked.linears).filter(([, tensor]) => tensor.format?.name !== "f16");
    assert.equal(
      kept.map(([name]) => name),
      beyond,
    );
    assert.ok(kept.every(([, tensor]) => tensor.format === null && tensor.dtype === "f32"));
    arena.close();
  }
  for (const each of [small, large]) await each.close();
});

test("products by matrices are not given a weight that f16 cannot hold", async () => {
  const large = await withElement("matrices", 0x47c3);
  const withMatrices = { ...caller, target: { ...caller.target, matrices: true } };
  for (const [of, dtype, decoded] of [
    [withMatrices, "f16", ["wq"]],
    [withMatrices, "f32", []],
    [caller, "f16", []],
  ] as const) {
    const arena = openArena(caller.executor);
    const { linears } = await loadBlock(of, large, 0, "stored", dtype, arena);
    const kept = Object.entries(linears).filter(([, tensor]) => tensor.format === null);
    assert.equal(
      kept.map(([name]) => name),
      decoded,
    );
    arena.close();
  }
  await large.close();
});

test.run();
