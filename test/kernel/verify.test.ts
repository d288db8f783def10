import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  add,
  assign,
  barrier,
  bitcast,
  builtin,
  call,
  convert,
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
  store,
  storeShared,
  u32,
  variable,
} from "../../compiler/kernel/build.js";
import type { Expr, Kernel, Statement } from "../../compiler/kernel/kernel.js";
import { printKernel } from "../../compiler/kernel/print.js";
import { verifyKernel, workgroupMemory } from "../../compiler/kernel/verify.js";
import { baselineTarget } from "../../compiler/target.js";
import { smallKernel } from "../support/kernels.js";

const test = suite("kernel/verify");

const lane = builtin("local_index");
const group = builtin("workgroup_id.x");
const load = (index: Expr | number): Expr => loadBuffer("input", "f32", index);
const array = { arrays: [{ name: "tile", element: "f32", length: 8 }] } as const;

function sound(body: readonly Statement[], change: Partial<Kernel> = {}): void {
  assert.equal(verifyKernel(smallKernel(body, change)), []);
}

/** Asserts one fault whose text matches. */
function unsound(expected: RegExp | string, body: readonly Statement[], change: Partial<Kernel> = {}): void {
  const faults = verifyKernel(smallKernel(body, change));
  assert.ok(
    faults.length > 0,
    `nothing was found of ${String(expected)} in\n${printKernel(smallKernel(body, change))}`,
  );
  assert.match(faults.join("\n"), expected);
  assert.match(faults[0] ?? "", /^kernel small: /);
}

test("a sound kernel has no faults", () => {
  sound([
    letIs("i", lane),
    variable("sum", f32(0)),
    forRange("k", 0, 8, [
      assign("sum", add(local("sum", "f32"), load(add(mul(local("i", "u32"), 8), local("k", "u32"))))),
    ]),
    ifThen(less(local("i", "u32"), 4), [store("output", local("i", "u32"), local("sum", "f32"))]),
  ]);
});

test("types are held", () => {
  const wrong = (a: object): Statement => store("output", 0, a as Expr);
  unsound("the second must be f32", [wrong({ kind: "binary", op: "add", a: f32(1), b: u32(1), type: "f32" })]);
  unsound("less has type f32 instead of bool", [
    wrong({ kind: "binary", op: "less", a: f32(1), b: f32(1), type: "f32" }),
  ]);
  unsound("has type f32 instead of u32", [wrong({ kind: "load", buffer: "input", index: f32(1), type: "f32" })]);
  unsound("a load of input has type u32", [wrong({ kind: "load", buffer: "input", index: u32(0), type: "u32" })]);
  unsound("the value stored to output has type u32", [wrong(u32(1))]);
  unsound("the condition of an if", [ifThen(f32(1), [])]);
  unsound("a bound of the loop over k has type i32", [
    { kind: "for", name: "k", type: "u32", from: i32(0), to: u32(3), step: u32(1), body: [] },
  ]);
  unsound("steps by 0", [forRange("k", 0, 3, [], 0)]);
  unsound("is not a u32", [wrong({ kind: "convert", a: { kind: "literal", type: "u32", value: -1 }, type: "f32" })]);
  unsound("is not a f32", [wrong({ kind: "literal", type: "f32", value: 0.1 })]);
  unsound("component 2 of vec2<f32>", [
    wrong({ kind: "component", a: { kind: "vector", parts: [f32(1), f32(2)], type: "vec2<f32>" }, at: 2, type: "f32" }),
  ]);
  unsound("a bitcast of f32 to vec2<u32>", [letIs("v", { kind: "bitcast", a: f32(1), type: "vec2<u32>" })]);
  unsound("dot(f32, f32) does not exist", [wrong({ kind: "call", name: "dot", args: [f32(1), f32(1)], type: "f32" })]);
});

test("names are defined before they are used, once, and only where they are", () => {
  unsound("x is used where it is not defined", [store("output", 0, local("x", "f32"))]);
  unsound("k is used where it is not defined", [forRange("k", 0, 2, []), store("output", local("k", "u32"), f32(1))]);
  unsound("the name x is defined twice", [letIs("x", f32(1)), ifThen(less(lane, 2), [letIs("x", f32(1))])]);
  unsound("the name input is defined twice", [letIs("input", f32(1))]);
  unsound("x is assigned to, and is no var", [letIs("x", f32(1)), assign("x", f32(2))]);
  unsound("k is assigned to", [forRange("k", 0, 2, [assign("k", u32(1))])]);
  unsound("no parameter p", [store("output", 0, parameter("p", "f32"))]);
  unsound("no buffer nowhere", [store("nowhere", 0, f32(1))]);
  unsound("no array tile", [storeShared("tile", 0, f32(1))]);
  unsound('"a__b" is no usable name', [letIs("a__b", f32(1))]);
  unsound('"1" is no usable name', [letIs("1", f32(1))]);
});

test("buffers are held to their access and views", () => {
  unsound("input is stored to, and is read-only", [store("input", 0, f32(1))]);
  unsound("index 64 of buffer output", [store("output", 64, f32(1))]);
  unsound("index 8 of array tile", [storeShared("tile", 8, f32(1))], array);
  const views = (second: "read" | "read_write"): Kernel["buffers"] => [
    { name: "words", tensor: "x", element: "u32", access: "read", length: 64 },
    { name: "quads", tensor: "x", element: second === "read" ? "vec4<u32>" : "u32", access: second, length: 16 },
  ];
  sound([], { buffers: views("read") });
  unsound("tensor x is written, and has 2 views", [], { buffers: views("read_write") });
  unsound("elements of vec3<f32>", [], {
    buffers: [{ name: "x", tensor: "x", element: "vec3<f32>", access: "read", length: 4 }],
  });
  unsound("has a length of 0", [], { arrays: [{ name: "none", element: "f32", length: 0 }] });
});

test("dispatches and workgroups are held to WebGPU's limits", () => {
  unsound("65536 workgroups along y", [], { workgroups: [1, 65536, 1] });
  unsound("the workgroup's x is 0", [], { workgroupSize: [0, 1, 1] });
  unsound("the workgroup's z is 65", [], { workgroupSize: [1, 1, 65] });
});

test("features must be listed", () => {
  unsound("f16 without the feature", [letIs("h", convert("f16", load(0)))]);
  sound([letIs("h", convert("f16", load(0)))], { features: ["f16"] });
  unsound("subgroups without the feature", [letIs("s", call("subgroupAdd", [load(0)]))]);
  unsound("subgroups without the feature", [letIs("s", builtin("subgroup_size"))]);
});

test("a target's limits are held", () => {
  const faults = (change: Partial<Kernel>): string => verifyKernel(smallKernel([], change), baselineTarget).join("\n");
  assert.is(faults({}), "");
  assert.match(faults({ workgroupSize: [512, 1, 1] }), "invocations a workgroup: 512, where baseline allows 256");
  assert.match(faults({ arrays: [{ name: "tile", element: "vec4<f32>", length: 1025 }] }), "16400");
  assert.match(
    faults({ features: ["f16", "subgroups"] }),
    /f16, which baseline lacks[^]*subgroups, which baseline lacks/,
  );
  assert.match(
    faults({
      buffers: Array.from({ length: 9 }, (_, at) => ({
        name: `b${at}`,
        tensor: `b${at}`,
        element: "f32" as const,
        access: "read" as const,
        length: 1,
      })),
    }),
    "storage buffers: 9",
  );
  assert.match(
    faults({ buffers: [{ name: "b", tensor: "b", element: "f32", access: "read", length: 2 ** 26 }] }),
    "bytes of buffer b",
  );
  assert.is(
    workgroupMemory(
      smallKernel([], {
        arrays: [
          { name: "a", element: "vec3<f32>", length: 2 },
          { name: "b", element: "bool", length: 1 },
        ],
      }),
    ),
    48,
  );
});

const subgroups = { features: ["subgroups"] } as const;
const sum = call("subgroupAdd", [load(0)]);

test("barriers stand in control flow that the whole workgroup shares", () => {
  sound(
    [
      ifThen(less(group, 2), [barrier]),
      forRange("k", 0, group, [barrier]),
      ifThen(less(parameter("n", "u32"), 2), [barrier]),
    ],
    { parameters: [{ name: "n", type: "u32" }] },
  );
  sound([ifThen(less(load(group), f32(2)), [barrier])]);
  const fault = "A barrier stands in control flow that differs within a workgroup";
  unsound(fault, [ifThen(less(lane, 2), [barrier])]);
  unsound(fault, [ifThen(less(lane, 2), [], [barrier])]);
  unsound(fault, [forRange("k", 0, lane, [barrier])]);
  unsound(fault, [ifThen(less(load(lane), f32(2)), [barrier])]);
  unsound(fault, [ifThen(less(loadBuffer("output", "f32", 0), f32(2)), [barrier])]);
  unsound(fault, [ifThen(less(loadShared("tile", "f32", 0), f32(2)), [barrier])], array);
  unsound(fault, [
    variable("x", u32(0)),
    ifThen(less(lane, 2), [assign("x", u32(1))]),
    ifThen(less(local("x", "u32"), 1), [barrier]),
  ]);
  // What makes x differ comes after the barrier, but before its next round.
  unsound(fault, [
    variable("x", u32(0)),
    forRange("k", 0, 4, [ifThen(less(local("x", "u32"), 1), [barrier]), assign("x", lane)]),
  ]);
  unsound(fault, [
    variable("x", u32(0)),
    variable("y", u32(0)),
    forRange("k", 0, 4, [
      ifThen(less(local("y", "u32"), 1), [barrier]),
      assign("y", local("x", "u32")),
      assign("x", lane),
    ]),
  ]);
  unsound(fault, [ifThen(less(sum, f32(1)), [barrier])], subgroups);
});

test("subgroup operations stand in control flow that each subgroup shares", () => {
  sound(
    [
      ifThen(less(builtin("subgroup_index"), 2), [
        letIs("s", sum),
        ifThen(less(local("s", "f32"), f32(2)), [letIs("t", sum)]),
      ]),
    ],
    subgroups,
  );
  sound(
    [
      variable("m", u32(1)),
      forRange("k", 0, 3, [
        letIs("s", call("subgroupShuffleXor", [load(lane), local("m", "u32")])),
        assign("m", mul(local("m", "u32"), 2)),
      ]),
    ],
    subgroups,
  );
  unsound(
    "subgroupAdd stands in control flow that differs within a subgroup",
    [ifThen(less(lane, 2), [letIs("s", sum)])],
    subgroups,
  );
  unsound(
    "subgroupAdd stands",
    [ifThen(less(call("subgroupShuffleXor", [load(lane), u32(1)]), f32(2)), [letIs("s", sum)])],
    subgroups,
  );
  sound([letIs("s", call("subgroupShuffle", [load(lane), mul(builtin("subgroup_index"), 2)]))], subgroups);
  unsound(
    "subgroupShuffle stands in control flow that differs within a subgroup",
    [ifThen(less(lane, 2), [letIs("s", call("subgroupShuffle", [load(lane), u32(0)]))])],
    subgroups,
  );
  unsound("a mask that differs", [letIs("s", call("subgroupShuffleXor", [load(0), lane]))], subgroups);
  unsound(
    "the second operand of `and`",
    [letIs("s", { kind: "binary", op: "and", a: less(group, 1), b: less(sum, f32(1)), type: "bool" })],
    subgroups,
  );
  unsound("the bound or step of the loop over k", [forRange("k", 0, bitcast("u32", sum), [])], subgroups);
});

test("kernels print readably", () => {
  const kernel = smallKernel(
    [
      variable("sum", f32(0)),
      forRange("k", 0, 8, [assign("sum", add(local("sum", "f32"), mul(load(local("k", "u32")), f32(0.5))))], 2),
      ifThen(less(lane, 4), [storeShared("tile", lane, local("sum", "f32"))], [storeShared("tile", lane, f32(-1))]),
      barrier,
      store("output", lane, loadShared("tile", "f32", lane)),
    ],
    array,
  );
  assert.is(
    printKernel(kernel),
    `kernel small: test of y
  1 x 1 x 1 workgroups of 8 x 1 x 1
  read input: f32[64] of x
  write output: f32[64] of y
  shared tile: f32[8]
  32 bytes of workgroup memory

  var sum: f32 = 0.0
  for k: u32 in 0 .. 8 by 2 {
    sum = sum + (input[k] * 0.5)
  }
  if local_index < 4 {
    tile[local_index] = sum
  } else {
    tile[local_index] = -1.0
  }
  barrier
  output[local_index] = tile[local_index]
`,
  );
});

test.run();
