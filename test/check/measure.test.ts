import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printRecipe } from "../../compiler/recipe/print.js";
import { verifyRecipe } from "../../compiler/recipe/verify.js";
import { checked, codes } from "./support.js";

const test = suite("measures and choices");

const head = "recipe r(model: llama, text: tokens, part = 0.5) {\n";
const measured = "for w in model.linears { measure most = max[n, k] abs(w[n, k]) }\n";

test("a measure is a vector of all layers, and a number of the loop's own", () => {
  const recipe = checked(
    `${head}${measured}for w in model.linears {
      let mean_most = mean[l] most[l]
      if most[w] < part * mean_most { store w as pack w as f16 } else { store w as pack w as bf16 }
    }\n}`,
  ).recipes.get("r")!;
  assert.equal(verifyRecipe(recipe), []);
  const text = printRecipe(recipe);
  assert.match(text, /measure #0 most, given w = weight/);
  assert.match(text, /choose by most\[w\] < part \* mean_most, given most = measured #0, most_own = measured_here #0/);
  const [, loop] = recipe.steps;
  assert.ok(loop?.kind === "linears");
  assert.equal(
    loop.treatments.map(({ choices, stores, inputs }) => [choices.map(({ holds }) => holds), stores, inputs.length]),
    [
      [[true], "weight", 1],
      [[false], "weight", 1],
    ],
  );
});

test("loops count their layers apart", () => {
  const recipe = checked(
    `${head}${measured}for w in model.linears matching "k_proj" { measure least = min[n, k] abs(w[n, k]) }
    for w in model.linears matching "k_proj" { measure both = (max[l] least[l]) + (max[l] most[l]) + least[w] }
    for w in model.linears matching "k_proj" { store w as pack w where small(w, both[w]) as bitmask of f16 }\n}
    fn small(w: f32[N, K], least: f32) -> mask[N, K] { return m where m[n, k] = abs(w[n, k]) > least }`,
  ).recipes.get("r")!;
  assert.equal(verifyRecipe(recipe), []);
  const counts = recipe.steps.flatMap((step) =>
    step.kind === "linears"
      ? step.treatments.flatMap(({ measures }) => measures.map((each) => each.measure.count))
      : [],
  );
  assert.equal(counts, ["L", "L2", "L3"]);
});

const mistakes: { readonly [body: string]: readonly string[] } = {
  // of the loop itself
  "for w in model.linears { measure m = max[n, k] w[n, k] let y[n, k] = w[n, k] * m[w] store w as y }": ["E606"],
  // inside of the same blocks
  "for block in model.blocks { for w in block.linears { measure m = max[n, k] w[n, k] } for w in block.linears { let y[n, k] = w[n, k] * m[w] store w as y } }":
    ["E606"],
  "measure m = 1.0": ["E602"],
  "for w in model.linears { print max[n, k] abs(w[n, k]), f32(w.rows) }": [],
  'for w in model.linears { if w matches "k_proj" { print w[0, 0] } }': [],
  "for w in model.linears { print w }": ["E306"],
  "for w in model.linears { print w[0, 0] > 0.0 }": ["E301"],
  "for w in model.linears { print }": ["E110"],
  "for g in model.norms { print g[0] store g as g }": ["E602"],
  "print 1.0": ["E602"],
  "train model on text by e(rate: 1e-3, steps: 2) { for w in model.linears { measure m = w[0, 0] store w as w } }": [
    "E602",
  ],
  "train model on text by e(rate: 1e-3, steps: 2) { for w in model.linears { print w[0, 0] store w as w } }": ["E602"],
  "for w in model.linears { measure w = 1.0 }": [],
  "for w in model.linears { measure m = w }": ["E306"],
  "for w in model.linears { measure m = w[0, 0] > 0.0 }": ["E301"],
  "for w in model.linears { measure m = 1.0 } for w in model.linears { measure m = 2.0 }": ["E203"],
  "for w in model.linears { measure part = 1.0 }": ["E203"],
  'for w in model.linears { if w matches "k_proj" { measure m = 1.0 } }': ["E602"],
  "for w in model.linears { measure m = 1.0 } let y = m": ["E606"],
  "for w in model.linears { measure m = 1.0 } for w in model.linears { store w as pack w as int4(m[w]) with scale m }":
    ["E415"],
  "for w in model.linears { measure m = 1.0 } train model on text by e(rate: 1e-3, steps: 2) { for w in model.linears { let y[n, k] = w[n, k] * m[w] store w as y } }":
    ["E606"],
  "for w in model.linears { if w[0, 0] > 0.0 { if w[0, 1] > 0.0 { store w as w } } else { store w as pack w as f16 } }":
    [],
};

for (const [body, expected] of Object.entries(mistakes))
  test(body, () => {
    const found = codes(
      `${head}${body}\n}\nfn e(logits: f32[T, V], dense: f32[T, V]) -> f32[T] { return y where y[t] = mean[v] (logits[t, v] - dense[t, v])^2 }`,
    );
    assert.equal(found, expected);
  });

test("an expectation of numbers is decided by the checker", () => {
  const source = "for w in model.linears { store w as pack w as f16 } expect part > 0.25 + 0.25";
  assert.equal(codes(`${head}${source}\n}`), ["E607"]);
  assert.equal(codes(`${head}${source.replace("> 0.25", ">= 0.25")}\n}`), []);
});

test.run();
