/** Pairs of scales: the model stays what it is, and what does not cancel is told before a weight is read. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/diagnostic.js";
import { elementCount } from "../../../compiler/types/shape.js";
import type { ScaleStep } from "../../../compiler/recipe/recipe.js";
import { blockArguments, blockCall } from "../../../runtime/llama/blocks.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { createFolds } from "../../../runtime/llama/compression/folds.js";
import { oneForEach, scaleInputs } from "../../../runtime/llama/compression/scaling.js";
import { loadStates } from "../../../runtime/llama/compression/students.js";
import { createWorkingModel, type WorkingModel } from "../../../runtime/llama/compression/working-model.js";
import { standardLibrary } from "../../../runtime/library.js";
import { withArena, type Arena } from "../../../runtime/run/arena.js";
import type { DeviceTensor } from "../../../runtime/run/run.js";
import { difference } from "../../support/tolerance.js";
import { openToyWorkshop } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite("llama/scaling");
const { caller, model } = await openToyWorkshop(test, "scaling");

const head =
  "use statistics, quantize, smoothquant\nrecipe r(model: llama, text: tokens) {\n  for block in model.blocks {\n";
const recipeOf = (body: string): ReturnType<typeof writtenRecipe>["recipe"] =>
  writtenRecipe(`${head}${body}\n  }\n}\n`).recipe;
const stepsOf = (body: string): readonly ScaleStep[] =>
  recipeOf(body).steps.flatMap((step) =>
    step.kind === "blocks" ? step.body.filter((each): each is ScaleStep => each.kind === "scale") : [],
  );
const found = (body: string): readonly (readonly [string, string, string | null])[] => {
  try {
    checkAgainst(model, recipeOf(body), standardLibrary());
    return [];
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    return error.diagnostics.map(({ code, message, help }) => [code, message, help]);
  }
};
const byWeight = "let most[k] = max[n] abs(w[n, k])\n scale w by smooth_scale(w, most, 0.3)";

/** Makes f32 tensors of what a function gives for each place, the arena's. */
function filler(arena: Arena) {
  return async (shape: readonly number[], value: (at: number) => number): Promise<DeviceTensor> =>
    arena.own(
      await caller.executor.fill(
        "f32",
        shape,
        Float32Array.from({ length: elementCount(shape) }, (_, at) => value(at)),
      ),
    );
}

/** What block 0 gives for numbers. */
async function result(working: WorkingModel, of: "model" | "dense"): Promise<Float32Array> {
  return withArena(caller.executor, async (arena) => {
    const weights = await working.block(0, of, arena);
    const { graph, sizes } = blockCall(caller.functions, weights, { whole: true });
    const [batch, tokens, width] = [1, 5, model.config.hiddenSize];
    const half = model.config.headDim / 2;
    const fill = filler(arena);
    const x = await fill([batch, tokens, width], (at) => Math.sin(at * 1.7));
    const cosine = await fill([batch, tokens, half], (at) => Math.cos(at));
    const sine = await fill([batch, tokens, half], (at) => Math.sin(at));
    const positions = arena.own(await caller.executor.fill("i32", [batch], [0]));
    const [y] = arena.ownAll(
      await caller.callGraph(graph, blockArguments(graph, weights, { x, cosine, sine, positions }), { sizes }),
    );
    return Float32Array.from(await caller.executor.values(y!));
  });
}

test("a block gives what it gave, the norms and layers before are divided, and no tensor is added", async () => {
  const working = createWorkingModel(caller, model);
  try {
    const before = await result(working, "model");
    const [step] = stepsOf(`for w in block.inputs {\n${byWeight}\n}`);
    const scaled: string[] = [];
    await scaleInputs(
      { caller, working, seen: null, onScaled: async (input) => void scaled.push(input) },
      step!,
      model.blocks[0]!,
    );
    assert.equal(scaled, ["wq", "wo", "gate", "down"]);
    const { linears, vectors } = model.blocks[0]!;
    assert.equal(
      [...working.treated.keys()].sort(),
      [...linears.map(({ weight }) => weight), ...vectors.map(({ name }) => name)].sort(),
    );
    const given = await model.floats(linears[0]!.weight);
    const now = await withArena(caller.executor, async (arena) =>
      Float32Array.from(await caller.executor.values(await working.dense(linears[0]!.weight, arena))),
    );
    assert.is.not(difference(now, given, "chain"), null, "a weight has changed");
    for (const of of ["model", "dense"] as const)
      assert.is(difference(await result(working, of), before, "chain"), null, of);
    // a training begins with both as they are scaled
    await withArena(caller.executor, async (arena) => {
      const states = await loadStates(arena, model, working, 0);
      for (const [of, found] of [
        ["model", states.now],
        ["dense", states.given],
      ] as const) {
        const expected = await working.block(0, of, arena);
        const decoded = async (w: DeviceTensor): Promise<ArrayLike<number>> =>
          caller.executor.values(w.format === null ? w : arena.own((await caller.call("dense", { w }))[0]!));
        for (const part of ["linears", "vectors"] as const)
          for (const [parameter, tensor] of Object.entries(expected[part]))
            assert.equal(await decoded(found[part][parameter]!), await decoded(tensor), `${of} ${parameter}`);
      }
    });
    // one that goes on knows of them
    const folds = createFolds(working.folds.found());
    assert.equal(folds.of(linears[0]!.weight, 1), working.folds.of(linears[0]!.weight, 1));
  } finally {
    working.release();
  }
  assert.is(caller.executor.memory.live, 0);
});

test("columns that read one channel get the geometric mean, and what is not above 0 is refused", async () => {
  assert.equal([...oneForEach(Float32Array.of(2, 3, 8, 5), Int32Array.of(0, 1, 0, 3))], [4, 3, 4, 5]);
  const working = createWorkingModel(caller, model);
  const [step] = stepsOf(`for w in block.inputs matching "q_proj" {\n let s[k] = 0.0 * w[0, k]\n scale w by s\n }`);
  try {
    await scaleInputs({ caller, working, seen: null, onScaled: async () => {} }, step!, model.blocks[0]!);
    assert.unreachable();
  } catch (error) {
    assert.match(String(error), /The scale of .*q_proj.*k_proj.*v_proj is 0 for channel 0/);
  } finally {
    working.release();
  }
});

test("AWQ halves the error of outputs where channels differ by much", async () => {
  const [rows, columns, group] = [16, 64, 32];
  await withArena(caller.executor, async (arena) => {
    const fill = filler(arena);
    // every sixteenth feature is thirty times as large as the others, and its weights are a fifth
    const size = (k: number): number => (k % 16 === 3 ? 30 : 1);
    const w = await fill([rows, columns], (at) => Math.sin(at * at * 0.7) / (size(at % columns) > 1 ? 5 : 1));
    const magnitudes = await fill([columns], size);
    const h = await fill([columns, columns], (at) =>
      Math.floor(at / columns) === at % columns ? size(at % columns) ** 2 : 0,
    );
    const [s] = arena.ownAll(await caller.call("int4_awq", { w, magnitudes, h }, { sizes: { group } }));
    const ones = await fill([columns], () => 1);
    const loss = async (by: typeof ones): Promise<number> => {
      const args = { w, s: by, h, low: -8, high: 7 };
      const [found] = arena.ownAll(await caller.call("awq_loss", args, { sizes: { group } }));
      return (await caller.executor.values(found!))[0]!;
    };
    const [before, after] = [await loss(ones), await loss(s!)];
    assert.ok(after > 0 && after < 0.5 * before, `${after}, before ${before}`);
  });
  assert.is(caller.executor.memory.live, 0);
});

test("what does not cancel, or stands at the wrong time, is told with what to do", () => {
  assert.equal(found(`for w in block.inputs {\n${byWeight}\n}`), []);
  assert.equal(found(`for w in block.inputs matching "down_proj" {\n${byWeight} through "up_proj"\n}`), []);
  const [gate] = found(`for w in block.inputs matching "down_proj" {\n${byWeight} through "gate_proj"\n}`);
  assert.is(gate?.[0], "E613");
  assert.match(gate?.[1] ?? "", 'the scale of down_proj does not cancel through "gate_proj" in model.layers.0');
  assert.match(gate?.[2] ?? "", 'what takes it is up_proj: write `through "up_proj"`');
  assert.equal(
    found(`for w in block.inputs matching "qproj" {\n${byWeight}\n}`).map(([code]) => code),
    ["E605"],
  );
  const store = "for w in block.linears { store w as pack w as f16 }";
  assert.match(
    found(`${store}\nfor w in block.inputs {\n${byWeight}\n}`)[0]?.[1] ?? "",
    "is scaled after it was stored",
  );
  const observe = "let x2 = observe block on text by feature_squares";
  const scale = `for w in block.inputs {\n${byWeight}\n}`;
  const use = "for w in block.linears { let v[n, k] = w[n, k] * x2[w][k]\n store w as v }";
  assert.match(found(`${observe}\n${scale}\n${use}`)[0]?.[1] ?? "", "was observed before its input was scaled");
  assert.equal(found(`${scale}\n${observe}\n${use}`), []);
});

test.run();
