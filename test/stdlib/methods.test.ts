import { suite } from "uvu";
import * as assert from "uvu/assert";
import { f16FromBits, f16Bits } from "../../compiler/float.js";
import { call, near, normal, result, tensor } from "./support.js";

const test = suite("stdlib: prune, quantize, statistics");
const w = normal([6, 16], 1);
const values = [...w.data];
const row = (list: readonly number[], at: number): readonly number[] => list.slice(at * 16, at * 16 + 16);

test("magnitude and wanda are what the papers say", () => {
  assert.equal(result("magnitude", { w }), values.map(Math.abs));
  const x2 = tensor(
    [16],
    Array.from({ length: 16 }, (_, at) => at * at),
  );
  assert.ok(
    near(
      result("wanda", { w, x2 }),
      values.map((value, at) => Math.abs(value) * (at % 16)),
    ),
  );
});

test("2:4 keeps the two highest of each four", () => {
  const score = tensor([6, 16], values.map(Math.abs));
  const keep = result("mask_2of4", { score });
  for (let at = 0; at < values.length; at += 4) {
    const group = values.slice(at, at + 4).map(Math.abs);
    const least = [...group].sort((a, b) => b - a)[1] ?? 0;
    assert.equal(
      keep.slice(at, at + 4),
      group.map((value) => (value >= least ? 1 : 0)),
    );
  }
  assert.equal(result("nm_mask", { score }, { sizes: { kept: 2, of_each: 4 } }), keep);
});

test("unstructured masks keep the highest of a row, or of the layer", () => {
  const score = tensor([6, 16], values.map(Math.abs));
  const rows = result("row_mask", { score }, { sizes: { kept: 8 } });
  for (let at = 0; at < 6; at++)
    assert.is(
      row(rows, at).reduce((sum, value) => sum + value, 0),
      8,
    );
  assert.equal(result("row_share_mask", { score, fraction: 0.5 }), rows);
  const layer = result("layer_mask", { score, fraction: 0.25 });
  const least = values.map(Math.abs).sort((a, b) => b - a)[23] ?? 0;
  assert.equal(
    layer,
    values.map((value) => (Math.abs(value) >= least ? 1 : 0)),
  );
});

test("scales are f16 numbers, and a group without weights has one too", () => {
  const some = tensor([2, 16], [...values.slice(0, 16), ...Array.from({ length: 16 }, () => 0)]);
  for (const scale of [
    ...result("int4_scale", { w: some }, { sizes: { group: 8 } }),
    ...result("int8_channel_scale", { w: some }),
  ]) {
    assert.ok(scale > 0);
    assert.is(f16FromBits(f16Bits(scale)), scale);
  }
});

test("rounding to the grid is off by half a step at most, but for the largest", () => {
  const s = call("int4_scale", { w }, { sizes: { group: 8 } })[0]!;
  const q = result("round_to_grid", { w, s, low: -8, high: 7 }, { sizes: { group: 8 } });
  for (const [at, value] of values.entries()) {
    const scale = s.data[Math.floor(at / 8)] ?? 0;
    assert.ok(Math.abs(value - (q[at] ?? NaN)) <= 0.502 * scale);
  }
});

test("zero is on the asymmetric grid", () => {
  const [s, z] = call("int4_grid", { w }, { sizes: { group: 8 } });
  const zero = tensor(
    [6, 16],
    values.map((value, at) => (at % 3 === 0 ? 0 : value)),
  );
  const q = result("round_to_asymmetric_grid", { w: zero, s: s!, z: z!, levels: 15 }, { sizes: { group: 8 } });
  for (let at = 0; at < q.length; at += 3) assert.is(q[at], 0);
});

test("the searched scale is never worse than the plain one", () => {
  const error = (s: readonly number[]): readonly number[] => {
    const q = result("round_to_grid", { w, s: tensor([6, 2], s), low: -8, high: 7 }, { sizes: { group: 8 } });
    return Array.from({ length: 12 }, (_, group) =>
      Array.from({ length: 8 }, (_, at) => ((q[group * 8 + at] ?? 0) - (values[group * 8 + at] ?? 0)) ** 2).reduce(
        (a, b) => a + b,
      ),
    );
  };
  const plain = error(result("int4_scale", { w }, { sizes: { group: 8 } }));
  const searched = error(result("int4_search", { w }, { sizes: { group: 8 } }));
  assert.ok(searched.every((value, at) => value <= (plain[at] ?? 0)));
  assert.ok(searched.some((value, at) => value < (plain[at] ?? 0)));
});

test("statistics are sums over tokens", () => {
  const squares = result("feature_squares", { x: w });
  assert.ok(
    near(
      squares,
      Array.from({ length: 16 }, (_, k) =>
        [0, 1, 2, 3, 4, 5].reduce((sum, t) => sum + (values[t * 16 + k] ?? 0) ** 2, 0),
      ),
    ),
  );
  const h = result("gram", { x: w });
  assert.ok(
    near(
      Array.from({ length: 16 }, (_, k) => h[k * 17] ?? 0),
      squares,
    ),
  );
  assert.equal(result("zeros", {}, { sizes: { length: 3 } }), [0, 0, 0]);
  const other = normal([6, 16], 2);
  const expected = Array.from({ length: 256 }, (_, at) =>
    [0, 1, 2, 3, 4, 5].reduce(
      (sum, t) => sum + (other.data[t * 16 + Math.floor(at / 16)] ?? 0) * values[t * 16 + (at % 16)]!,
      0,
    ),
  );
  assert.ok(near(result("cross_gram", { x: w, dense: other }), expected));
  const [changed, size] = call("squared_error", {
    w: tensor([2, 2], [1, 2, 3, 4]),
    original: tensor([2, 2], [1, 1, 1, 1]),
  });
  assert.equal(
    [[...changed!.data], [...size!.data]],
    [
      [1, 13],
      [2, 2],
    ],
  );
});

test.run();
