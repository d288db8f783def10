import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluate, tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import { hoistShared, type Hoisting } from "../../../compiler/graph/passes/hoist.js";
import { verify } from "../../../compiler/graph/verify.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { graphOf } from "../../check/support.js";
import { numbers } from "../../support/packed.js";
import { projectFile } from "../../support/project.js";
import { close } from "../../support/tolerance.js";

const test = suite("split");
const sizes = { N: 5, K: 8 };
const solve = readFileSync(projectFile("stdlib/solve.esp"), "utf8");

/** `main` of a program, split by its input x2 and its number c, and by K. */
function splitOf(
  body: string,
  parameters = "w: f32[N, K], x2: f32[K, K], c: f32",
): { readonly whole: SymbolicGraph; readonly split: Hoisting | null } {
  const main = `use solve\n\nfn main(${parameters}) -> f32[N, K] {\n${body
    .split("\n")
    .map((line) => `  ${line}\n`)
    .join("")}}\n`;
  const whole = graphOf({ "main.esp": main, "stdlib/solve.esp": solve }, "main");
  return { whole, split: hoistShared(whole, { inputs: new Set(["x2", "c"]), sizes: new Set(["K"]) }) };
}

/** x2 is symmetric and positive definite. */
function inputs(): Map<string, TensorValue> {
  const x = numbers(2 * sizes.K * sizes.K, 3);
  const x2 = Array.from({ length: sizes.K ** 2 }, (_, at) => {
    const [i, j] = [Math.floor(at / sizes.K), at % sizes.K];
    return Array.from({ length: 2 * sizes.K }, (_each, t) => x[t * sizes.K + i]! * x[t * sizes.K + j]!).reduce(
      (a, b) => a + b,
    );
  });
  return new Map([
    ["w", tensorValue("f32", [sizes.N, sizes.K], numbers(elementCount([sizes.N, sizes.K]), 1))],
    ["x2", tensorValue("f32", [sizes.K, sizes.K], x2)],
    ["c", tensorValue("f32", [], [0.25])],
  ]);
}

/** The results of a graph at the sizes; it is given no size that it does not have. */
function run(graph: SymbolicGraph, given: ReadonlyMap<string, TensorValue>): ReadonlyMap<string, TensorValue> {
  const bound = specialize(
    graph,
    {
      sizes: new Map(Object.entries(sizes).filter(([name]) => graph.parameters.sizes.includes(name))),
      dtypes: new Map(),
      formats: new Map(),
    },
    { f16: false },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("\n"));
  return evaluate(bound.graph, new Map(graph.inputs.map(({ name }) => [name, given.get(name)!])));
}

/** What crosses, after the two parts gave together what the whole gives, bit for bit. */
function crossing(body: string): readonly string[] | null {
  const { whole, split } = splitOf(body);
  if (split === null) return null;
  const { shared, rest } = split;
  for (const graph of [shared, rest]) assert.equal(verify(graph), [], printGraph(graph));
  assert.not.ok(shared.parameters.sizes.includes("N"));
  const results = run(shared, inputs());
  const expected = run(whole, inputs()).values().next().value as TensorValue;
  const actual = run(rest, new Map([...inputs(), ...results]))
    .values()
    .next().value as TensorValue;
  close(actual.data, expected.data, "exact", printGraph(rest));
  return shared.outputs.map(({ name }) => name);
}

const last = "return y where y[n, j] = sum[k] w[n, k] * u[k, j]";

test("a factor is shared, the elementwise values around it are computed where they are needed", () => {
  assert.equal(
    crossing(
      `let h = damped(hessian(x2, c), 0.1)\nlet u = inverse_factor(h)\nreturn y where y[n, j] = sum[k] w[n, k] * u[k, j] + h[n % K, j]`,
    ),
    ["u"],
  );
  const { split } = splitOf(`let h = damped(hessian(x2, c), 0.1)\nlet u = inverse_factor(h)\n${last}`);
  assert.equal(
    split!.rest.inputs.map(({ name }) => name),
    ["w", "u"],
    "nothing else of the statistics is needed",
  );
  assert.equal(split!.rest.eqns.length, 1);
});

test("of several values that follow from one, the one crosses", () => {
  assert.equal(
    crossing(
      "let l = cholesky(x2)\nlet a[i, j] = l[i, j] + c\nlet b[i, j] = l[j, i] * c\nreturn y where y[n, j] = sum[k] w[n, k] * (a[k, j] + b[k, j])",
    ),
    ["l"],
  );
  assert.equal(
    crossing("let l = cholesky(x2)\nlet d[k] = l[k, k]\nreturn y where y[n, k] = w[n, k] * d[k]"),
    ["d"],
    "a row instead of the matrix that it is of",
  );
  assert.equal(
    crossing(
      "let l = cholesky(x2)\nlet d[k] = l[k, k]\nlet o[i, j] = d[i] * d[j]\nreturn y where y[n, j] = sum[k] w[n, k] * o[k, j]",
    ),
    ["d"],
    "a matrix is made again of a row",
  );
  assert.equal(
    crossing("let l = cholesky(x2)\nlet d[k] = l[k, k]\nreturn y where y[n, j] = sum[k] w[n, k] * l[k, j] * d[j]"),
    ["l"],
  );
});

test("an order of columns crosses with the factor", () => {
  const walk = (result: string): readonly string[] | null =>
    crossing(
      `let rank = descending_rank(x2)\nlet u = inverse_factor(permuted(damped(hessian(x2, c), 0.1), rank))\nlet order = order_of(rank)\nreturn y where y[n, j] = ${result}`,
    );
  assert.equal(walk("sum[k] w[n, order[k]] * u[k, j]"), ["u", "order"]);
  assert.equal(walk("sum[k] w[n, order[k]] * u[k, rank[j]]"), ["rank", "u"], "one follows from the other");
});

test("a scan and a reduction over a matrix are worth it, the mean of a diagonal is not", () => {
  assert.equal(
    crossing(
      "var s = x2\nscan k in 0 .. K {\n  let r[i] = s[i, k] * c\n  s[i, j] += r[i] for i in 0 .. K, j in k .. K\n}\nreturn y where y[n, k] = w[n, k] * s[k, k]",
    ),
    ["s"],
  );
  assert.equal(crossing("let r[k] = sum[j] x2[k, j]\nreturn y where y[n, k] = w[n, k] * r[k]"), ["r"]);
  assert.is(crossing("let h = damped(hessian(x2, c), 0.1)\nreturn y where y[n, j] = sum[k] w[n, k] * h[k, j]"), null);
  assert.is(crossing("return y where y[n, k] = w[n, k] * sqrt(x2[k, k])"), null);
});

test("what a weight has a part in stays with it, and so does a factor that nobody reads", () => {
  assert.is(
    crossing(`let g[i, j] = sum[n] w[n, i] * w[n, j]\nlet m[i, j] = g[i, j] + x2[i, j]\nlet u = cholesky(m)\n${last}`),
    null,
  );
  assert.is(crossing(`let h[i, j] = x2[i, j] + f32(N)\nlet u = cholesky(h)\n${last}`), null, "N is not common");
});

test("a number of the shared part does not cross, but what it is made of", () => {
  assert.equal(crossing("let l = cholesky(x2)\nlet trace = sum[k] l[k, k]\nreturn y where y[n, k] = w[n, k] * trace"), [
    "l",
  ]);
});

test("a name that is taken gets a number", () => {
  const { whole } = splitOf(`let u = inverse_factor(x2)\n${last}`);
  const split = hoistShared(
    { ...whole, values: whole.values.map((value) => ({ ...value, name: "w" })) },
    { inputs: new Set(["x2"]), sizes: new Set(["K"]) },
  );
  assert.equal(
    split!.shared.outputs.map(({ name }) => name),
    ["w2"],
  );
  assert.equal(
    split!.rest.inputs.map(({ name }) => name),
    ["w", "w2"],
  );
});

test.run();
