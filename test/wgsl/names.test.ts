import * as assert from "uvu/assert";
import { add, builtin, call, convert, f32, letIs, local, roundF16, store, unary } from "../../compiler/kernel/build.js";
import type { Expr, Statement } from "../../compiler/kernel/kernel.js";
import { smallKernel } from "../support/kernels.js";
import { compiled, onNullBackend } from "./support.js";

const test = onNullBackend("wgsl/names");

const lane = builtin("local_index");
const f = (name: string): Expr => local(name, "f32");
const raw = (a: object): Expr => a as Expr;

test("names that WGSL reserves, or that would shadow what the text uses, are changed", async ({ pipelines }) => {
  const names = [
    "loop",
    "abs",
    "f32",
    "vec4",
    "max",
    "main",
    "parameters",
    "local_index",
    "self",
    "override",
    "hide_u32",
    "round_f16",
    "total_exp",
    "turn_digits",
    "max_",
    "workgroupBarrier",
    "select",
    "array",
  ];
  const body: Statement[] = names.map((name, at) =>
    letIs(name, unary("abs", unary("negate", roundF16(convert("f32", add(lane, at)))))),
  );
  body.push(
    store(
      "output",
      lane,
      call("fma", [
        f("loop"),
        raw({ kind: "binary", op: "max", a: f("abs"), b: f("max"), type: "f32" }),
        f32(Infinity),
      ]),
    ),
  );
  const wgsl = await compiled(
    pipelines,
    smallKernel(body, {
      parameters: [{ name: "struct", type: "f32" }],
      buffers: [
        { name: "function", tensor: "x", element: "f32", access: "read", length: 64 },
        { name: "output", tensor: "y", element: "f32", access: "read_write", length: 64 },
      ],
    }),
  );
  for (const line of [
    "let loop_ =",
    "let max__ =",
    "let v_hide_u32 =",
    "var<storage, read> function_:",
    "struct_: f32",
  ])
    assert.ok(wgsl.includes(line), `${line}\n${wgsl}`);
});

test.run();
