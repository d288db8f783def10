import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printRecipe } from "../../compiler/recipe/print.js";
import { verifyRecipe } from "../../compiler/recipe/verify.js";
import { checked, codes } from "./support.js";

const test = suite("channels that change places");

const functions = `
fn turn(score: f32[N, C], order: i32[C], round: i32) -> i32[C] {
  return y where y[k] = select(round == 0 and score[0, 0] > 0.0, order[C - 1 - k], order[k]) for k in 0 .. C
}
fn size(w: f32[N, K]) -> f32[N, K] { return y where y[n, k] = abs(w[n, k]) }
fn squares(x: f32[T, K]) -> f32[K] { return y where y[k] = sum[t] x[t, k]^2 }
`;
const recipe = (body: string): string => `recipe r(model: llama, text: tokens, rounds = 4) {\n${body}\n}\n${functions}`;
const moved = "for w in model.linears { permute w on size(w) by turn(rounds: rounds) }\n";

test("a permutation has a score of its own, its function, and how often that is called", () => {
  const found = checked(recipe(`${moved}for w in model.linears { store w as pack w as f16 }`)).recipes.get("r")!;
  assert.equal(verifyRecipe(found), []);
  assert.match(printRecipe(found), /always: permute by turn\(rounds = 4\), given w = weight/);
  const [step] = found.steps;
  assert.ok(step?.kind === "linears");
  assert.equal(
    step.treatments.map(({ stores, permutes }) => [stores, permutes?.rounds]),
    [[null, 4]],
  );
});

const mistakes: { readonly [body: string]: readonly string[] } = {
  "for w in model.tables { permute w on size(w) by turn(rounds: 4) }": ["E602"],
  // before anything is stored, in a loop of its own
  [`for w in model.linears { store w as pack w as f16 }\n${moved}`]: ["E602"],
  "for w in model.linears { permute w on size(w) by turn(rounds: 4) store w as pack w as f16 }": ["E602"],
  // nor after scales and columns that go
  [`for block in model.blocks { for w in block.inputs { let s[k] = max[n] abs(w[n, k]) scale w by s } }\n${moved}`]: [
    "E602",
  ],
  [`for w in model.linears matching "down_proj" { let s[k] = sum[n] abs(w[n, k]) retain 0.5 of w by s }\n${moved}`]: [
    "E602",
  ],
  "permute model on 1.0 by turn(rounds: 4)": ["E602"],
  "for w in model.linears { permute w on size(w) by turn(rounds: 4) permute w on size(w) by turn(rounds: 4) }": [
    "E604",
  ],
  "for w in model.linears { permute model on size(w) by turn(rounds: 4) }": ["E604"],
  // of the weight's shape
  "for w in model.linears { let s[n] = sum[k] w[n, k] permute w on s by turn(rounds: 4) }": ["E604"],
  "for w in model.linears { permute w on size(w) by turn }": ["E615"],
  "for w in model.linears { permute w on size(w) by turn(rounds: 0) }": ["E615"],
  "for w in model.linears { permute w on size(w) by turn(rounds: 1.5) }": ["E615"],
  "for w in model.linears { permute w on size(w) by turn(times: 4) }": ["E615"],
  "for w in model.linears { permute w on size(w) by size(rounds: 4) }": ["E615"],
  // what was observed before is of the order before
  "for block in model.blocks { let x2 = observe block on text by squares\nfor w in block.linears { permute w on size(w) by turn(rounds: 4) }\nfor w in block.linears { let s[n, k] = w[n, k] * x2[w][k] store w as pack s as f16 } }":
    ["E602"],
};

for (const [body, expected] of Object.entries(mistakes))
  test(body, () => assert.equal([...new Set(codes(recipe(body)))], expected));

test.run();
