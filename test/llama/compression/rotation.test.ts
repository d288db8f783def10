/** Rotations of the stream: the model gives what it gave, and what cannot be rotated is told before a weight is read. */
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/diagnostic.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { rotatedBlock, rotatesFrame } from "../../../runtime/llama/compression/stream.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { packageRoot, standardLibrary } from "../../../runtime/library.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { withArena } from "../../../runtime/run/arena.js";
import { difference } from "../../support/tolerance.js";
import { openToyWorkshop } from "../machine.js";
import { exampleRecipe, writtenRecipe } from "../recipes.js";

const test = suite("llama/rotation");
const { caller, model, folder } = await openToyWorkshop(test, "rotation");

async function logitsOf(given: Model): Promise<Float32Array> {
  const session = await openSession(caller, given, { dtype: "f32" });
  const cache = await session.allocateCache(1, 8);
  try {
    return await withArena(caller.executor, async (arena) => {
      const ids = arena.own(await caller.executor.fill("i32", [1, 5], [1, 2, 3, 4, 5]));
      const positions = arena.own(await caller.executor.fill("i32", [1], [0]));
      const pick = arena.own(await caller.executor.fill("i32", [1], [4]));
      const x = arena.own(await session.forward(ids, positions, cache));
      return Float32Array.from(await caller.executor.values(arena.own(await session.logits(x, pick))));
    });
  } finally {
    session.releaseCache(cache);
    session.release();
  }
}

test("a rotated model gives what it gave, its norms are ones and no weight is as it was", async () => {
  const out = join(folder, "rotated");
  const { recipe, source } = exampleRecipe("rotated.esp");
  await compress(caller, model, recipe, { output: out, source });
  const rotated = await openModel(out);
  try {
    for (const { vectors, linears } of rotated.blocks) {
      for (const { name } of vectors) assert.ok((await rotated.floats(name)).every((gain) => gain === 1));
      for (const { weight } of linears)
        assert.is.not(difference(await rotated.floats(weight), await model.floats(weight), "chain"), null, weight);
    }
    // its weights are rounded to f16
    assert.is(difference(await logitsOf(rotated), await logitsOf(model), "half"), null);
  } finally {
    await rotated.close();
  }
});

test("every architecture whose layers add to the stream as they are gives what it gave", async () => {
  const architectures = join(packageRoot(), "test", "data", "architectures");
  for (const name of ["llama-biased", "mistral", "qwen2", "qwen3", "phi3"]) {
    const given = await openModel(join(architectures, name));
    const out = join(folder, `rotated-${name}`);
    const { recipe, source } = exampleRecipe("rotated.esp");
    await compress(caller, given, recipe, { output: out, source });
    const rotated = await openModel(out);
    try {
      assert.is(difference(await logitsOf(rotated), await logitsOf(given), "chain"), null, name);
    } finally {
      await rotated.close();
      await given.close();
    }
  }
  // its layers' results go through a norm before they are added
  const gemma = await openModel(join(architectures, "gemma3"));
  try {
    checkAgainst(gemma, exampleRecipe("rotated.esp").recipe, standardLibrary());
    assert.unreachable();
  } catch (error) {
    assert.instance(error, CompileError);
    const [found] = (error as CompileError).diagnostics;
    assert.is(found?.code, "E613");
    assert.match(found?.message ?? "", "the stream cannot be rotated in model.layers.0, block_gemma3_local");
    assert.match(
      found?.notes[0] ?? "",
      "multiplies each channel of what is added to the stream by another number, as the gain of a norm does",
    );
  } finally {
    await gemma.close();
  }
});

test("readers, writers and gains are found in the graphs", () => {
  const rotation = rotatedBlock(standardLibrary(), model.blocks[0]!);
  assert.is(rotation.kind, "rotates");
  if (rotation.kind !== "rotates") return;
  const roles = [...rotation.roles].map(([name, { kind, gain }]) => `${name} ${kind} ${gain ?? ""}`.trim()).sort();
  assert.equal(roles, [
    "attention_gain ones",
    "down writes",
    "gate reads mlp_gain",
    "mlp_gain ones",
    "up reads mlp_gain",
    "wk reads attention_gain",
    "wo writes",
    "wq reads attention_gain",
    "wv reads attention_gain",
  ]);
  assert.is(rotatesFrame(standardLibrary()).kind, "rotates");
});

test("a rotation behind what was stored is refused, and so is a matrix that is not orthogonal", async () => {
  const late = writtenRecipe(
    "use rotation\nrecipe r(model: llama) {\n for w in model.linears { store w as pack w as f16 }\n for w in model.stream { scale w by random_hadamard(w.columns, u32(1)) }\n}\n",
  );
  try {
    checkAgainst(model, late.recipe, standardLibrary());
    assert.unreachable();
  } catch (error) {
    assert.instance(error, CompileError);
    assert.equal(
      (error as CompileError).diagnostics.map(({ code }) => code),
      ["E614"],
    );
  }
  const skew = writtenRecipe(
    "use rotation\nrecipe r(model: llama) {\n for w in model.stream {\n let q = random_hadamard(w.columns, u32(1))\n let larger[i, j] = 2.0 * q[i, j]\n scale w by larger\n }\n}\n",
  );
  try {
    await compress(caller, model, skew.recipe, { output: join(folder, "skew"), source: skew.source });
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), "is not orthogonal");
  }
});

test.run();
