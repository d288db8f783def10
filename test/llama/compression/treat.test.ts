/** What a recipe does to a layer, and what is measured of it, by plain arithmetic beside. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/diagnostic.js";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import { baselineTarget } from "../../../compiler/target.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import type { WeightRecord } from "../../../runtime/llama/long-runs/manifest.js";
import { checkRecipe } from "../../../runtime/llama/compression/fit.js";
import { createTreater, type Seen } from "../../../runtime/llama/compression/treat.js";
import { createWorkingModel, type WorkingModel } from "../../../runtime/llama/compression/working-model.js";
import type { Linear, Model } from "../../../runtime/model/model.js";
import { withArena } from "../../../runtime/run/arena.js";
import { openWorkshop } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite("llama/treat");
const { caller, model } = await openWorkshop(test, "treat");

/** The treatments of a recipe that says in each of its loops what is done to a layer. */
function treatments(source: string, observed = ""): readonly Treatment[] {
  const { recipe } = writtenRecipe(
    observed === ""
      ? `use quantize, prune\nrecipe r(model: llama) {\n${source}\n}\n`
      : `use statistics, quantize, prune, solve\nrecipe r(model: llama, text: tokens) {\n  for block in model.blocks {\n${observed}\n${source}\n  }\n}\n`,
  );
  const steps = recipe.steps.flatMap((step) => (step.kind === "blocks" ? step.body : [step]));
  return steps.flatMap((step) => (step.kind === "linears" ? step.treatments : []));
}
const loop = (body: string): string => `for w in model.linears {\n${body}\n}`;
const inBlock = (body: string): string => `for w in block.linears {\n${body}\n}`;

const layer = (name: string): Linear => model.linears.find((linear) => linear.name.endsWith(name))!;
const k = layer("layers.0.self_attn.k_proj");

/** The values of a layer as they are now. */
async function values(working: WorkingModel, linear: Linear): Promise<Float32Array> {
  const { format, pattern: _, shape } = working.treated.get(linear.weight)!;
  const bytes = await withArena(caller.executor, async (arena) =>
    caller.executor.read((await working.now(linear.weight, arena))!),
  );
  return formatOfSpec(format).decode(format, shapeOf(shape), new Uint32Array(bytes.buffer));
}

/** Does something with a treater over the model as it is given; afterwards nothing is left on the device. */
async function treating(
  use: (treat: ReturnType<typeof createTreater>["treat"], working: WorkingModel) => Promise<void>,
): Promise<void> {
  const working = createWorkingModel(caller, model);
  try {
    await use(createTreater(caller, model, working).treat, working);
  } finally {
    working.release();
  }
  assert.is(caller.executor.memory.live, 0);
}

const close = (found: number | null, expected: number, what = ""): void =>
  assert.ok(found !== null && Math.abs(found - expected) <= 1e-4 * expected, `${what} ${found}, expected ${expected}`);

test("a weight is treated as it is by then, beside the weight as it was given", async () => {
  const [twice, both] = treatments(
    `${loop("let v[n, k] = 2.0 * w[n, k]\n store w as v")}\n${loop("let v[n, k] = w[n, k] + 10.0 * w.dense[n, k]\n store w as v")}`,
  );
  await treating(async (treat, working) => {
    const given = await model.floats(k.weight);
    const [first] = await treat([{ linear: k, treatment: twice! }], null);
    close(first!.relativeError, 1);
    const [second] = await treat([{ linear: k, treatment: both! }], null);
    close(second!.relativeError, 11);
    assert.ok(second!.seconds > first!.seconds, "of all treatments");
    assert.equal(
      await values(working, k),
      given.map((value) => Math.fround(2 * value + Math.fround(10 * value))),
    );
    working.restore(k.weight);
    const [again] = await treat([{ linear: k, treatment: both! }], null);
    close(again!.relativeError, 10);
  });
});

test("errors are those of the weight and of what it does to inputs whose X^T X is given", async () => {
  const [half] = treatments(loop("let v[n, k] = select(k < 64, 0.0, w[n, k])\n store w as v"));
  const given = await model.floats(k.weight);
  const squares = (from: number, to: number, factor: (column: number) => number): number =>
    given.reduce((sum, value, at) => {
      const column = at % k.inputs;
      return column >= from && column < to ? sum + factor(column) * value * value : sum;
    }, 0);
  const factor = (column: number): number => 1 + (column % 3);
  const gram = await caller.executor.fill(
    "f32",
    [k.inputs, k.inputs],
    Float32Array.from({ length: k.inputs ** 2 }, (_, at) => (at % (k.inputs + 1) === 0 ? factor(at % k.inputs) : 0)),
  );
  const asked: string[] = [];
  const seen: Seen = {
    windows: 2,
    tokens: 32,
    statistics: new Map(),
    gram: (input) => {
      asked.push(input);
      return gram;
    },
  };
  await treating(async (treat) => {
    const [known] = await treat([{ linear: k, treatment: half! }], seen);
    close(known!.relativeError, Math.sqrt(squares(0, 64, () => 1) / squares(0, k.inputs, () => 1)), "weight error");
    close(known!.layerError, Math.sqrt(squares(0, 64, factor) / squares(0, k.inputs, factor)), "layer error");
    const [unknown] = await treat([{ linear: k, treatment: half! }], { ...seen, gram: () => null });
    assert.is(unknown!.layerError, null);
    assert.equal(asked, ["wq"]);
    caller.executor.release(gram);
  });
});

test("numbers of windows and tokens, and what was observed of the layer's own input, are given to it", async () => {
  const [counted] = treatments(
    inBlock("let v[n, k] = windows(text) + 1000.0 * tokens(text) + x2[w][k] + 0.0 * w[n, k]\n store w as v"),
    "let x2 = observe block on text by feature_squares",
  );
  const down = layer("layers.0.mlp.down_proj");
  const ramp = async (length: number, from: number) =>
    caller.executor.fill(
      "f32",
      [length],
      Float32Array.from({ length }, (_, at) => from + at),
    );
  const statistics = new Map([
    [
      0,
      new Map([
        ["wq", await ramp(256, 0.25)],
        ["down", await ramp(768, 0.5)],
      ] as const),
    ],
  ]);
  await treating(async (treat, working) => {
    await treat(
      [k, down].map((linear) => ({ linear, treatment: counted! })),
      { windows: 3, tokens: 7, statistics, gram: () => null },
    );
    for (const [linear, from] of [
      [k, 0.25],
      [down, 0.5],
    ] as const) {
      const found = await values(working, linear);
      assert.ok(
        found.every((value, at) => value === 7003 + from + (at % linear.inputs)),
        linear.name,
      );
    }
    for (const tensor of statistics.get(0)!.values()) caller.executor.release(tensor);
  });
});

test("what is recorded is what is stored: its format, its pattern, its bytes, in the order of the layers", async () => {
  const v = layer("layers.1.self_attn.v_proj");
  const records = async (body: string): Promise<readonly WeightRecord[]> => {
    const found: WeightRecord[] = [];
    await treating(async (treat) => {
      const reported: (readonly [string, number])[] = [];
      found.push(
        ...(await treat(
          [v, k].map((linear) => ({ linear, treatment: treatments(loop(body))[0]! })),
          null,
          [],
          (record, at) => reported.push([record.name, at]),
        )),
      );
      assert.equal(reported, [
        [v.weight, 0],
        [k.weight, 1],
      ]);
    });
    return found;
  };
  const one = async (body: string): Promise<readonly unknown[]> => {
    const [first, second] = await records(body);
    assert.equal([first!.name, second!.name, first!.shape], [v.weight, k.weight, [v.outputs, v.inputs]]);
    return [first!.format.name, first!.pattern, first!.bytes];
  };
  const elements = v.outputs * v.inputs;
  const full = { kind: "full" };
  assert.equal(await one("store w as w"), ["f32", full, 4 * elements]);
  assert.equal(await one("store w as pack w as bf16"), ["bf16", full, 2 * elements]);
  assert.equal(await one("store w as pack w as int4(channel) with scale int4_channel_scale(w)"), [
    "int4",
    full,
    elements / 2 + 2 * v.outputs,
  ]);
  assert.equal(await one("store w as pack w where mask_2of4(magnitude(w)) as nm(2, 4) of f16"), [
    "nm",
    { kind: "nm", n: 2, m: 4, axis: 1 },
    (9 * elements) / 8,
  ]);
  // packed on the host
  assert.equal(await one("store w as pack w as q8_0"), ["q8_0", full, (34 * elements) / 32]);
  const kept = "let kept = w where top 128 of 256 along k in magnitude(w)\n store w as ";
  assert.equal((await one(`${kept}pack kept as bitmask of f16`)).slice(0, 2), ["bitmask", { kind: "masked" }]);
});

test("a bitmask has room for what is kept, in steps of a thousandth, and holds it", async () => {
  // more zeros than a format of the whole tensor has steps for
  const [kept] = treatments(
    loop(
      "let v[n, k] = select(n == 3 and k < 5, 1.0 + f32(k), 0.0 * w[n, k])\n store w as pack v where row_mask(magnitude(v), 5) as bitmask of f16",
    ),
  );
  await treating(async (treat, working) => {
    const [record] = await treat([{ linear: k, treatment: kept! }], null);
    const step = (k.outputs * k.inputs) / 1024;
    assert.is(record!.format.args["nonzeros"], step, "five, rounded up to a step");
    const found = await values(working, k);
    assert.equal(
      [...found].flatMap((value, at) => (value === 0 ? [] : [[at, value]])),
      [1, 2, 3, 4, 5].map((value, at) => [3 * k.inputs + at, value]),
    );
  });
});

test("what is not finite is refused by the layer's name, and nothing stays on the device", async () => {
  for (const body of [
    "let v[n, k] = w[n, k] / (w[n, k] - w[n, k])\n store w as v",
    // one value, which its code and its scale do not show
    "let v[n, k] = select(n == 5 and k == 6, 1.0 / (w[n, k] - w[n, k]), w[n, k])\n store w as pack v as int8(channel) with scale int8_channel_scale(w)",
    "let v[n, k] = select(n == 5 and k == 6, sqrt(w[n, k] - w[n, k] - 1.0), w[n, k])\n store w as pack v where mask_2of4(magnitude(w)) as nm(2, 4) of int4(64) with scale int4_scale(w, 64)",
  ])
    await treating(async (treat, working) => {
      const error = await treat([{ linear: k, treatment: treatments(loop(body))[0]! }], null).then(
        () => null,
        (thrown: unknown) => thrown,
      );
      assert.ok(error instanceof LlamaError && error.code === "not-finite", `${body}: ${String(error)}`);
      assert.match(error instanceof Error ? error.message : "", /layers\.0\.self_attn\.k_proj/);
      assert.is(working.treated.size, 0);
    });
});

/** A model of which only the shapes of its layers are given. */
function shapes(layers: Readonly<Record<string, readonly [number, number]>>): Model {
  const linears = Object.entries(layers).map(([name, [outputs, inputs]], at) => ({
    name: `model.layers.${at}.mlp.${name}`,
    weight: `model.layers.${at}.mlp.${name}.weight`,
    block: at,
    outputs,
    inputs,
  }));
  return { linears } as unknown as Model;
}

test("before anything is read a recipe is held to the shapes that its treatments will meet", () => {
  const check = (body: string, layers: Parameters<typeof shapes>[0]): readonly string[] =>
    checkRecipe(
      { target: baselineTarget },
      shapes(layers),
      writtenRecipe(`use quantize\nrecipe r(model: llama) {\n${body}\n}\n`).recipe,
    ).notes;
  const q6 = "store w as pack w as q6_k";
  assert.equal(check(loop(q6), { up_proj: [4, 256], down_proj: [256, 512] }), []);
  assert.throws(
    () => check(loop(q6), { up_proj: [4, 256], down_proj: [256, 96] }),
    (error: unknown) =>
      error instanceof CompileError &&
      error.diagnostics.length === 1 &&
      error.diagnostics.every(
        ({ code, message, labels, notes }) =>
          code === "E407" &&
          message ===
            "`w`, of shape [256, 96], cannot be stored as `q6_k`: K = 96 is not a multiple of the block of 256" &&
          labels.length === 1 &&
          notes.join() === "for model.layers.1.mlp.down_proj, N = 256, K = 96",
      ),
  );
  // what is not treated may have any shape
  assert.equal(
    check(`for w in model.linears except "down_proj" {\n${q6}\n}`, { up_proj: [4, 256], down_proj: [256, 96] }),
    [],
  );
  assert.throws(
    () =>
      check(loop("store w as pack w as int8(64) with scale int8_scale(w, 64)"), {
        up_proj: [4, 64],
        down_proj: [3, 96],
      }),
    (error: unknown) =>
      error instanceof CompileError &&
      error.diagnostics.some(({ notes }) => notes.includes("for model.layers.1.mlp.down_proj, N = 3, K = 96")),
  );
});

test("all that does not fit is reported, each once, with the parameter that it is of and what would fit", () => {
  const source = `use quantize
recipe r(model: llama, group = 96) {
  for w in model.linears matching "*.up_prj" { store w as pack w as q8_0 }
  for w in model.linears matching "up_proj|down_proj" { store w as pack w as q8_0 }
  for w in model.linears { store w as pack w as int4(group) with scale int4_scale(w, group) }
  for w in model.linears { store w as pack w as q6_k }
}
`;
  const layers = shapes({ up_proj: [4, 128], gate_proj: [8, 128], down_proj: [4, 192] });
  try {
    checkRecipe({ target: baselineTarget }, layers, writtenRecipe(source).recipe);
    assert.unreachable();
  } catch (error) {
    assert.instance(error, CompileError);
    assert.equal(
      (error as CompileError).diagnostics.map(({ code, notes, help }) => [code, notes.at(-1), help]),
      [
        [
          "E605",
          "the layers have names such as model.layers.0.mlp.up_proj, and end in up_proj, gate_proj, down_proj",
          'did you mean `"*.up_proj"`?',
        ],
        [
          "E605",
          "the layers have names such as model.layers.0.mlp.up_proj, and end in up_proj, gate_proj, down_proj",
          'several patterns stand with `,` between: `matching "up_proj", "down_proj"`',
        ],
        [
          "E404",
          "for model.layers.0.mlp.up_proj, N = 4, K = 128, and 1 more layer",
          "`group` is 96, and 16, 32 and 64 fit: write `group = 64`, or give `--set group=64`",
        ],
        ["E407", "for model.layers.0.mlp.up_proj, N = 4, K = 128, and 2 more layers", null],
      ],
    );
  }
});

test("what the compiler has to say of a treatment is said once, whatever the number of layers", () => {
  const { recipe } = writtenRecipe(`fn mixed(w0: f32[N, K]) -> f32[N, K] {
  var w = w0
  scan k in 0 .. K {
    let middle = mean[n] w[n, k]
    w[n, k] = w[n, k] - 0.5 * middle for n in 0 .. N
  }
  return w
}
recipe r(model: llama) {
  for w in model.linears {
    store w as mixed(w)
  }
}
`);
  const { notes } = checkRecipe({ target: baselineTarget }, shapes({ a: [4, 8], b: [4, 8], c: [8, 4] }), recipe);
  assert.is(notes.length, 1, notes.join("\n"));
  assert.match(notes[0] ?? "", /^the scan over k in mixed \(test\.esp\) runs column by column/);
});

test.run();
