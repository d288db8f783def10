/** Recipes that train: what is made of a `train`, and where the word is a name. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Recipe, TrainStep } from "../../compiler/recipe/recipe.js";
import { printRecipe } from "../../compiler/recipe/print.js";
import { verifyRecipe } from "../../compiler/recipe/verify.js";
import { parse } from "../../compiler/syntax/parse.js";
import { print } from "../../compiler/syntax/print.js";
import { checked, checkText, codes } from "./support.js";

const test = suite("trainings");

const losses = `
fn near(y: E[T, D], target: E[T, D]) -> f32[T] { return e where e[t] = mean[d] (f32(y[t, d]) - f32(target[t, d]))^2 }
fn ahead(logits: f32[P, Q], next: i32[P]) -> f32[P] { return e where e[p] = -logits[p, next[p]] }
fn both(logits: f32[T, V], next: i32[T], dense: f32[T, V]) -> f32[T] { return e where e[t] = logits[t, next[t]] - dense[t, next[t]] }
`;

function recipeOf(body: string, set: Record<string, string> = {}): Recipe {
  const source = `${losses}recipe r(model: llama, text: tokens, steps = 12, rate = 1e-3, deep = true) {\n${body}\n}`;
  const recipe = checked(source, { set }).recipes.get("r");
  if (recipe === undefined) throw new Error("no recipe");
  return recipe;
}

function trainIn(recipe: Recipe): TrainStep {
  const found = recipe.steps
    .flatMap((step) => (step.kind === "blocks" ? step.body : [step]))
    .find((step) => step.kind === "train");
  if (found === undefined) throw new Error("no training");
  return found;
}

const loop = `for w in model.linears {
  let keep = top 2 of 4 along k in w.start
  store w as pack w where keep as nm(2, 4) of f16
}`;

test("a training has all its settings, of parameters and defaults", () => {
  const recipe = recipeOf(
    `train model on text by ahead(steps: 2 * steps, rate: rate, norms: not deep, seed: 7) {\n${loop}\n}`,
    { steps: "20" },
  );
  assert.is(recipe.needsText, true);
  assert.equal(verifyRecipe(recipe), []);
  const step = trainIn(recipe);
  assert.is(step.scope, "model");
  assert.is(step.function, "ahead");
  assert.equal(step.settings, {
    steps: 40,
    epochs: null,
    rate: 1e-3,
    warmup: 0,
    batch: 8,
    clip: 1,
    beta1: 0.9,
    beta2: 0.95,
    epsilon: 1e-8,
    decay: 0,
    final: 0,
    seed: 7,
    norms: false,
    held_out: 0.05,
    watch: 50,
    dense_inputs: false,
  });
});

test("within, `w` is the weight that is trained, and `w.start` another input", () => {
  const step = trainIn(recipeOf(`train model on text by both(steps: steps, rate: rate) {\n${loop}\n}`));
  const [layers, ...more] = step.layers;
  assert.equal(more, []);
  assert.equal(layers?.treatments[0]?.inputs, [
    { name: "w_start", kind: "start" },
    { name: "w", kind: "weight" },
  ]);
  const stored = layers?.treatments[0];
  const value = stored?.graph.values[stored.graph.outputs[0]?.value ?? -1];
  assert.equal(value?.type.pattern.kind, "nm", "the pattern is proved");
});

test("a block is trained in its loop, with several loops over its layers, and branches", () => {
  const recipe = recipeOf(`for block in model.blocks {
    train block on text by near(epochs: 0.5, rate: rate, dense_inputs: true) {
      let few = 2 * steps
      for w in block.linears matching "*.mlp.*" { store w as pack w as f16 }
      if deep and few > 3 {
        for w in block.linears except "*.mlp.*" {
          if w matches "q_proj" { store w as pack w as bf16 } else { store w as pack w as f16 }
        }
      }
    }
  }`);
  assert.equal(verifyRecipe(recipe), []);
  const step = trainIn(recipe);
  assert.is(step.scope, "block");
  assert.equal([step.settings.steps, step.settings.epochs, step.settings.dense_inputs], [null, 0.5, true]);
  assert.equal(
    step.layers.map(({ treatments }) => treatments.length),
    [1, 2],
  );
  assert.match(printRecipe(recipe), /train the block by near\(epochs = 0\.5, rate = 0\.001, .*dense_inputs = true\)/);
});

test("a recipe whose training was taken apart is refused", () => {
  const recipe = recipeOf(`train model on text by ahead(steps: steps, rate: rate) {\n${loop}\n}`);
  const step = trainIn(recipe);
  const faults = (changed: Partial<TrainStep>): string =>
    verifyRecipe({ ...recipe, steps: [{ ...step, ...changed }] }).join("; ");
  assert.match(faults({ scope: "block" }), /at another place/);
  assert.match(faults({ layers: [] }), /trains no layer/);
  assert.match(faults({ settings: { ...step.settings, epochs: 2 } }), /steps and epochs/);
  assert.match(verifyRecipe({ ...recipe, steps: step.layers }).join("; "), /as a training began, and there is none/);
});

test("blocks have a loss of their own beside the model's, with its weight", () => {
  const head = "train model on text by both(steps: steps, rate: rate)";
  const recipe = recipeOf(`${head} and near(weight: 2 * 0.25) {\n${loop}\n}`);
  assert.equal(verifyRecipe(recipe), []);
  const { beside } = trainIn(recipe);
  assert.equal([beside?.function, beside?.weight], ["near", 0.5]);
  assert.match(printRecipe(recipe), /train the model by both\(.*\) and near\(weight = 0\.5\)/);
  const found = (text: string): readonly string[] => [
    ...new Set(codes(`${losses}recipe r(model: llama, text: tokens, steps = 12, rate = 1e-3) {\n${text}\n}`)),
  ];
  for (const [beside, code] of [
    ["near", "E611"],
    ["near(weight: 0)", "E611"],
    ["near(weight: -1)", "E611"],
    ["near(weight: true)", "E611"],
    ["near(rate: 1)", "E611"],
    ["near(weight: 1, weight: 2)", "E611"],
    // what is asked of a block is of what a block gives
    ["ahead(weight: 1)", "E612"],
    ["nowhere(weight: 1)", "E202"],
    ["(weight: 1)", "E110"],
  ] as const)
    assert.equal(found(`${head} and ${beside} {\n${loop}\n}`), [code], beside);
  const block = "for block in model.blocks { train block on text by near(steps: 1, rate: rate) and near(weight: 1) {";
  assert.equal(found(`${block}\n${loop.replace("model", "block")}\n} }`), ["E611"]);
});

test("a loss of another form is refused", () => {
  const refused = (loss: string, by: string): readonly string[] =>
    codes(
      `${loss}\nrecipe r(model: llama, text: tokens) { train model on text by ${by}(steps: 1, rate: 1) { for w in model.linears { store w as w } } }`,
    );
  const returns = "{ return e where e[t] = logits[t, 0] }";
  for (const loss of [
    `fn f(logits: f32[T, V], dense: f32[T, V], more: f32[T, V]) -> f32[T] ${returns}`,
    `fn f(logits: E[T, V], next: i32[T]) -> f32[T] { return e where e[t] = f32(logits[t, 0]) }`,
    `fn f(logits: f32[T, V], dense: f32[V, T]) -> f32[T] ${returns}`,
    `fn f(logits: f32[T, V], next: i32[V]) -> f32[T] ${returns}`,
    `fn f(logits: f32[T, V], next: i32[T], group: size = 4) -> f32[T] ${returns}`,
    `fn f(logits: f32[T, V], next: i32[T]) -> f32[V] { return e where e[v] = logits[0, v] }`,
    `fn f(logits: f32[T, T], next: i32[T]) -> f32[T] ${returns}`,
    `fn f(var logits: f32[T, V], next: i32[T]) -> f32[T] { logits[t, v] = 0.0  return e where e[t] = logits[t, 0] }`,
  ])
    assert.equal([...new Set(refused(loss, "f"))], ["E612"], loss);
});

test("a head that does not fit one line has its settings a line each", () => {
  const source = `recipe r(model: llama, text: tokens) {
  train model on text by f(steps: 500, rate: 3e-4, warmup: 50, batch: 32, clip: 1.0, beta1: 0.9, beta2: 0.99, final: 0.1) { // long
    for w in model.linears {
      store w as w
    }
    // nothing more
  }
}
`;
  const printed = print(parse(source, "main.esp").value!);
  assert.match(printed, /by f\(\n {4}steps: 500,\n {4}rate: 3e-4,\n[^{]*final: 0\.1\n {2}\) \{/);
  assert.is(print(parse(printed, "main.esp").value!), printed);
  assert.ok(printed.includes("// long") && printed.includes("// nothing more"));
});

test("a parameter begins as what does not change, is trained in place of w, and is for trainings", () => {
  const body = (text: string): string => `train model on text by ahead(steps: 2, rate: 1e-3) {
  for w in model.linears {
    ${text}
  }
}`;
  const recipe = recipeOf(
    body(`let gain[n, g] = w.start[n, 4 * g] + w.number for n in 0 .. w.rows, g in 0 .. w.columns / 4
    let more = parameter(gain)
    let scaled[n, k] = w.dense[n, k] * more[n, k / 4] * w.step / w.steps
    store w as pack scaled as f16`),
  );
  assert.equal(verifyRecipe(recipe), []);
  const [treatment] = trainIn(recipe).layers[0]?.treatments ?? [];
  assert.equal(treatment?.inputs.map(({ kind }) => kind).sort(), ["clock", "original", "parameter"]);
  const parameter = treatment?.inputs.find((input) => input.kind === "parameter");
  assert.equal(parameter?.start.inputs.map(({ kind }) => kind).sort(), ["number", "start"]);
  const found = (text: string): readonly string[] =>
    codes(`${losses}recipe r(model: llama, text: tokens) {\n${body(text)}\n}`);
  assert.equal(found("let p = parameter(w)\n store w as pack p as f16"), ["E605"]);
  assert.equal(
    found("let keep[n, k] = w.start[n, k] > 0.0\n let p = parameter(keep)\n store w as pack w where p as f16"),
    ["E605"],
  );
  assert.equal(found("let p = parameter(w.start, w.start)\n store w as pack p as f16"), ["E303"]);
  assert.equal(found("let p = parameter(w.start)\n let q[n, k] = round(p[n, k])\n store w as pack q as f16"), ["E701"]);
  // what only scales are made of is told how they are learned
  const scales =
    "let p = parameter(w.start)\n let s[n, g] = p[n, 32 * g] for n in 0 .. w.rows, g in 0 .. w.columns / 32\n store w as pack w as int4(32) with scale s";
  const { diagnostics } = checkText(`${losses}recipe r(model: llama, text: tokens) {\n${body(scales)}\n}`);
  assert.ok(
    diagnostics.some(({ code, help }) => code === "E701" && /learned_grid/.test(help ?? "")),
    JSON.stringify(diagnostics),
  );
  const outside = (text: string): readonly string[] =>
    codes(`recipe r(model: llama) {\n for w in model.linears {\n ${text}\n }\n}`);
  assert.equal(outside("store w as pack parameter(w) as f16"), ["E602"]);
  assert.equal(outside("let s[n, k] = w[n, k] * w.step\n store w as pack s as f16"), ["E305"]);
  assert.equal(outside("let s[n, k] = w[n, k] * w.number\n store w as pack s as f16"), []);
});

test.run();
