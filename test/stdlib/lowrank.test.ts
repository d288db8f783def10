/** Corrections of low rank found without gradients, against the best there are. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { call, normal, result, tensor } from "./support.js";

const test = suite("stdlib: lowrank");
const [N, K] = [10, 14] as const;
const w = normal([N, K], 3);
const packed = tensor(
  [N, K],
  w.data.map((value) => Math.round(value)),
);
const x = normal([40, K], 5);
const at = (data: ArrayLike<number>, columns: number, row: number, column: number): number =>
  data[row * columns + column] ?? 0;
const gram = tensor(
  [K, K],
  Array.from({ length: K * K }, (_, index) => {
    let sum = 0;
    for (let t = 0; t < 40; t++) sum += at(x.data, K, t, Math.floor(index / K)) * at(x.data, K, t, index % K);
    return sum / 40;
  }),
);

/** e h e^T for the error e that is left, of which the trace is the squared error. */
function leftOver(a: ArrayLike<number>, b: ArrayLike<number>, rank: number, h: ArrayLike<number>): number[][] {
  const e = Array.from({ length: N }, (_, n) =>
    Array.from({ length: K }, (_, k) => {
      let sum = 0;
      for (let r = 0; r < rank; r++) sum += at(a, rank, n, r) * at(b, K, r, k);
      return at(w.data, K, n, k) - at(packed.data, K, n, k) - sum;
    }),
  );
  const eh = e.map((row) =>
    Array.from({ length: K }, (_, j) => row.reduce((sum, v, k) => sum + v * at(h, K, k, j), 0)),
  );
  return eh.map((row) => e.map((other) => row.reduce((sum, v, k) => sum + v * (other[k] ?? 0), 0)));
}
const trace = (m: readonly (readonly number[])[]): number => m.reduce((sum, row, n) => sum + (row[n] ?? 0), 0);

/** The eigenvalues of a symmetric matrix, the largest first (Jacobi). */
function eigenvalues(of: readonly (readonly number[])[]): number[] {
  const m = of.map((row) => [...row]);
  const size = m.length;
  for (let sweep = 0; sweep < 30; sweep++)
    for (let p = 0; p < size; p++)
      for (let q = p + 1; q < size; q++) {
        const [a, b, c] = [m[p]![p]!, m[q]![q]!, m[p]![q]!];
        if (Math.abs(c) < 1e-12) continue;
        const angle = Math.atan2(2 * c, b - a) / 2;
        const [cos, sin] = [Math.cos(angle), Math.sin(angle)];
        for (const row of m) [row[p], row[q]] = [cos * row[p]! - sin * row[q]!, sin * row[p]! + cos * row[q]!];
        const [rowP, rowQ] = [[...m[p]!], [...m[q]!]];
        m[p] = rowP.map((v, k) => cos * v - sin * rowQ[k]!);
        m[q] = rowP.map((v, k) => sin * v + cos * rowQ[k]!);
      }
  return m.map((row, n) => row[n]!).sort((a, b) => b - a);
}

for (const method of ["eora", "eora_eigen"] as const)
  test(`${method} leaves what no correction of that rank can do better, for the inputs that were seen`, () => {
    const none = leftOver([], [], 0, gram.data);
    const all = eigenvalues(none);
    assert.ok(Math.abs(all.reduce((sum, value) => sum + value, 0) - trace(none)) < 1e-6 * trace(none));
    for (const rank of [1, 3, 6]) {
      const [a, b] = call(method, { w, packed, h: gram }, { sizes: { rank } });
      assert.equal(
        [a!.shape, b!.shape],
        [
          [N, rank],
          [rank, K],
        ],
      );
      const best = all.slice(rank).reduce((sum, value) => sum + value, 0);
      const found = trace(leftOver(a!.data, b!.data, rank, gram.data));
      // the singular vectors themselves, or four steps towards them
      const most = method === "eora" ? 1.1 : 1 + 1e-4;
      assert.ok(found >= best * (1 - 1e-4) && found < best * most, `rank ${rank}: ${found}, best ${best}`);
    }
  });

test("SLiM does so where features count by their magnitudes alone", () => {
  const magnitudes = tensor(
    [K],
    Array.from({ length: K }, (_, k) => 1 + (k % 4)),
  );
  const diagonal = Array.from({ length: K * K }, (_, index) =>
    Math.floor(index / K) === index % K ? (magnitudes.data[index % K] ?? 0) ** 2 : 0,
  );
  const all = eigenvalues(leftOver([], [], 0, diagonal));
  const [a, b] = call("slim", { w, packed, magnitudes }, { sizes: { rank: 3 } });
  const best = all.slice(3).reduce((sum, value) => sum + value, 0);
  const found = trace(leftOver(a!.data, b!.data, 3, diagonal));
  assert.ok(found >= best * (1 - 1e-4) && found < best * 1.1, `${found}, best ${best}`);
});

test("a weight that is exact has no correction, and one of lower rank is met", () => {
  const [a, b] = call("eora", { w, packed: w, h: gram }, { sizes: { rank: 2 } });
  assert.ok([...a!.data, ...b!.data].every((value) => Math.abs(value) < 1e-5));
  const one = tensor(
    [N, K],
    w.data.map((value, index) => value - ((index % K) + 1) * 0.1),
  );
  const [c, d] = call("eora", { w, packed: one, h: gram }, { sizes: { rank: 3 } });
  assert.ok(
    result("merged", { packed: one, a: c!, b: d! }).every((value, index) => Math.abs(value - w.data[index]!) < 1e-3),
  );
});

test("adapters begin with nothing", () => {
  const [a, b] = call("adapter_start", { w }, { sizes: { rank: 4 } });
  assert.ok(a!.data.every((value) => value === 0));
  assert.ok(b!.data.every((value) => Math.abs(Math.abs(value) - 1 / Math.sqrt(K)) < 1e-6));
  const signs = b!.data.filter((value) => value > 0).length;
  assert.ok(signs > 8 && signs < 48, String(signs));
});

test.run();
