import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  assign,
  barrier,
  bitcast,
  builtin,
  call,
  component,
  convert,
  div,
  f32,
  forRange,
  i32,
  ifThen,
  less,
  letIs,
  loadBuffer,
  loadShared,
  local,
  mul,
  parameter,
  power,
  rem,
  roundF16,
  shiftRight,
  sqrt,
  store,
  storeShared,
  sub,
  u32,
  variable,
  vector,
} from "../../compiler/kernel/build.js";
import { evaluateKernel, KernelFault } from "../../compiler/kernel/evaluate.js";
import type { Expr, Kernel, Statement } from "../../compiler/kernel/kernel.js";
import { f16FromBits } from "../../compiler/float.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import { smallKernel } from "../support/kernels.js";

const test = suite("kernel/evaluate");

const lane = builtin("local_index");
const load = (index: Expr | number): Expr => loadBuffer("input", "f32", index);
const tile = (index: Expr | number): Expr => loadShared("tile", "f32", index);
const array = { arrays: [{ name: "tile", element: "f32", length: 8 }] } as const;
const ramp = Float32Array.from({ length: 64 }, (_, index) => index + 1);

/** What `output` holds after the kernel ran over 1, 2, 3, ... */
function run(
  body: readonly Statement[],
  change: Partial<Kernel> = {},
  parameters: Readonly<Record<string, number>> = {},
): Float32Array {
  const kernel = smallKernel(body, change);
  const output = new Float32Array(64);
  evaluateKernel(
    kernel,
    new Map([
      ["x", ramp.slice().buffer],
      ["y", output.buffer],
    ]),
    parameters,
  );
  return output;
}

function verified(
  body: readonly Statement[],
  change: Partial<Kernel> = {},
  parameters: Readonly<Record<string, number>> = {},
): number[] {
  assert.equal(verifyKernel(smallKernel(body, change)), []);
  return [...run(body, change, parameters).slice(0, 8)];
}

function fails(expected: RegExp | string, body: readonly Statement[], change: Partial<Kernel> = {}): void {
  assert.throws(
    () => run(body, change),
    (error: unknown) => {
      assert.instance(error, KernelFault);
      assert.match((error as Error).message, expected);
      assert.match((error as Error).message, "kernel small");
      return true;
    },
  );
}

test("loops, variables and branches", () => {
  const result = verified([
    variable("sum", f32(0)),
    forRange("k", 0, lane, [assign("sum", add(local("sum", "f32"), load(local("k", "u32"))))]),
    ifThen(less(lane, 4), [store("output", lane, local("sum", "f32"))], [store("output", lane, f32(-1))]),
  ]);
  assert.equal(result, [0, 1, 3, 6, -1, -1, -1, -1]);
  assert.equal(
    verified([
      variable("sum", i32(0)),
      forRange("k", i32(7), i32(-2), [assign("sum", i32(1))]),
      forRange("m", i32(-3), i32(4), [assign("sum", add(local("sum", "i32"), local("m", "i32")))], 3),
      store("output", lane, convert("f32", local("sum", "i32"))),
    ])[0],
    0,
  );
});

test("builtins of a dispatch in three dimensions", () => {
  const output = new Float32Array(64);
  const size = (a: "x" | "y" | "z"): Expr => builtin(`global_id.${a}`);
  const index = add(add(size("x"), mul(size("y"), 4)), mul(size("z"), 16));
  const value = add(add(builtin("local_index"), mul(builtin("workgroup_id.z"), 100)), mul(builtin("local_id.y"), 10));
  evaluateKernel(
    smallKernel([store("output", index, convert("f32", value))], { workgroupSize: [2, 2, 1], workgroups: [2, 2, 4] }),
    new Map([
      ["x", ramp.buffer as ArrayBuffer],
      ["y", output.buffer],
    ]),
  );
  for (let z = 0; z < 4; z++)
    for (let y = 0; y < 4; y++)
      for (let x = 0; x < 4; x++) {
        assert.is(output[x + 4 * y + 16 * z], (x % 2) + 2 * (y % 2) + 100 * z + 10 * (y % 2));
      }
});

test("f32 rounds after each operation, f16 too", () => {
  const value = verified(
    [store("output", 0, add(sub(load(1), f32(2)), sub(add(f32(16777216), load(0)), f32(16777216))))],
    { workgroupSize: [1, 1, 1] },
  );
  assert.is(value[0], 0, "2^24 + 1 is 2^24");
  const half = verified(
    [
      letIs("a", convert("f16", mul(load(0), 2049))),
      store("output", 0, convert("f32", add(local("a", "f16"), convert("f16", load(0))))),
      store("output", 1, roundF16(mul(load(0), 0.1))),
    ],
    { workgroupSize: [1, 1, 1], features: ["f16"] },
  );
  assert.is(half[0], 2048, "2049 is no f16, and 2048 + 1 rounds to even");
  assert.is(half[1], f16FromBits(0x2e66));
});

test("integers wrap and divide as in WGSL", () => {
  const word = (a: Expr): Statement => store("output", 0, convert("f32", a));
  const one = (a: Expr): number | undefined => verified([word(a)], { workgroupSize: [1, 1, 1] })[0];
  const raw = (op: "divide" | "remainder", x: number, y: number): Expr => ({
    kind: "binary",
    op,
    a: i32(x),
    b: i32(y),
    type: "i32",
  });
  assert.is(one(add(convert("u32", load(0)), u32(0xffffffff))), 0);
  assert.is(one(raw("divide", 7, 0)), 7);
  assert.is(one(raw("remainder", 7, 0)), 0);
  assert.is(one(raw("divide", -0x80000000, -1)), -0x80000000);
  assert.is(one(div(sub(i32(0), convert("i32", load(6))), 2)), -3);
  assert.is(one(rem(sub(i32(0), convert("i32", load(6))), 2)), -1);
  assert.is(one(shiftRight(sub(i32(0), convert("i32", load(6))), 1)), -4);
  assert.is(one(call("dot4I8Packed", [u32(0x807f01ff), u32(0x02020202)])), 2 * (-128 + 127 + 1 - 1));
  assert.is(one(call("countOneBits", [u32(0xf0f00001)])), 9);
});

test("vectors, packing and bit casts", () => {
  const quad = loadBuffer("quads", "vec4<f32>", lane);
  const result = verified(
    [
      letIs("v", mul(quad, quad)),
      letIs(
        "p",
        call("pack2x16float", [vector([component(local("v", "vec4<f32>"), 0), component(local("v", "vec4<f32>"), 3)])]),
      ),
      letIs("h", bitcast("vec2<f16>", local("p", "u32"))),
      letIs("u", call("unpack2x16float", [local("p", "u32")])),
      store(
        "output",
        lane,
        add(
          call("dot", [quad, quad]),
          add(convert("f32", component(local("h", "vec2<f16>"), 1)), component(local("u", "vec2<f32>"), 0)),
        ),
      ),
    ],
    {
      workgroupSize: [2, 1, 1],
      features: ["f16"],
      buffers: [
        { name: "quads", tensor: "x", element: "vec4<f32>", access: "read", length: 16 },
        { name: "output", tensor: "y", element: "f32", access: "read_write", length: 64 },
      ],
    },
  );
  assert.equal(result.slice(0, 2), [1 + 4 + 9 + 16 + 16 + 1, 25 + 36 + 49 + 64 + 64 + 25]);
});

test("parameters, and functions of floats", () => {
  const result = verified(
    [store("output", lane, power(sqrt(parameter("p", "f32")), f32(3)))],
    { parameters: [{ name: "p", type: "f32" }] },
    { p: 4 },
  );
  assert.is(result[0], 8);
  assert.throws(
    () => run([store("output", lane, parameter("p", "f32"))], { parameters: [{ name: "p", type: "f32" }] }),
    "parameter p was not given",
  );
});

test("barriers order workgroup memory, also in loops", () => {
  const step = local("step", "u32");
  const result = verified(
    [
      storeShared("tile", lane, load(lane)),
      barrier,
      variable("stride", u32(4)),
      forRange("step", 0, 3, [
        ifThen(less(lane, local("stride", "u32")), [
          storeShared("tile", lane, add(tile(lane), tile(add(lane, local("stride", "u32"))))),
        ]),
        barrier,
        assign("stride", shiftRight(local("stride", "u32"), 1)),
        ifThen(less(step, 5), [barrier]),
      ]),
      store("output", lane, tile(0)),
    ],
    array,
  );
  assert.equal(
    result,
    Array.from({ length: 8 }, () => 36),
  );
});

test("subgroup operations join subgroups of four", () => {
  const subgroups = { features: ["subgroups"] } as const;
  assert.equal(
    verified([store("output", lane, call("subgroupAdd", [load(lane)]))], subgroups),
    [10, 10, 10, 10, 26, 26, 26, 26],
  );
  assert.equal(
    verified(
      [store("output", lane, sub(call("subgroupMax", [load(lane)]), call("subgroupMin", [load(lane)])))],
      subgroups,
    ),
    [3, 3, 3, 3, 3, 3, 3, 3],
  );
  assert.equal(
    verified([store("output", lane, call("subgroupShuffleXor", [load(lane), u32(1)]))], subgroups),
    [2, 1, 4, 3, 6, 5, 8, 7],
  );
  assert.equal(
    verified(
      [store("output", lane, call("subgroupShuffle", [load(lane), sub(3, builtin("subgroup_lane"))]))],
      subgroups,
    ),
    [4, 3, 2, 1, 8, 7, 6, 5],
  );
  const partial = verified(
    [
      ifThen(less(builtin("subgroup_index"), 1), [
        variable("v", load(lane)),
        variable("m", u32(1)),
        forRange("k", 0, 2, [
          assign("v", add(local("v", "f32"), call("subgroupShuffleXor", [local("v", "f32"), local("m", "u32")]))),
          assign("m", u32(2)),
        ]),
        letIs("first", call("subgroupBroadcastFirst", [vector([load(lane), local("v", "f32")])])),
        store(
          "output",
          lane,
          add(component(local("first", "vec2<f32>"), 0), component(local("first", "vec2<f32>"), 1)),
        ),
      ]),
    ],
    subgroups,
  );
  assert.equal(partial, [11, 11, 11, 11, 0, 0, 0, 0]);
  fails("only 2 of 4 invocations of subgroup 0 reach a subgroup operation", [
    ifThen(less(lane, 2), [letIs("s", call("subgroupAdd", [load(lane)]))]),
  ]);
  fails("reads lane 4, which is not active", [letIs("s", call("subgroupShuffleXor", [load(lane), u32(4)]))]);
  fails("subgroupShuffle in lane 0 reads lane 5", [letIs("s", call("subgroupShuffle", [load(lane), u32(5)]))]);
});

test("indices out of range are caught", () => {
  fails("reads index 64 of buffer input", [store("output", lane, load(add(lane, 57)))]);
  fails("reads index 4294967295 of buffer input", [store("output", lane, load(sub(lane, 1)))]);
  fails("writes index 64 of buffer output", [store("output", mul(lane, 64), f32(1))]);
  fails(/writes element 8 of array tile/, [storeShared("tile", add(lane, 1), f32(1))], array);
  fails(
    "reads element 9 of array tile",
    [storeShared("tile", lane, f32(1)), barrier, store("output", lane, tile(add(lane, 9)))],
    array,
  );
  // Both sides of a select are evaluated.
  fails("reads index 64", [
    store("output", lane, {
      kind: "select",
      condition: less(lane, 7),
      then: load(lane),
      otherwise: load(64),
      type: "f32",
    }),
  ]);
  assert.throws(
    () => run([], { buffers: [{ name: "input", tensor: "x", element: "f32", access: "read", length: 65 }] }),
    "more than the 256 bytes of tensor x",
  );
});

test("races on workgroup memory are caught, and memory that was never written", () => {
  fails("reads the never written element 0 of array tile", [store("output", lane, tile(lane))], array);
  fails("two invocations write element 0", [storeShared("tile", 0, f32(1))], array);
  fails(
    "one invocation reads what another writes",
    [
      storeShared("tile", lane, f32(1)),
      barrier,
      storeShared("tile", lane, f32(2)),
      store("output", lane, tile(rem(add(lane, 7), 8))),
    ],
    array,
  );
  fails(
    "one invocation writes what another reads",
    [
      storeShared("tile", lane, f32(1)),
      barrier,
      ifThen(less(lane, 4), [store("output", lane, tile(7))], [storeShared("tile", lane, f32(2))]),
    ],
    array,
  );
  // Written in the workgroup before is not written.
  fails(
    "never written",
    [
      ifThen(less(builtin("workgroup_id.x"), 1), [storeShared("tile", lane, f32(1))]),
      store("output", builtin("global_id.x"), tile(lane)),
    ],
    { ...array, workgroups: [2, 1, 1] },
  );
  // In the loop, a barrier is missing after the reads.
  fails(
    "race",
    [
      forRange("k", 0, 2, [
        storeShared("tile", lane, f32(1)),
        barrier,
        store("output", lane, tile(rem(add(lane, 1), 8))),
      ]),
    ],
    array,
  );
});

test("races on buffers are caught", () => {
  assert.is(run([store("output", 0, f32(3))])[0], 3, "all write the same");
  fails(/two invocations write different values \(0 and 1\) to element 0/, [store("output", 0, convert("f32", lane))]);
  fails("one invocation reads what another has written", [
    store("output", lane, f32(1)),
    store("output", add(lane, 8), loadBuffer("output", "f32", rem(add(lane, 7), 8))),
  ]);
  fails("one invocation writes what another has read", [
    store("output", lane, add(loadBuffer("output", "f32", rem(add(lane, 1), 8)), f32(1))),
  ]);
  assert.is(
    run([store("output", lane, f32(1)), store("output", lane, add(loadBuffer("output", "f32", lane), f32(1)))])[3],
    2,
    "its own it may read",
  );
  fails("only 2 of 8 invocations reach a barrier", [ifThen(less(lane, 2), [barrier])]);
});

test.run();
