/**
 * Which values agree over a workgroup or a subgroup: shown by whether a barrier or a subgroup operation may hang on
 * them.
 */
import fc from "fast-check";
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
  forRange,
  greater,
  ifThen,
  less,
  letIs,
  loadBuffer,
  loadShared,
  local,
  mul,
  parameter,
  rem,
  select,
  store,
  u32,
  variable,
  vector,
} from "../../compiler/kernel/build.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import type { Expr, Kernel, Statement } from "../../compiler/kernel/kernel.js";
import { uniformityFaults } from "../../compiler/kernel/uniform.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import { smallKernel } from "../support/kernels.js";
import { runs } from "../support/runs.js";

const test = suite("kernel/uniform");

const change: Partial<Kernel> = {
  workgroups: [2, 1, 1],
  buffers: [
    { name: "input", tensor: "x", element: "u32", access: "read", length: 64 },
    { name: "output", tensor: "y", element: "u32", access: "read_write", length: 64 },
  ],
  arrays: [{ name: "tile", element: "u32", length: 8 }],
  parameters: [{ name: "n", type: "u32" }],
  features: ["subgroups"],
};

const lane = builtin("local_index");
const load = (index: Expr | number): Expr => loadBuffer("input", "u32", index);
const join = (value: Expr): Expr => call("subgroupAdd", [value]);

type Uniformity = "workgroup" | "subgroup" | "none";

/** How far a value agrees after some statements. */
function uniformityOf(value: Expr, before: readonly Statement[] = []): Uniformity {
  const allows = (inside: Statement): boolean => {
    const faults = uniformityFaults(smallKernel([...before, ifThen(less(value, 2), [inside])], change));
    assert.ok(
      faults.every((fault) => /differs within a (?:workgroup|subgroup)/.test(fault)),
      faults.join(),
    );
    return faults.length === 0;
  };
  if (allows(barrier)) return "workgroup";
  return allows(letIs("joined", join(u32(1)))) ? "subgroup" : "none";
}

test("values agree as far as what they are made of", () => {
  const wide = vector([builtin("workgroup_id.x"), lane]);
  const cases: readonly (readonly [string, Expr, Uniformity])[] = [
    ["a literal", u32(7), "workgroup"],
    ["a parameter", parameter("n", "u32"), "workgroup"],
    ["the workgroup's place", builtin("workgroup_id.y"), "workgroup"],
    ["the size of subgroups", builtin("subgroup_size"), "workgroup"],
    ["the number of the subgroup", builtin("subgroup_index"), "subgroup"],
    ["the lane", builtin("subgroup_lane"), "none"],
    ["the invocation", lane, "none"],
    ["its place of all", builtin("global_id.x"), "none"],
    ["its place by axes", builtin("local_id.z"), "none"],
    ["what is read in one place", load(builtin("workgroup_id.x")), "workgroup"],
    ["what is read in a place of the subgroup", load(builtin("subgroup_index")), "subgroup"],
    ["what is read in each one's place", load(lane), "none"],
    ["what is read of what others write", loadBuffer("output", "u32", 0), "none"],
    ["workgroup memory", loadShared("tile", "u32", 0), "none"],
    ["a sum over the subgroup", join(lane), "subgroup"],
    ["the largest of what agrees", call("subgroupMax", [parameter("n", "u32")]), "subgroup"],
    ["the first of the subgroup", call("subgroupBroadcastFirst", [lane]), "subgroup"],
    ["another lane's", call("subgroupShuffleXor", [parameter("n", "u32"), u32(1)]), "none"],
    ["that of a lane each chooses", call("subgroupShuffle", [parameter("n", "u32"), lane]), "none"],
    ["a sum with what differs", add(u32(1), lane), "none"],
    ["a sum with what agrees less", mul(parameter("n", "u32"), builtin("subgroup_index")), "subgroup"],
    ["a choice by what differs", select(less(lane, 2), u32(1), u32(2)), "none"],
    ["a choice of what differs", select(less(parameter("n", "u32"), 2), lane, u32(2)), "none"],
    ["a vector with what differs", component(add(wide, wide), 0), "none"],
    ["another type", convert("u32", convert("f32", builtin("subgroup_index"))), "subgroup"],
    ["the same bits", bitcast("u32", bitcast("i32", lane)), "none"],
  ];
  for (const [what, value, uniformity] of cases) assert.is(uniformityOf(value), uniformity, what);
});

const x = local("x", "u32");
const y = local("y", "u32");

test("a variable agrees as far as the least of all that it is given, and of where", () => {
  const cases: readonly (readonly [string, readonly Statement[], Uniformity])[] = [
    ["given what agrees", [variable("x", u32(1)), assign("x", add(x, 1))], "workgroup"],
    ["given what differs", [variable("x", u32(1)), assign("x", lane)], "none"],
    ["given it back", [variable("x", lane), assign("x", u32(1))], "none"],
    ["where the workgroup parts", [variable("x", u32(0)), ifThen(less(lane, 2), [assign("x", u32(1))])], "none"],
    ["in the other branch", [variable("x", u32(0)), ifThen(less(lane, 2), [], [assign("x", u32(1))])], "none"],
    [
      "where subgroups part",
      [variable("x", u32(0)), ifThen(less(builtin("subgroup_index"), 1), [assign("x", u32(1))])],
      "subgroup",
    ],
    ["in as many rounds for all", [variable("x", u32(0)), forRange("k", 0, 3, [assign("x", add(x, 1))])], "workgroup"],
    ["in rounds of each one's own", [variable("x", u32(0)), forRange("k", 0, lane, [assign("x", u32(1))])], "none"],
    [
      "from a variable that falls in a later round",
      [
        variable("y", u32(0)),
        variable("x", u32(0)),
        forRange("k", 0, 3, [assign("x", y), assign("y", builtin("subgroup_index"))]),
      ],
      "subgroup",
    ],
    [
      "two rounds later",
      [
        variable("z", u32(0)),
        variable("y", u32(0)),
        variable("x", u32(0)),
        forRange("k", 0, 4, [assign("x", y), assign("y", local("z", "u32")), assign("z", lane)]),
      ],
      "none",
    ],
  ];
  for (const [what, statements, uniformity] of cases) assert.is(uniformityOf(x, statements), uniformity, what);
});

test("a loop's variable agrees as far as where it begins, ends and steps", () => {
  const within = (from: Expr, to: Expr, step: Expr): boolean => {
    const loop: Statement = { kind: "for", name: "k", type: "u32", from, to, step, body: [barrier] };
    return uniformityFaults(smallKernel([loop], change)).length === 0;
  };
  const own = add(lane, 1);
  assert.equal(
    [
      within(u32(0), u32(4), u32(1)),
      within(own, u32(4), u32(1)),
      within(u32(0), own, u32(1)),
      within(u32(0), u32(4), own),
    ],
    [true, false, false, false],
  );
});

test("places of matrices, and the control flow around them, agree over a subgroup", () => {
  const matrix = (index: Expr, stride: Expr): Statement => ({
    kind: "load_matrix",
    name: "m",
    role: "left",
    array: "tile",
    index,
    stride,
    columns: false,
  });
  const faults = (...body: readonly Statement[]): number => uniformityFaults(smallKernel(body, change)).length;
  assert.is(faults(matrix(builtin("subgroup_index"), u32(16)), { kind: "matrix", name: "r" }), 0);
  assert.is(faults(matrix(lane, u32(16))), 1);
  assert.is(faults(matrix(u32(0), lane)), 1);
  assert.is(faults(ifThen(less(lane, 2), [matrix(u32(0), u32(16))])), 1);
  assert.is(faults(ifThen(less(lane, 2), [{ kind: "matrix", name: "r" }])), 1);
  assert.is(faults(ifThen(less(lane, 2), [{ kind: "multiply_matrices", result: "r", left: "a", right: "b" }])), 1);
});

/** Expressions of u32 that stay in range, over the variables given. */
function values(locals: readonly Expr[]): fc.Arbitrary<Expr> {
  const { value } = fc.letrec<{ value: Expr; leaf: Expr }>((tie) => ({
    leaf: fc.constantFrom<Expr>(
      u32(1),
      u32(3),
      parameter("n", "u32"),
      lane,
      builtin("workgroup_id.x"),
      builtin("subgroup_index"),
      builtin("subgroup_lane"),
      ...locals,
    ),
    value: fc.oneof(
      { maxDepth: 3, depthSize: "small" },
      tie("leaf"),
      tie("value").map((a) => load(rem(a, 64))),
      fc.tuple(tie("value"), tie("value")).map(([a, b]) => rem(add(a, b), 8)),
      fc.tuple(tie("value"), tie("value"), tie("value")).map(([a, b, c]) => select(greater(a, 2), b, c)),
      fc
        .constantFrom("subgroupAdd", "subgroupMax", "subgroupBroadcastFirst")
        .chain((name) => tie("value").map((a) => call(name as "subgroupAdd", [a]))),
      tie("value").map((a) => call("subgroupShuffleXor", [a, u32(1)])),
    ),
  }));
  return value;
}

const assigned = (name: string, locals: readonly Expr[]): fc.Arbitrary<Statement> =>
  values(locals).map((value) => assign(name, value));

const program = fc
  .tuple(
    values([]),
    values([x]),
    fc.array(
      fc.oneof(
        assigned("x", [x, y]),
        fc
          .tuple(values([x, y]), assigned("x", [x, y]), assigned("y", [x, y]))
          .map(([condition, then, otherwise]) => ifThen(less(condition, 3), [then], [otherwise])),
        fc
          .tuple(values([x, y]), assigned("x", [x, y]), assigned("y", [x, y]))
          .map(([to, first, second]) => forRange("k", 0, rem(to, 4), [first, second])),
      ),
      { maxLength: 4 },
    ),
    values([x, y]),
  )
  .map(([a, b, rest, result]) => {
    // names are unique in a kernel
    const body = [variable("x", a), variable("y", b), ...rest].map((s, at) =>
      s.kind === "for" ? { ...s, name: `k_${at}` } : s,
    );
    return { body, result };
  });

test("what is said to agree does, in kernels that are run", () => {
  let held = 0;
  fc.assert(
    fc.property(program, ({ body, result }) => {
      const kernel = smallKernel(
        [...body, letIs("result", result), store("output", builtin("global_id.x"), local("result", "u32"))],
        change,
      );
      fc.pre(verifyKernel(kernel).length === 0);
      const output = new Uint32Array(64);
      evaluateKernel(
        kernel,
        new Map([
          ["x", Uint32Array.from({ length: 64 }, (_, at) => (at * 7) % 5).buffer],
          ["y", output.buffer],
        ]),
        { n: 2 },
      );
      const uniformity = uniformityOf(result, body);
      const size = { workgroup: 8, subgroup: 4, none: 1 }[uniformity];
      if (size > 1) held += 1;
      for (let at = 0; at < 16; at += 1) assert.is(output[at], output[at - (at % size)], uniformity);
    }),
    runs(300),
  );
  assert.ok(held > 0);
});

test.run();
