/** Loops of recipes over embedding, head, norms and biases. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printRecipe } from "../../compiler/recipe/print.js";
import { verifyRecipe } from "../../compiler/recipe/verify.js";
import { checked, codes } from "./support.js";

const test = suite("loops over tensors");

const head = "recipe r(model: llama, text: tokens) {\n";
const int8 = "store w as pack w as bf16";
const double = "let y[k] = 2.0 * g[k] store g as y";

test("tables have two axes, norms and biases one", () => {
  const recipe = checked(
    `${head}for w in model.tables matching "lm_head" { ${int8} }
    for block in model.blocks { for g in block.norms { ${double} } for g in block.biases { ${double} } }
    for g in model.norms { let y[k] = g[k] / f32(g.columns) store g as y }
    for w in model.embedding { ${int8} } for w in model.head { ${int8} }\n}`,
  ).recipes.get("r")!;
  assert.equal(verifyRecipe(recipe), []);
  assert.match(printRecipe(recipe), /for each tensor of tables matching "lm_head"/);
  const kinds = recipe.steps.map((step) =>
    step.kind === "blocks" ? step.body.map((inner) => "of" in inner && inner.of) : "of" in step && step.of,
  );
  assert.equal(kinds, ["tables", ["norms", "biases"], "norms", "embedding", "head"]);
});

const mistakes: { readonly [body: string]: readonly string[] } = {
  "for g in model.norms { let y[n, k] = 2.0 * g[n, k] store g as y }": ["E303"],
  "for g in model.norms { store g as pack g as f16 }": ["E604"],
  "for g in model.norms { measure m = max[k] g[k] }": ["E602"],
  "for g in model.norms { store g as g.packed }": ["E207"],
  "for w in model.tables { let y[n, k] = w[n, k] * w.number store w as y }": ["E305"],
  "for w in model.table { store w as w }": ["E207"],
  "for block in model.blocks { for g in model.norms { store g as g } }": ["E602"],
  "for block in model.blocks { for w in model.embedding { store w as w } }": ["E602"],
  "for block in model.blocks { for w in block.head { store w as w } }": ["E207"],
  "for block in model.blocks { let x = observe block on text by s for g in block.norms { let y[k] = x[g][k] store g as y } }":
    ["E602"],
  "train model on text by e(rate: 1e-3, steps: 2) { for g in model.norms { store g as g } }": ["E602"],
  [`for g in model.norms { ${double} } for w in model.linears matching "down_proj" { retain 0.5 of w by s(w) }`]: [
    "E620",
  ],
  [`for block in model.blocks { for g in block.norms { ${double} } for w in block.linears matching "down_proj" { retain 0.5 of w by s(w) } }`]:
    ["E620"],
};

for (const [body, expected] of Object.entries(mistakes))
  test(body, () => {
    const found = codes(
      `${head}${body}\n}\nfn s(x: E[T, K]) -> f32[K] { return y where y[k] = sum[t] f32(x[t, k]) }
      fn e(logits: f32[T, V], dense: f32[T, V]) -> f32[T] { return y where y[t] = mean[v] (logits[t, v] - dense[t, v])^2 }`,
    );
    assert.equal(found, expected);
  });

test.run();
