/** Small functions, each for one thing that lowering must get right; computed in three ways. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { agreeOnDevice, agreeSimulated, expectedOf, schedulesOf, type Case } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { simulated } from "../support/simulated.js";
import { programCase } from "./language.js";

const test = suite<{ machine: Machine }>("lowering of functions");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

/** In all three ways; gives the schedules taken on the device. */
async function agree(given: Case, machine: Machine): Promise<readonly string[]> {
  const expected = expectedOf(given);
  for (const device of simulated)
    for (const schedule of [null, "rows"] as const) agreeSimulated(given, expected, device, { schedule });
  return schedulesOf(await agreeOnDevice(given, expected, machine));
}

const integers = (count: number, of: (at: number) => number): readonly number[] =>
  Array.from({ length: count }, (_, at) => of(at));

test("norm, softmax and argmax share a row's reductions", async ({ machine }) => {
  const source = `fn main(x: f32[T, D]) -> f32[T, D], f32[T, D], i32[T] {
    let square[t] = mean[d] x[t, d]^2
    let y[t, d] = x[t, d] * rsqrt(square[t] + 0.1)
    let highest[t] = max[d] x[t, d]
    let total[t] = sum[d] exp(x[t, d] - highest[t])
    let p[t, d] = exp(x[t, d] - highest[t]) / total[t]
    return y, p, best where best[t] = argmax[d] p[t, d]
  }`;
  for (const D of [1, 31, 32, 33, 257]) {
    const schedules = await agree(programCase(source, { T: 5, D }, "chain"), machine);
    if (D >= 32) assert.equal(schedules, ["rows", "rows", "rows"]);
  }
});

test("reductions of every kind, of every dtype, also over nothing", async ({ machine }) => {
  const source = `fn main(x: f32[T, K], i: i32[T, K], u: u32[T, K], m: mask[T, K], n: i32) -> f32[T], f32[T], i32[T], i32[T], i32[T], u32[T], u32[T], i32[T], i32[T], i32[T] {
    let total[t] = sum[k in 0 .. n] x[t, k]
    let middle[t] = mean[k in 1 .. n] x[t, k]
    let si[t] = sum[k in 0 .. n] i[t, k] * 100000000
    let hi[t] = max[k in 0 .. n] i[t, k]
    let lo[t] = min[k in 0 .. n] i[t, k]
    let hu[t] = max[k in 0 .. n] u[t, k]
    let lu[t] = min[k in 0 .. n] u[t, k]
    let both[t] = select((any[k in 0 .. n] m[t, k]), 1, 0) + select((all[k in 0 .. n] m[t, k]), 2, 0)
    let held[t] = count[k in 0 .. n] m[t, k]
    return total, middle, si, hi, lo, hu, lu, both, held, best where best[t] = argmax[k in 0 .. n] i[t, k]
  }`;
  const K = 70;
  const given = (n: number): Case =>
    programCase(source, { T: 4, K }, "reduction", {
      n: [n],
      i: integers(4 * K, (at) => ((at * 37) % 23) - 11),
      u: integers(4 * K, (at) => (at * 37) % 23),
      m: integers(4 * K, (at) => (at < K ? 1 : at % 3 === 0 ? 1 : 0)),
    });
  for (const n of [0, K + 5, -1]) await agree(given(n), machine);
});

test("a reduction over two indices, the inner one to the outer", async ({ machine }) => {
  for (const op of ["mean", "sum", "max"]) {
    await agree(
      programCase(
        `fn main(x: f32[N, K]) -> f32[N] {
      return y where y[n] = ${op}[k, l in 0 .. k + 1] x[n, l] * x[n, k]
    }`,
        { N: 3, K: 40 },
        "reduction",
      ),
      machine,
    );
  }
  // to a number that is data: the divisor of a mean is what was counted
  await agree(
    programCase(
      `fn main(x: f32[N, K], c: i32) -> f32[N] {
    return y where y[n] = mean[k, l in 0 .. c] x[n, l] * x[n, k]
  }`,
      { N: 3, K: 40 },
      "reduction",
      { c: [9] },
    ),
    machine,
  );
});

test("gathers are guarded: zero out of range, at both ends", async ({ machine }) => {
  const source = `fn main(ids: i32[T], table: f32[V, D], first: i32) -> f32[T, D], f32[T, D] {
    let near[t, d] = table[ids[t] - first, d - 1] + table[ids[t] - first, d + 1] for d in 0 .. D
    return x, near where x[t, d] = table[ids[t] - first, d]
  }`;
  await agree(
    programCase(source, { T: 7, V: 5, D: 9 }, "exact", { ids: [0, 4, 5, -1, 2147483647, -2147483648, 2], first: [0] }),
    machine,
  );
  await agree(
    programCase(source, { T: 7, V: 5, D: 9 }, "exact", { ids: [10, 14, 15, 9, 12, 100, 0], first: [10] }),
    machine,
  );
});

test("selects compute only what is chosen, and branch around reductions", async ({ machine }) => {
  await agree(
    programCase(
      `fn main(x: f32[T, K], s: f32) -> f32[T, K] {
    let a[t, k] = x[t, k] * s
    return y where y[t, k] = select(k <= t, (sum[j in 0 .. k + 1] a[t, j]), select(a[t, k] < 0.0, -a[t, k], f32(t)))
  }`,
      { T: 7, K: 13 },
      "reduction",
      { s: [1.5] },
    ),
    machine,
  );
});

test("integers: division, remainder, shifts and bits as the specification says", async ({ machine }) => {
  const values = [7, -7, 3, -3, 0, 1, -1, 2147483647, -2147483648, 65536, -65537, 12];
  const divisors = [2, -2, 0, 5, -5, 3, 7, 1, 10, 0, 16, -1];
  await agree(
    programCase(
      `fn main(a: i32[N], b: i32[N], c: f32[N]) -> i32[N], i32[N], i32[N], u32[N], i32[N], u32[N], u32[N], f32[N] {
    let q[n] = a[n] / b[n]
    let r[n] = a[n] % b[n]
    let s[n] = shift_right(a[n], 3) + shift_left(b[n], 33)
    let u[n] = bit_xor(u32(a[n]), bit_or(u32(b[n]), 5)) / 3
    let i[n] = i32(c[n])
    let w[n] = u32(c[n])
    let h[n] = bits(round_f16(c[n]))
    return q, r, s, u, i, w, h, f where f[n] = f32(a[n]) + f32(u32(b[n]))
  }`,
      { N: 12 },
      "exact",
      { a: values, b: divisors, c: [0.5, -0.5, 1.5, 2.5, -2.5, 3e9, -3e9, 1e10, 65519, 65520, 1e-7, 6e-8] },
    ),
    machine,
  );
});

const updates: Readonly<Record<string, string>> = {
  "a cache, at a position that is data": "cache[position + n, d] = x[n, d] for n in 0 .. N",
  "in place, from the element itself": "cache[c, d] = cache[c, d] * 2.0 + 1.0",
  "from other elements, which are seen as they were":
    "cache[c, d] = cache[c - 1, d] + cache[c, d + 1] for c in 0 .. C, d in 0 .. D",
  twice: "cache[n, d] += x[n, d] for n in 0 .. N\n    cache[n + 1, d] -= x[n, d] * 0.25 for n in 0 .. N",
};
for (const [name, statement] of Object.entries(updates)) {
  test(`updates: ${name}`, async ({ machine }) => {
    const source = `fn main(var cache: f32[C, D], x: f32[N, D], position: i32) -> f32[D] {
    let before[d] = sum[c] cache[c, d]
    ${statement}
    let change[d] = (sum[c] cache[c, d]) - before[d]
    return change
  }`;
    for (const position of [0, 3, 7, 20, -2])
      await agree(programCase(source, { C: 9, D: 3, N: 4 }, "reduction", { position: [position] }), machine);
  });
}

test("two states change places", async ({ machine }) => {
  await agree(
    programCase(
      `fn main(var a: f32[N], var b: f32[N], c: f32[N]) -> f32[N] {
    let old[n] = a[n]
    a[n] = b[n]
    b[n] = old[n] + c[n]
    return old
  }`,
      { N: 70 },
      "exact",
    ),
    machine,
  );
});

test("additions that fall on one element all count", async ({ machine }) => {
  await agree(
    programCase(
      `fn main(x: f32[N], w: f32[N, K]) -> f32[N] {
    var y = x
    y[n] += w[n, k] for n in 0 .. N, k in 0 .. K
    return y
  }`,
      { N: 3, K: 70 },
      "reduction",
    ),
    machine,
  );
  const source = `fn main(x: f32[B, V], ids: i32[B, T], e: f32[T]) -> f32[B, V] {
    var y = x
    y[b, ids[b, t]] -= e[t] * x[b, 0] for b in 0 .. B, t in 0 .. T
    y[b, 2 * g + j] += 1.0 for b in 0 .. B, g in 0 .. 2, j in 0 .. 2
    y[b, 2 * g + j] += 1.0 for b in 0 .. B, g in 0 .. 2, j in 0 .. 3
    y[b, 6 - j] += e[j] for b in 0 .. B, j in 0 .. 3
    return y
  }`;
  await agree(
    programCase(source, { B: 3, V: 7, T: 9 }, "chain", { ids: integers(27, (at) => ((at * 5) % 8) - 1) }),
    machine,
  );
});

test("an equation that would read more tensors than a device binds stays apart", async ({ machine }) => {
  const names = [..."abcdefghij"];
  const given = programCase(
    `fn main(${names.map((name) => `${name}: f32[N]`).join(", ")}) -> f32[N] {
    let t[n] = a[n] * b[n] - c[n] * d[n]
    let u[n] = e[n] * f[n] - g[n] * h[n]
    return y where y[n] = u[n] + t[n] + i[n] * j[n]
  }`,
    { N: 70 },
    "chain",
  );
  await agree(given, machine);
  const narrow = { target: { ...simulated[0]!.target, name: "8 buffers", maxStorageBuffers: 8 }, subgroupSize: 1 };
  assert.is(
    agreeSimulated(given, expectedOf(given), narrow)
      .kernels.flat()
      .every(({ buffers }) => buffers.length <= 8),
    true,
  );
});

test("more workgroups than a dimension holds", async ({ machine }) => {
  // 65536 rows, a workgroup each; and 65536 workgroups of single elements
  const rows = programCase(
    `fn main(x: f32[T, D]) -> f32[T, D] {
    let total[t] = sum[d] x[t, d]
    return y where y[t, d] = x[t, d] - total[t]
  }`,
    { T: 65540, D: 32 },
    "reduction",
  );
  assert.equal(schedulesOf(await agreeOnDevice(rows, expectedOf(rows), machine)), ["rows"]);
  const elements = programCase(
    `fn main(x: f32[N]) -> f32[N] {
    return y where y[n] = x[n] + 1.0
  }`,
    { N: 65536 * 64 + 5 },
    "exact",
  );
  const stages = await agreeOnDevice(elements, expectedOf(elements), machine);
  assert.is(stages.kernels[0]![0]!.workgroups[1], 2);
});

test.run();
