import { suite } from "uvu";
import * as assert from "uvu/assert";
import { verifyRecipe } from "../../compiler/recipe/verify.js";
import { checkText, checked, messages } from "./support.js";

const test = suite("what is wrong with a train");

const losses = `fn apart(y: E[T, D], target: E[T, D]) -> f32[T] {
  return e where e[t] = sum[d] (f32(y[t, d]) - f32(target[t, d]))^2
}
fn likelihood(z: f32[T, V], next: i32[T]) -> f32[T] {
  return e where e[t] = log(sum[v] exp(z[t, v])) - z[t, next[t]]
}
fn both(z: f32[T, V], dense: f32[T, V], next: i32[T]) -> f32[T] {
  return e where e[t] = (sum[v] (z[t, v] - dense[t, v])^2) - z[t, next[t]]
}
fn rounded(z: f32[T, V], next: i32[T]) -> f32[T] {
  return e where e[t] = round(z[t, next[t]])
}
fn largest(w: f32[N, K]) -> mask[N, K] is 2:4 along K where K % 4 == 0 {
  return top 2 of 4 along K in w
}
`;
const store = "for w in model.linears {\n      store w as pack w where largest(w.start) as nm(2, 4) of f16\n    }";
const recipe = (train: string, body = store): string =>
  `${losses}recipe r(model: llama, text: tokens, steps = 7, rate = 0.5) {\n  train ${train} {\n    ${body}\n  }\n}\n`;
const inBlock = (inside: string): string =>
  `${losses}recipe r(model: llama, text: tokens, steps = 7) {\n  for block in model.blocks {\n    ${inside}\n  }\n}\n`;
const storeBlock = store.replace("model", "block");

test("a training of the model has all settings, its loss and its layers", () => {
  const { recipes } = checked(
    recipe("model on text by likelihood(steps: steps, rate: 2 * rate / 4, norms: false, seed: 3)"),
  );
  const [found] = [...recipes.values()];
  assert.equal(verifyRecipe(found!), []);
  assert.ok(found!.needsText);
  const [step] = found!.steps;
  assert.is(step?.kind, "train");
  if (step?.kind !== "train") return;
  assert.is(step.scope, "model");
  assert.equal(step.settings, {
    ...{ steps: 7, epochs: null, rate: 0.25, warmup: 0, batch: 8, clip: 1, beta1: 0.9, beta2: 0.95, epsilon: 1e-8 },
    ...{ decay: 0, final: 0, seed: 3, norms: false, held_out: 0.05, watch: 50, dense_inputs: false },
  });
  assert.equal(
    step.layers.flatMap(({ treatments }) => treatments.flatMap(({ inputs }) => inputs.map(({ kind }) => kind))),
    ["weight", "start"],
  );
});

test("a training of a block stands in the loop over blocks", () => {
  const { recipes } = checked(
    inBlock(`train block on text by apart(epochs: 2, rate: 0.1, dense_inputs: true) {\n    ${storeBlock}\n    }`),
  );
  const [step] = [...recipes.values()][0]!.steps;
  const [inner] = step?.kind === "blocks" ? step.body : [];
  assert.ok(
    inner?.kind === "train" && inner.scope === "block" && inner.settings.dense_inputs && inner.settings.epochs === 2,
  );
});

const wrong: Readonly<Record<string, readonly [string, RegExp]>> = {
  "no length": [recipe("model on text by both(rate: 0.1)"), /how long is trained is not said/],
  "two lengths": [recipe("model on text by both(rate: 0.1, steps: 1, epochs: 1)"), /for so many epochs, not both/],
  "no rate": [recipe("model on text by both(steps: 1)"), /the learning rate is not said/],
  "a rate of nothing": [recipe("model on text by both(steps: 1, rate: 0.0)"), /`rate` is a number above 0/],
  "a negative rate": [recipe("model on text by both(steps: 1, rate: -0.1)"), /`rate` is a number above 0/],
  "a huge rate": [recipe("model on text by both(steps: 1, rate: 100.0)"), /`rate` is a number above 0, at most 1/],
  "half a step": [recipe("model on text by both(steps: 1.5, rate: 0.1)"), /`steps` is a whole number from 1/],
  "an unknown setting": [recipe("model on text by both(steps: 1, rate: 0.1, warm: 3)"), /no setting `warm`/],
  "a setting without a name": [recipe("model on text by both(600, rate: 0.1)"), /given by name/],
  "a setting twice": [recipe("model on text by both(steps: 1, steps: 2, rate: 0.1)"), /`steps` is set twice/],
  "a truth value for a number": [recipe("model on text by both(steps: true, rate: 0.1)"), /`steps` is a whole number/],
  "a number for a truth value": [
    recipe("model on text by both(steps: 1, rate: 0.1, norms: 1)"),
    /`norms` is `true` or `false`/,
  ],
  "a loss of a block": [recipe("model on text by apart(steps: 1, rate: 0.1)"), /`apart` is no loss of a model/],
  "a loss without a slope": [
    recipe("model on text by rounded(steps: 1, rate: 0.1)"),
    /depends on `z` only through `round`/,
  ],
  "no text": [recipe("model on model by both(steps: 1, rate: 0.1)"), /a training goes over a text/],
  "a text for a model": [recipe("text on text by both(steps: 1, rate: 0.1)"), /the model, or a block of it/],
  "nothing stored": [recipe("model on text by both(steps: 1, rate: 0.1)", ""), /this training stores nothing/],
  "a loop over blocks inside": [
    recipe("model on text by both(steps: 1, rate: 0.1)", `for block in model.blocks {\n      ${storeBlock}\n    }`),
    /takes all blocks at once/,
  ],
  "a training in a training": [
    recipe(
      "model on text by both(steps: 1, rate: 0.1)",
      `train model on text by both(steps: 1, rate: 0.1) {\n      ${store}\n    }`,
    ),
    /`train` cannot stand in a training/,
  ],
  "the model in a loop over blocks": [
    inBlock(`train model on text by both(steps: 1, rate: 0.1) {\n    ${storeBlock}\n    }`),
    /inside a loop over blocks the block is trained/,
  ],
  "what a layer began with, elsewhere": [inBlock(storeBlock), /a layer has no `start`/],
  "what it sees of the text": [
    recipe(
      "model on text by both(steps: 1, rate: 0.1)",
      "for w in model.linears {\n      let v[n, k] = w[n, k] / tokens(text)\n      store w as pack v where largest(v) as nm(2, 4) of f16\n    }",
    ),
    /`tokens\(text\)` is what was observed/,
  ],
  "no pattern": [
    recipe(
      "model on text by both(steps: 1, rate: 0.1)",
      "for w in model.linears {\n      store w as pack w as nm(2, 4) of f16\n    }",
    ),
    /nothing guarantees that/,
  ],
};

for (const [name, [source, message]] of Object.entries(wrong))
  test(`${name} is refused, once`, () => {
    const found = messages(source);
    assert.is(found.length, 1, found.join("\n"));
    assert.match(found[0] ?? "", message);
  });

test("a function has no step that trains", () => {
  const found = checkText("fn f(x: f32[N]) -> f32[N] {\n  train x on x by f(steps: 1) {\n  }\n  return x\n}\n");
  assert.equal(
    found.diagnostics.map(({ code }) => code),
    ["E602"],
  );
});

test.run();
