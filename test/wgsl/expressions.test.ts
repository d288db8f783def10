import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bitcast, builtin, letIs, literal, local, store } from "../../compiler/kernel/build.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import { printExpr } from "../../compiler/kernel/print.js";
import type { Expr, Statement } from "../../compiler/kernel/kernel.js";
import { width } from "../../compiler/kernel/kernel.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import { openDevice } from "../../runtime/device/device.js";
import { createExecutor, type Executor } from "../../runtime/run/run.js";
import { anyExpression, bitsKernel, inputMemory, invocations, rebuilt, smallKernel } from "../support/kernels.js";
import { runKernel } from "../support/run-kernel.js";
import { runs } from "../support/runs.js";

const test = suite<{ executor: Executor }>("wgsl/expressions");

test.before(async (context) => {
  context.executor = await createExecutor(await openDevice({ kind: "cpu" }), { poison: true });
});
test.after(({ executor }) => {
  executor.close();
  executor.device.close();
});

/** What the evaluator stores for the expressions. */
function evaluated(expressions: readonly Expr[], memory: ReadonlyMap<string, ArrayBuffer>): Uint32Array {
  const { kernel, results } = bitsKernel(expressions);
  assert.equal(verifyKernel(kernel), []);
  const bits = new Uint32Array(results * invocations);
  evaluateKernel(kernel, new Map([...memory, ["bits", bits.buffer]]));
  return bits;
}

/** Says which expressions differ, and for which invocation. */
function assertSame(expressions: readonly Expr[], found: Uint32Array, expected: Uint32Array, what: string): void {
  const results = expressions.reduce((sum, a) => sum + width(a.type), 0);
  let at = 0;
  for (const a of expressions) {
    for (let part = 0; part < width(a.type); part++, at++) {
      for (let invocation = 0; invocation < invocations; invocation++) {
        const place = invocation * results + at;
        // The zeros are one number; which of them min and max give is free.
        const zero = (bits: number | undefined): number | undefined =>
          bits === 0x80000000 && a.type.includes("f32") ? 0 : bits;
        if (zero(found[place]) !== zero(expected[place])) {
          assert.unreachable(
            `${what}: ${printExpr(a)}\npart ${part}, invocation ${invocation}: ${found[place]?.toString(16)} instead of ${expected[place]?.toString(16)}`,
          );
        }
      }
    }
  }
}

/** Bits of NaN and of the sign of zero are free, so expressions that look at them are left out. */
function looksAtFloatBits(a: Expr): boolean {
  const text = printExpr(a);
  return /bits [iu]32\(|bits vec\d<[iu]32>\(/.test(text);
}

test("the device, the evaluator and the folding constructors agree", async ({ executor }) => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        anyExpression().filter((a) => !looksAtFloatBits(a)),
        { minLength: 40, maxLength: 40 },
      ),
      fc.integer(),
      async (expressions, seed) => {
        const memory = inputMemory(seed);
        const expected = evaluated(expressions, memory);
        assertSame(expressions, evaluated(expressions.map(rebuilt), memory), expected, "folded");
        const { kernel } = bitsKernel(expressions);
        const bits = (await runKernel(executor, kernel, memory)).get("bits") ?? new Uint32Array();
        assertSame(expressions, bits, expected, "device");
      },
    ),
    runs(10),
  );
});

test("literals arrive to the bit", async ({ executor }) => {
  const values = [
    0,
    -0,
    1,
    -1,
    0.1,
    Math.fround(1 / 3),
    1e-45,
    -(2 ** -140),
    2 ** -126,
    3.4028234663852886e38,
    -3.4028234663852886e38,
    1e38,
    16777217,
    123456792,
    1e10,
    2 ** 100,
    Infinity,
    -Infinity,
    NaN,
  ];
  const words = [
    ...values.map((value) => literal("f32", value)),
    literal("i32", -0x80000000),
    literal("i32", -1),
    literal("u32", 0xffffffff),
  ];
  const body: Statement[] = words.flatMap((a, at) =>
    [letIs(`v${at}`, a), store("output", at, { kind: "bitcast", a: local(`v${at}`, a.type), type: "u32" })].map((s) =>
      s.kind === "store" && a.type === "u32" ? store("output", at, local(`v${at}`, "u32")) : s,
    ),
  );
  const kernel = smallKernel(body, {
    workgroupSize: [1, 1, 1],
    buffers: [{ name: "output", tensor: "y", element: "u32", access: "read_write", length: 64 }],
  });
  const bits = (await runKernel(executor, kernel, new Map())).get("y") ?? new Uint32Array();
  const expected = [...new Uint32Array(Float32Array.from(values).buffer), 0x80000000, 0xffffffff, 0xffffffff];
  values.forEach((value, at) => {
    if (Number.isNaN(value)) assert.ok(((bits[at] ?? 0) & 0x7fffffff) > 0x7f800000);
    else assert.is(bits[at], expected[at], `${value}`);
  });
  assert.equal([...bits.slice(values.length, expected.length)], expected.slice(values.length));
});

test("round_f16 is exact on every device", async ({ executor }) => {
  const count = 4096;
  let state = 1;
  const inputs = Uint32Array.from({ length: count }, (_, at) => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    // Near f16's range, its ties, and its ends.
    const exponent = 127 - 28 + (at % 48);
    return (
      ((state & 0x80000000) |
        (Math.min(exponent, 254) << 23) |
        (at % 3 === 0 ? (state & 0x7fe000) | 0x1000 : state & 0x7fffff)) >>>
      0
    );
  });
  const index = builtin("global_id.x");
  const kernel = smallKernel(
    [
      store(
        "output",
        index,
        bitcast("u32", {
          kind: "unary",
          op: "round_f16",
          a: bitcast("f32", { kind: "load", buffer: "input", index, type: "u32" }),
          type: "f32",
        }),
      ),
    ],
    {
      workgroups: [count / 8, 1, 1],
      buffers: [
        { name: "input", tensor: "x", element: "u32", access: "read", length: count },
        { name: "output", tensor: "y", element: "u32", access: "read_write", length: count },
      ],
    },
  );
  const expected = new Uint32Array(count);
  evaluateKernel(
    kernel,
    new Map([
      ["x", inputs.buffer],
      ["y", expected.buffer],
    ]),
  );
  const found = (await runKernel(executor, kernel, new Map([["x", inputs.buffer]]))).get("y") ?? new Uint32Array();
  inputs.forEach((word, at) => assert.is(found[at], expected[at], `of ${word.toString(16)}`));
});

test.run();
