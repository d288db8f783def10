/** Logits of several tokens, and how far two models' are apart, by the evaluator and by their definitions. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { call, near, normal, result, tensor } from "./support.js";

const test = suite("stdlib: compare");

test("logits of some tokens are those of each, of one part or two", () => {
  const [V, D, T] = [7, 4, 3];
  const [x, w] = [normal([2, T, D], 20), normal([V, D], 21)];
  const gain = tensor([D], [1, 2, 0.5, 1]);
  const args = { x, gain, eps: 1e-5, start: 1 };
  const picked = [1, 2].map((pick) =>
    result("logits", { x, pick: tensor([2], [pick, pick], "i32"), gain, w, eps: 1e-5 }),
  );
  // [B, tokens, V] of [B, V] a token
  const expected = [0, 1].flatMap((b) => picked.flatMap((row) => row.slice(b * V, (b + 1) * V)));
  const sizes = { tokens: 2 };
  assert.ok(near(result("span_logits", { ...args, w }, { sizes }), expected));
  let whole = tensor([2, 2, V], new Array(4 * V).fill(0));
  for (const [from, to] of [
    [0, 4],
    [4, 7],
  ] as const) {
    const part = tensor([to - from, D], [...w.data].slice(from * D, to * D));
    whole = call("span_logits_part", { ...args, w: part, whole, first: from }, { sizes }).at(-1)!;
  }
  assert.ok(near(whole.data, expected));
});

test("divergence, equal choices and losses of a token", () => {
  const V = 5;
  const rows = [
    [normal([V], 1).data, normal([V], 2).data],
    [
      [80, 0, 1, 2, 3], // far beyond what exp holds in f32
      [90, 91, 1, 2, 3],
    ],
    [
      [1, 1, 0, 0, 0], // of equals the first
      [1, 0, 1, 0, 0],
    ],
  ].map((pair) => pair.map((row) => Array.from(row)));
  const targets = [4, 1, 2];
  const side = (at: 0 | 1) =>
    tensor(
      [1, rows.length, V],
      rows.flatMap((pair) => pair[at]!),
    );
  const found = call("divergence", { p: side(0), q: side(1), targets: tensor([1, 3], targets, "i32") }).map(
    ({ data }) => [...data],
  );
  const logProbabilities = (row: readonly number[]): readonly number[] => {
    const highest = Math.max(...row);
    const total = row.reduce((sum, value) => sum + Math.exp(value - highest), 0);
    return row.map((value) => value - highest - Math.log(total));
  };
  const expected = rows.map(([p = [], q = []], at) => {
    const [a, b] = [logProbabilities(p), logProbabilities(q)];
    return [
      a.reduce((sum, value, v) => sum + Math.exp(value) * (value - b[v]!), 0),
      Number(p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q))),
      -a[targets[at]!]!,
      -b[targets[at]!]!,
    ];
  });
  for (const [column, values] of found.entries())
    assert.ok(
      near(
        values,
        expected.map((row) => row[column]!),
        1e-5,
      ),
      `${column}: ${values.join()}`,
    );
  assert.equal(found[1], [expected[0]![1], 0, 1]);
  const same = call("divergence", { p: side(0), q: side(0), targets: tensor([1, 3], targets, "i32") });
  assert.equal([...same[0]!.data], [0, 0, 0]);
});

test.run();
