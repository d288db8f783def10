/** Where an update may write over its base, and where a copy must be made of it before. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { insertCopies } from "../../../compiler/graph/passes/copies.js";
import { evaluate } from "../../../compiler/graph/evaluate.js";
import { programCase } from "../../lower/language.js";

const test = suite("copies");

/** The values that copies are made of in a function of x: f32[N] and a var s: f32[N]; results stay. */
function copied(body: string): readonly string[] {
  const { graph, inputs } = programCase(`fn main(x: f32[N], var s: f32[N]) -> f32[N] {\n${body}\n}`, { N: 5 }, "exact");
  const after = insertCopies(graph);
  assert.equal(
    [...evaluate(after, inputs)].map(([name, { data }]) => [name, [...data]]),
    [...evaluate(graph, inputs)].map(([name, { data }]) => [name, [...data]]),
  );
  return after.values.slice(graph.values.length).map(({ name }) => name);
}

test("a value of its own that nothing reads afterwards is written over", () => {
  assert.equal(copied("s[n] = 1.0 for n in 0 .. 2\n return y where y[n] = s[n] + x[n]"), []);
});

test("one that is read afterwards is not, nor is an input that is another's", () => {
  const own = "let a[n] = 2.0 * x[n]\n var y = a\n y[n] = 1.0 for n in 0 .. 2\n";
  assert.equal(copied(`${own} return y`), []);
  assert.equal(copied(`${own} return z where z[n] = y[n] + a[n]`), ["a_copy"]);
  assert.equal(copied("var y = x\n y[n] = 1.0 for n in 0 .. 2\n return y"), ["x_copy"]);
});

test("nor is one that the update reads elsewhere than where it writes", () => {
  assert.equal(copied("s[n] = 2.0 * s[n] for n in 0 .. 2\n return y where y[n] = s[n] + x[n]"), []);
  assert.equal(copied("s[n] = s[n + 1] for n in 0 .. 2\n return y where y[n] = s[n] + x[n]").length, 2);
});

test.run();
