import * as assert from "uvu/assert";
import {
  add,
  and,
  assign,
  barrier,
  bitAnd,
  bitcast,
  builtin,
  call,
  component,
  convert,
  div,
  f16,
  f32,
  forRange,
  greater,
  i32,
  ifThen,
  less,
  letIs,
  literal,
  load,
  loadShared,
  local,
  mul,
  negate,
  not,
  or,
  parameter,
  power,
  rem,
  roundF16,
  select,
  shiftLeft,
  shiftRight,
  splat,
  store,
  storeShared,
  sub,
  u32,
  unary,
  variable,
  vector,
} from "../../compiler/kernel/build.js";
import type { Expr, Kernel, Statement } from "../../compiler/kernel/kernel.js";
import { emitWgsl } from "../../compiler/wgsl/emit.js";
import { golden } from "../support/golden.js";
import { smallKernel } from "../support/kernels.js";
import { compiled, onNullBackend } from "./support.js";

const test = onNullBackend("wgsl/emit");

const lane = builtin("local_index");
const u = (name: string): Expr => local(name, "u32");
const f = (name: string): Expr => local(name, "f32");

/** A product of a matrix in int4 with a vector: loops, workgroup memory, subgroups, f16. */
const product: Kernel = {
  name: "matvec",
  workgroupSize: [64, 1, 1],
  workgroups: [128, 1, 1],
  buffers: [
    { name: "weights", tensor: "w", element: "vec4<u32>", access: "read", length: 128 * 16 },
    { name: "scales", tensor: "scales", element: "f16", access: "read", length: 128 },
    { name: "activations", tensor: "x", element: "vec2<f16>", access: "read", length: 256 },
    { name: "result", tensor: "y", element: "f32", access: "read_write", length: 128 },
  ],
  parameters: [
    { name: "factor", type: "f32" },
    { name: "from", type: "u32" },
  ],
  arrays: [
    { name: "partial", element: "f32", length: 64 },
    { name: "shared", element: "vec2<f16>", length: 64 },
  ],
  features: ["f16", "subgroups"],
  body: [
    letIs("row", builtin("workgroup_id.x")),
    forRange("k", 0, 4, [
      storeShared("shared", lane, load({ name: "activations", element: "vec2<f16>" }, add(mul(u("k"), 64), lane))),
      barrier,
      variable("sum", f32(0)),
      ifThen(and(less(lane, 16), less(u("row"), 128)), [
        letIs("quad", load({ name: "weights", element: "vec4<u32>" }, add(mul(u("row"), 16), lane))),
        letIs(
          "pair",
          bitcast(
            "vec2<f16>",
            add(bitAnd(shiftRight(component(local("quad", "vec4<u32>"), 1), 4), 0x000f000f), 0x64006400),
          ),
        ),
        letIs("centred", sub(local("pair", "vec2<f16>"), splat(f16(1032), 2))),
        assign(
          "sum",
          add(
            f("sum"),
            convert("f32", call("dot", [local("centred", "vec2<f16>"), loadShared("shared", "vec2<f16>", lane)])),
          ),
        ),
      ]),
      letIs("total", call("subgroupAdd", [f("sum")])),
      storeShared("partial", lane, f("total")),
      barrier,
      ifThen(
        less(lane, 1),
        [
          store(
            "result",
            u("row"),
            call("fma", [
              mul(loadShared("partial", "f32", 0), convert("f32", load({ name: "scales", element: "f16" }, u("row")))),
              parameter("factor", "f32"),
              convert("f32", parameter("from", "u32")),
            ]),
          ),
        ],
        [ifThen(less(lane, 2), [assign("sum", f32(0))], [assign("sum", f32(1))])],
      ),
      barrier,
    ]),
  ],
  origin: { schedule: "matvec", values: ["y", "z\nw"] },
};

test("a product", async ({ pipelines }) => golden("wgsl/product.wgsl", await compiled(pipelines, product)));

/** Stores each expression, as its own statement. */
function storing(values: readonly Expr[], change: Partial<Kernel> = {}): Kernel {
  const body: Statement[] = [
    letIs("i", lane),
    letIs("x", load({ name: "input", element: "f32" }, u("i"))),
    letIs("n", convert("i32", f("x"))),
    letIs("b", less(f("x"), 2)),
  ];
  values.forEach((value, at) => body.push(letIs(`v${at}`, value)));
  body.push(store("output", 0, f32(1)));
  return smallKernel(body, change);
}

const n = local("n", "i32");
const b = local("b", "bool");
const x = f("x");
const i = u("i");
const raw = (a: object): Expr => a as Expr;

test("operators, and where they need parentheses", async ({ pipelines }) => {
  const wgsl = await compiled(
    pipelines,
    storing([
      add(mul(x, 2), mul(x, 3)),
      mul(add(x, 1), sub(x, 1)),
      sub(x, sub(x, 1)),
      sub(sub(x, 1), 2),
      mul(x, mul(x, 2)),
      negate(add(x, 1)),
      negate(negate(x)),
      sub(x, f32(-1)),
      negate(mul(n, 2)),
      raw({ kind: "unary", op: "negate", a: { kind: "unary", op: "negate", a: x, type: "f32" }, type: "f32" }),
      add(shiftLeft(i, 2), shiftRight(bitAnd(i, 7), 1)),
      not(less(x, 1)),
      and(less(x, 1), or(b, not(b))),
      or(and(b, b), and(b, less(i, 3))),
      select(and(less(x, 1), greater(x, -1)), x, 0),
      select(less(x, 1), select(greater(x, 2), x, 1), 0),
      call("clamp", [x, f32(0), f32(1)]),
      raw({ kind: "select", condition: b, then: less(x, 1), otherwise: greater(x, add(x, 1)), type: "bool" }),
      vector([less(x, 1), greater(x, add(x, 1))]),
      power(x, f32(2)),
      rem(n, 3),
      unary("bit_not", i),
      less(add(i, 1), mul(i, 2)),
      and(splat(b, 2), less(splat(x, 2), splat(f32(1), 2))),
      component(add(splat(x, 3), splat(f32(1), 3)), 2),
      select(less(splat(x, 4), splat(f32(0), 4)), splat(x, 4), splat(x, 4)),
    ]),
  );
  golden("wgsl/operators.wgsl", wgsl);
});

test("what WGSL refuses of constants is kept from its folding", async ({ pipelines }) => {
  const part = (a: Expr): Expr => raw({ kind: "component", a, at: 1, type: "u32" });
  const divide = (a: Expr, by: Expr): Expr => raw({ kind: "binary", op: "divide", a, b: by, type: a.type });
  const wgsl = await compiled(
    pipelines,
    storing([
      f32(Infinity),
      f32(-Infinity),
      f32(NaN),
      f32(-0),
      f32(3.4028234663852886e38),
      f32(1e-45),
      i32(-0x80000000),
      u32(0xffffffff),
      f32(16777216),
      f32(1e-7),
      f32(1e21),
      divide(i, u32(0)),
      divide(n, i32(0)),
      divide(f32(1), f32(0)),
      divide(splat(i, 2), vector([u32(1), u32(0)])),
      raw({ kind: "binary", op: "remainder", a: i, b: u32(0), type: "u32" }),
      raw({ kind: "binary", op: "shift_left", a: i, b: u32(35), type: "u32" }),
      raw({ kind: "binary", op: "shift_left", a: u32(0xffffffff), b: u32(4), type: "u32" }),
      raw({ kind: "binary", op: "multiply", a: f32(1e38), b: f32(10), type: "f32" }),
      unary("log", f32(-1)),
      unary("sqrt", f32(-1)),
      call("clamp", [x, f32(2), f32(1)]),
      call("fma", [f32(1e38), f32(10), f32(0)]),
      raw({ kind: "bitcast", a: u32(0x7fc00000), type: "f32" }),
      raw({ kind: "convert", a: f32(1e20), type: "i32" }),
      call("unpack2x16float", [u32(0x7c007c00)]),
      unary("exp", splat(f32(1000), 2)),
      raw({ kind: "unary", op: "negate", a: f32(-1), type: "f32" }),
      raw({ kind: "component", a: vector([f32(1), x]), at: 0, type: "f32" }),
      raw({ kind: "select", condition: literal("bool", 1), then: f32(1), otherwise: f32(0), type: "f32" }),
      raw({ kind: "binary", op: "shift_left", a: i, b: part(vector([u32(0), u32(35)])), type: "u32" }),
      divide(i, part(vector([u32(1), u32(0)]))),
    ]),
  );
  golden("wgsl/constants.wgsl", wgsl);
});

test("f16 literals and conversions", async ({ pipelines }) => {
  await compiled(
    pipelines,
    storing(
      [
        f16(65504),
        f16(-(2 ** -24)),
        f16(2 ** -14),
        f16(0.1),
        f16(-0),
        mul(f16(65504), convert("f16", x)),
        raw({ kind: "binary", op: "multiply", a: f16(65504), b: f16(2), type: "f16" }),
        convert("vec4<f16>", splat(x, 4)),
        bitcast("vec2<f16>", i),
        bitcast("u32", convert("vec2<f16>", splat(x, 2))),
        roundF16(x),
        roundF16(splat(x, 4)),
      ],
      { features: ["f16"] },
    ),
  );
});

test("floats are divided by WGSL's own operator where its range cannot be left", async ({ pipelines }) => {
  const h = convert("f16", x);
  const own = [div(x, 3), div(x, f32(2 ** -126)), div(f32(-1), x), div(x, convert("f32", n)), div(h, f16(2 ** 14))];
  const called = [div(x, f32(2 ** 127)), div(x, 0), div(f32(2), x), div(x, x), div(h, f16(2 ** 15)), div(h, h)];
  const others = [
    div(splat(x, 4), splat(x, 4)),
    div(splat(h, 2), splat(h, 2)),
    rem(x, 3),
    rem(splat(h, 4), splat(h, 4)),
  ];
  const wgsl = await compiled(pipelines, storing([...own, ...called, ...others], { features: ["f16"] }));
  const values = [...wgsl.matchAll(/^ {2}let v\d+ = (.*);$/gm)].map(([, value = ""]) => value);
  assert.equal(
    values.map((value) => /^total_\w+|\/|%/.exec(value)?.[0]),
    [
      ...own.map(() => "/"),
      ...["", "", "", "", "_half", "_half", "_4", "_half_2"].map((suffix) => `total_divide${suffix}`),
      "total_remainder",
      "total_remainder_half_4",
    ],
  );
});

test("every operation compiles", async ({ pipelines }) => {
  const unaries = [
    "sqrt",
    "rsqrt",
    "exp",
    "log",
    "sin",
    "cos",
    "tanh",
    "floor",
    "ceil",
    "round",
    "abs",
    "sign",
    "negate",
    "round_f16",
  ] as const;
  const subgroup = ["subgroupAdd", "subgroupMax", "subgroupMin", "subgroupBroadcastFirst"] as const;
  const binaries = [
    "add",
    "subtract",
    "multiply",
    "divide",
    "remainder",
    "power",
    "min",
    "max",
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
  ] as const;
  const builtins = [
    "global_id.x",
    "global_id.y",
    "local_id.z",
    "workgroup_id.y",
    "subgroup_lane",
    "subgroup_index",
    "subgroup_size",
  ] as const;
  await compiled(
    pipelines,
    storing(
      [
        ...unaries.flatMap((op) => [unary(op, x), unary(op, splat(x, 4))]),
        ...subgroup.flatMap((name) => [call(name, [x]), call(name, [splat(n, 4)])]),
        ...binaries.flatMap((op) =>
          [x, splat(x, 3)].map((a) =>
            raw({
              kind: "binary",
              op,
              a,
              b: a,
              type: /equal|less|greater/.test(op) ? a.type.replace("f32", "bool") : a.type,
            }),
          ),
        ),
        ...builtins.map(builtin),
        call("subgroupShuffleXor", [splat(x, 2), u32(1)]),
        call("subgroupShuffle", [x, u32(1)]),
        call("dot4I8Packed", [i, i]),
        call("countOneBits", [splat(i, 2)]),
        call("dot", [splat(n, 3), splat(n, 3)]),
        call("pack2x16float", [splat(x, 2)]),
        convert("bool", x),
        convert("vec2<bool>", splat(n, 2)),
        convert("f32", b),
        raw({ kind: "binary", op: "equal", a: b, b, type: "bool" }),
      ],
      { features: ["subgroups"] },
    ),
  );
});

test("what the verifier lets pass of control flow, WGSL does too", async ({ pipelines }) => {
  const input = (index: Expr): Expr => load({ name: "input", element: "f32" }, index);
  const group = builtin("workgroup_id.x");
  await compiled(
    pipelines,
    smallKernel(
      [
        ifThen(less(input(group), f32(2)), [barrier]),
        ifThen(less(parameter("n", "u32"), 2), [barrier]),
        ifThen(less(builtin("subgroup_size"), 8), [barrier]),
        variable("bound", group),
        forRange("k", group, local("bound", "u32"), [
          forRange("m", 0, local("k", "u32"), [barrier], parameter("n", "u32")),
          assign("bound", add(local("bound", "u32"), 1)),
        ]),
        ifThen(less(lane, 3), [store("output", lane, f32(1))]),
        barrier,
        ifThen(less(builtin("subgroup_index"), 1), [
          letIs("s", call("subgroupAdd", [input(lane)])),
          ifThen(less(f("s"), 3), [letIs("t", call("subgroupMax", [input(lane)]))]),
        ]),
        barrier,
      ],
      { parameters: [{ name: "n", type: "u32" }], features: ["subgroups"] },
    ),
  );
});

test("a body of more lines than a call has arguments", () => {
  const lines = 200_000;
  const body: readonly Statement[] = Array.from({ length: lines }, (_, at) => letIs(`v_${at}`, u32(at)));
  assert.is(emitWgsl({ ...product, body }).split("\n").length > lines, true);
});

test.run();
