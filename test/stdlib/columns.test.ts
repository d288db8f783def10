import { suite } from "uvu";
import * as assert from "uvu/assert";
import { roundF16 } from "../../compiler/float.js";
import {
  dampedHessian,
  inverse,
  keptOf,
  nearestOnGrid,
  outputError,
  pseudorandomValues,
  rowsOf,
  searchedScale,
  upperFactor,
  walkColumns,
} from "../support/columns.js";
import { call, near, normal, result, tensor } from "./support.js";

const test = suite("stdlib: solve, gptq, sparsegpt, refine");

const [N, K, T, group, windows] = [5, 16, 40, 8, 2] as const;
const [low, high] = [-8, 7] as const;
const w = normal([N, K], 7);
const w0 = rowsOf(w.data, K);
/** Inputs whose features depend on each other, and one feature that is never seen where `dead`. */
function statistic(dead: number | null): { readonly flat: number[]; readonly rows: number[][] } {
  const mix = rowsOf(pseudorandomValues(K * K, 3, 0.5), K);
  const raw = rowsOf(pseudorandomValues(T * K, 4, 2), K);
  const x = raw.map((row) =>
    row.map((value, k) => (k === dead ? 0 : value + mix[k]!.reduce((sum, m, j) => sum + m * row[j]!, 0))),
  );
  const rows = Array.from({ length: K }, (_, i) =>
    Array.from({ length: K }, (_, j) => Math.fround(x.reduce((sum, row) => sum + row[i]! * row[j]!, 0))),
  );
  return { flat: rows.flat(), rows };
}
const x2 = statistic(null);
const h = dampedHessian(x2.rows, windows, 0.01);
const u = upperFactor(inverse(h));
const uTensor = tensor([K, K], u.flat());
const exactU = rowsOf(uTensor.data, K);
const flat = (rows: readonly (readonly number[])[]): number[] => rows.flat();
const stored = (scale: number): number => Math.max(roundF16(Math.fround(scale)), 2 ** -14);
const groupOf = (k: number): number => Math.floor(k / group);
const sizes = { group };

test("the factor is the upper Cholesky factor of the inverse of the damped Hessian", () => {
  const found = result("walk_factor", { x2: tensor([K, K], x2.flat), windows, damp: 0.01 });
  assert.ok(near(found, flat(u), 2e-5));
  const dead = statistic(3);
  assert.ok(
    near(
      result("walk_factor", { x2: tensor([K, K], dead.flat), windows, damp: 0.01 }),
      flat(upperFactor(inverse(dampedHessian(dead.rows, windows, 0.01)))),
      2e-5,
    ),
  );
  const seen = rowsOf(result("without_dead", { w, h: tensor([K, K], dead.flat) }), K);
  assert.ok(seen.every((row, n) => row.every((value, k) => value === (k === 3 ? 0 : w.data[n * K + k]))));
});

test("weights for the inputs of now give the outputs of before, as far as least squares can", () => {
  const now = rowsOf(pseudorandomValues(T * K, 5, 2), K);
  const before = now.map((row, t) =>
    row.map((value, k) => value + 0.2 * row[(k + 1) % K]! + 0.05 * Math.sin(t * K + k)),
  );
  const product = (a: readonly (readonly number[])[], b: readonly (readonly number[])[]): number[][] =>
    a[0]!.map((_, i) => b[0]!.map((__, j) => a.reduce((sum, row, t) => sum + row[i]! * b[t]![j]!, 0)));
  const crossed = product(before, now);
  const gram = product(now, now);
  const factor = tensor([K, K], flat(upperFactor(inverse(gram))));
  const found = (share: number): number[][] =>
    rowsOf(
      result("towards_dense", {
        w,
        h: tensor([K, K], flat(gram)),
        crossed: tensor([K, K], flat(crossed)),
        u: factor,
        share,
      }),
      K,
    );
  const missed = (v: readonly (readonly number[])[]): number =>
    v.reduce(
      (sum, row, n) =>
        sum +
        now.reduce(
          (total, x, t) => total + row.reduce((y, value, k) => y + value * x[k]! - w0[n]![k]! * before[t]![k]!, 0) ** 2,
          0,
        ),
      0,
    );
  assert.equal(flat(found(0)), [...w.data]);
  const [none, half, all] = [missed(w0), missed(found(0.5)), missed(found(1))];
  assert.ok(all < half && half < none);
  // the normal equations hold: V X^T X = W D^T X
  const solution = found(1);
  const wanted = w0.map((row) => gram.map((_, j) => row.reduce((sum, value, i) => sum + value * crossed[i]![j]!, 0)));
  const given = solution.map((row) => gram.map((_, j) => row.reduce((sum, value, i) => sum + value * gram[i]![j]!, 0)));
  const peak = Math.max(...flat(wanted).map(Math.abs));
  assert.ok(flat(given).every((value, at) => Math.abs(value - flat(wanted)[at]!) < 1e-4 * peak));
});

test("GPTQ with given scales, and with zero points", () => {
  const s = call("int4_scale", { w }, { sizes })[0]!;
  const expected = walkColumns(w0, exactU, (n, k, rows) =>
    nearestOnGrid(rows[n]![k]!, s.data[n * (K / group) + groupOf(k)]!, low, high),
  );
  assert.ok(near(result("gptq", { w0: w, u: uTensor, s, low, high }, { sizes }), flat(expected)));
  const [scale, zero] = call("int4_grid", { w }, { sizes });
  const shifted = walkColumns(w0, exactU, (n, k, rows) => {
    const [sc, z] = [scale!.data[n * (K / group) + groupOf(k)]!, zero!.data[n * (K / group) + groupOf(k)]!];
    return (Math.min(Math.max(nearestOnGrid(rows[n]![k]! / sc, 1, -99, 99) + z, 0), 15) - z) * sc;
  });
  assert.ok(
    near(result("gptq_asymmetric", { w0: w, u: uTensor, s: scale!, z: zero!, levels: 15 }, { sizes }), flat(shifted)),
  );
});

/** GPTQ whose scales come from the group as the walk reaches it. */
function dynamic(
  scaleOf: (weights: readonly number[]) => number,
  keep: (n: number, k: number) => boolean = () => true,
  start = w0,
): { readonly q: number[][]; readonly s: number[][] } {
  const s = start.map(() => Array.from({ length: K / group }, () => 0));
  const q = walkColumns(start, exactU, (n, k, rows) => {
    if (k % group === 0) s[n]![groupOf(k)] = scaleOf(rows[n]!.slice(k, k + group).filter((_, at) => keep(n, k + at)));
    return keep(n, k) ? nearestOnGrid(rows[n]![k]!, s[n]![groupOf(k)]!, low, high) : 0;
  });
  return { q, s };
}

test("GPTQ with scales of the moment, plain and searched", () => {
  const plain = dynamic((weights) => stored(Math.max(...weights.map(Math.abs)) / 7.5));
  const [q, s] = call("gptq_dynamic", { w0: w, u: uTensor, low, high }, { sizes });
  assert.ok(near(s!.data, flat(plain.s)) && near(q!.data, flat(plain.q)));
  const searched = dynamic((weights) => searchedScale(weights, low, high, stored));
  const [qs, ss] = call("gptq_search", { w0: w, u: uTensor, low, high }, { sizes });
  assert.ok(near(ss!.data, flat(searched.s)) && near(qs!.data, flat(searched.q)));
  assert.not.equal(flat(searched.s), flat(plain.s));
});

test("a group as wide as the row is a scale for each row", () => {
  const [q, s] = call("gptq_search", { w0: w, u: uTensor, low, high }, { sizes: { group: K } });
  assert.equal(s!.shape, [N, 1]);
  assert.ok(
    [...q!.data].every(
      (value, at) =>
        Math.abs(value / s!.data[Math.floor(at / K)]! - Math.round(value / s!.data[Math.floor(at / K)]!)) < 1e-4,
    ),
  );
});

test("activation order: columns are walked by their diagonal, and groups stay those of neighbours", () => {
  const diagonal = x2.rows.map((row, k) => row[k]!);
  const order = diagonal.map((_, k) => k).sort((a, b) => diagonal[b]! - diagonal[a]! || a - b);
  const rank = result("descending_rank", { h: tensor([K, K], x2.flat) });
  assert.equal(
    rank,
    diagonal.map((_, k) => order.indexOf(k)),
  );
  const rankTensor = tensor([K], rank, "i32");
  assert.equal(result("order_of", { rank: rankTensor }), order);
  const permuted = order.map((i) => order.map((j) => h[i]![j]!));
  assert.ok(near(result("permuted", { h: tensor([K, K], flat(h)), rank: rankTensor }), flat(permuted)));
  const factor = tensor([K, K], flat(upperFactor(inverse(permuted))));
  const s = call("int4_search", { w }, { sizes })[0]!;
  const expected = walkColumns(
    w0.map((row) => order.map((k) => row[k]!)),
    rowsOf(factor.data, K),
    (n, r, rows) => nearestOnGrid(rows[n]![r]!, s.data[n * (K / group) + groupOf(order[r]!)]!, low, high),
  );
  const found = result("gptq_ordered", { w0: w, u: factor, rank: rankTensor, s, low, high }, { sizes });
  assert.ok(
    near(
      found,
      expected.flatMap((row) => rank.map((place) => row[place]!)),
    ),
  );
});

/** SparseGPT; `round` is what becomes of a kept weight. */
function pruned(kept: number, of: number): { readonly q: number[][]; readonly keep: boolean[][] } {
  const keep = w0.map((row) => row.map(() => false));
  const q = walkColumns(w0, exactU, (n, k, rows) => {
    if (k % of === 0) for (const at of keptOf(rows[n]!, exactU, k, k + of, kept)) keep[n]![at] = true;
    return keep[n]![k] ? rows[n]![k]! : 0;
  });
  return { q, keep };
}

for (const [kept, of] of [
  [2, 4],
  [4, 8],
  [1, 4],
  [8, 16],
] as const) {
  test(`SparseGPT ${kept}:${of}`, () => {
    const expected = pruned(kept, of);
    const [q, keep] = call("sparsegpt", { w0: w, u: uTensor }, { sizes: { kept, of_each: of } });
    assert.equal([...keep!.data], flat(expected.keep.map((row) => row.map(Number))));
    assert.ok(near(q!.data, flat(expected.q)));
    assert.ok([...q!.data].every((value, at) => (value !== 0) === (keep!.data[at] === 1)));
  });
}

test("the update on a given mask, which lowers the error of pruning alone", () => {
  const keep = call("mask_2of4", { score: tensor([N, K], [...w.data].map(Math.abs)) })[0]!;
  const kept = (n: number, k: number): boolean => keep.data[n * K + k] === 1;
  const expected = walkColumns(w0, exactU, (n, k, rows) => (kept(n, k) ? rows[n]![k]! : 0));
  assert.ok(near(result("sparsegpt_update", { w0: w, u: uTensor, keep }), flat(expected)));
  assert.ok(
    outputError(expected, w0, h) <
      outputError(
        w0.map((row, n) => row.map((value, k) => (kept(n, k) ? value : 0))),
        w0,
        h,
      ),
  );
});

test("GPTQ keeps a mask, with scales given and searched", () => {
  const { q: sparse, keep } = pruned(2, 4);
  const sparseTensor = tensor([N, K], flat(sparse));
  const mask = tensor([N, K], flat(keep.map((row) => row.map(Number))), "bool");
  const s = call("int4_scale", { w: sparseTensor }, { sizes })[0]!;
  const start = rowsOf(sparseTensor.data, K);
  const given = walkColumns(start, exactU, (n, k, rows) =>
    keep[n]![k] ? nearestOnGrid(rows[n]![k]!, s.data[n * (K / group) + groupOf(k)]!, low, high) : 0,
  );
  assert.ok(
    near(result("gptq_kept", { w0: sparseTensor, u: uTensor, keep: mask, s, low, high }, { sizes }), flat(given)),
  );
  const searched = dynamic(
    (weights) => searchedScale(weights, low, high, stored),
    (n, k) => keep[n]![k]!,
    start,
  );
  const [q, scales] = call("gptq_kept_search", { w0: sparseTensor, u: uTensor, keep: mask, low, high }, { sizes });
  assert.ok(near(scales!.data, flat(searched.s)) && near(q!.data, flat(searched.q)));
});

test("SparseGPT and GPTQ in one pass", () => {
  const keep = w0.map((row) => row.map(() => false));
  const s = w0.map(() => Array.from({ length: K / group }, () => 0));
  const expected = walkColumns(w0, exactU, (n, k, rows) => {
    const row = rows[n]!;
    if (k % group === 0) {
      const guess = Array.from({ length: group / 4 }, (_, at) => [
        ...keptOf(row, exactU, k + 4 * at, k + 4 * at + 4, 2),
      ]).flat();
      s[n]![groupOf(k)] = searchedScale(
        guess.map((at) => row[at]!),
        low,
        high,
        stored,
      );
    }
    if (k % 4 === 0) for (const at of keptOf(row, exactU, k, k + 4, 2)) keep[n]![at] = true;
    return keep[n]![k] ? nearestOnGrid(row[k]!, s[n]![groupOf(k)]!, low, high) : 0;
  });
  const [q, mask, scales] = call(
    "sparsegpt_gptq",
    { w0: w, u: uTensor, low, high },
    { sizes: { ...sizes, kept: 2, of_each: 4 } },
  );
  assert.equal([...mask!.data], flat(keep.map((row) => row.map(Number))));
  assert.ok(near(scales!.data, flat(s)) && near(q!.data, flat(expected)));
});

test("a sweep over pairs keeps the best two of four, given all others", () => {
  const { q: sparse } = pruned(2, 4);
  const hTensor = tensor([K, K], flat(h));
  const expected = sparse.map((row) => [...row]);
  const keep = sparse.map((row) => row.map(() => 0));
  expected.forEach((row, n) => {
    for (let k = 0; k < K; k += 4) {
      const columns = [k, k + 1, k + 2, k + 3];
      // the part of the gradient that the group itself has no share in
      const pull = columns.map(
        (j) => -row.reduce((sum, value, i) => sum + ((columns.includes(i) ? 0 : value) - w0[n]![i]!) * h[i]![j]!, 0),
      );
      let best = { gain: -Infinity, at: [0, 0], values: [0, 0] };
      for (let i = 0; i < 4; i += 1) {
        for (let j = i + 1; j < 4; j += 1) {
          const [p, q, r] = [h[k + i]![k + i]!, h[k + j]![k + j]!, h[k + i]![k + j]!];
          const values = [
            (q * pull[i]! - r * pull[j]!) / (p * q - r * r),
            (p * pull[j]! - r * pull[i]!) / (p * q - r * r),
          ];
          const gain = pull[i]! * values[0]! + pull[j]! * values[1]!;
          if (gain > best.gain) best = { gain, at: [i, j], values };
        }
      }
      columns.forEach((column, at) => {
        row[column] = best.at.includes(at) ? best.values[best.at.indexOf(at)]! : 0;
      });
      for (const at of best.at) keep[n]![k + at] = 1;
    }
  });
  const [found, mask] = call("pair_sweep", { w0: w, w1: tensor([N, K], flat(sparse)), h: hTensor });
  assert.equal([...mask!.data], flat(keep));
  assert.ok(near(found!.data, flat(expected), 1e-4));
  assert.ok(outputError(expected, w0, h) < outputError(sparse, w0, h));
});

test("a sweep over pairs and codes lowers the error, keeps two of four, and stays where nothing is better", () => {
  const { q: sparse, keep } = pruned(2, 4);
  const hTensor = tensor([K, K], flat(h));
  const s = call("int4_search", { w: tensor([N, K], flat(sparse)) }, { sizes })[0]!;
  const onGrid = (values: ArrayLike<number>): boolean =>
    Array.from(values).every((value, at) => {
      const code = value / s.data[Math.floor(at / group)]!;
      return Math.abs(code - Math.round(code)) < 1e-3 && code > low - 0.5 && code < high + 0.5;
    });
  const mask = tensor([N, K], flat(keep.map((row) => row.map(Number))), "bool");
  let codes = call(
    "gptq_kept",
    { w0: tensor([N, K], flat(sparse)), u: uTensor, keep: mask, s, low, high },
    { sizes },
  )[0]!;
  const errors = [outputError(rowsOf(codes.data, K), w0, h)];
  for (let sweep = 0; sweep < 4; sweep += 1) {
    codes = call("pair_code_sweep", { w0: w, w1: codes, h: hTensor, s, low, high }, { sizes })[0]!;
    errors.push(outputError(rowsOf(codes.data, K), w0, h));
    assert.ok(onGrid(codes.data));
    for (let at = 0; at < N * K; at += 4)
      assert.ok([...codes.data.slice(at, at + 4)].filter((value) => value !== 0).length <= 2);
  }
  assert.ok(
    errors[1]! < errors[0]! && errors.every((error, at) => at === 0 || error <= errors[at - 1]! * 1.0001),
    errors.join(" "),
  );
  assert.equal(result("pair_code_sweep", { w0: codes, w1: codes, h: hTensor, s, low, high }, { sizes }), [
    ...codes.data,
  ]);
});

test("where features do not depend on each other, a sweep over pairs and codes finds the best of all", () => {
  const diagonal = Array.from({ length: K }, (_, k) => 0.5 + ((7 * k) % K) / K);
  const apart = diagonal.map((value, i) => diagonal.map((_, j) => (i === j ? value : 0)));
  const s = call("int4_search", { w }, { sizes })[0]!;
  const zero = tensor([N, K], new Array<number>(N * K).fill(0));
  const found = result("pair_code_sweep", { w0: w, w1: zero, h: tensor([K, K], flat(apart)), s, low, high }, { sizes });
  const lossOf = (values: readonly number[], n: number, k: number): number =>
    values.reduce((sum, value, at) => sum + diagonal[k + at]! * (value - w0[n]![k + at]!) ** 2, 0);
  for (let n = 0; n < N; n += 1) {
    for (let k = 0; k < K; k += 4) {
      const scale = s.data[n * (K / group) + groupOf(k)]!;
      let best = Infinity;
      for (let i = 0; i < 4; i += 1)
        for (let j = i + 1; j < 4; j += 1)
          for (let a = low; a <= high; a += 1)
            for (let b = low; b <= high; b += 1) {
              best = Math.min(
                best,
                lossOf(
                  [0, 1, 2, 3].map((at) => (at === i ? a * scale : at === j ? b * scale : 0)),
                  n,
                  k,
                ),
              );
            }
      assert.ok(lossOf(found.slice(n * K + k, n * K + k + 4), n, k) <= best * 1.00001 + 1e-9);
    }
  }
});

test("sweeps never make the error larger, and many end at the least squares solution on the mask", () => {
  const { q: sparse, keep } = pruned(2, 4);
  const mask = tensor([N, K], flat(keep.map((row) => row.map(Number))), "bool");
  const hTensor = tensor([K, K], flat(h));
  let now = tensor([N, K], flat(sparse));
  let error = outputError(rowsOf(now.data, K), w0, h);
  for (let sweep = 0; sweep < 40; sweep += 1) {
    now = tensor([N, K], result("least_squares_sweep", { w0: w, w1: now, h: hTensor, keep: mask }));
    const next = outputError(rowsOf(now.data, K), w0, h);
    assert.ok(next <= error * 1.0001);
    error = next;
  }
  // at the solution the gradient of every kept weight is zero
  const gradient = result("error_slope", { w0: w, w: now, h: hTensor });
  const peak = Math.max(...flat(h).map(Math.abs));
  assert.ok(gradient.every((value, at) => mask.data[at] === 0 || Math.abs(value) < 1e-3 * peak));

  const s = call("int4_search", { w: now }, { sizes })[0]!;
  let codes = call("gptq_kept", { w0: w, u: uTensor, keep: mask, s, low, high }, { sizes })[0]!;
  let rounded = outputError(rowsOf(codes.data, K), w0, h);
  const first = rounded;
  for (let sweep = 0; sweep < 3; sweep += 1) {
    codes = call("code_sweep", { w0: w, w1: codes, h: hTensor, keep: mask, s, low, high }, { sizes })[0]!;
    const next = outputError(rowsOf(codes.data, K), w0, h);
    assert.ok(next <= rounded * 1.0001);
    rounded = next;
  }
  assert.ok(rounded < first);
});

test.run();
