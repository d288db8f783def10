/** Small kernels and random kernel expressions, for the tests of the Kernel IR and its emitter. */
import fc from "fast-check";
import * as build from "../../compiler/kernel/build.js";
import type {
  Expr,
  Kernel,
  KernelBinary,
  KernelFunction,
  KernelUnary,
  ScalarType,
  Statement,
} from "../../compiler/kernel/kernel.js";
import { elementType, vectorType, width, type KernelType } from "../../compiler/kernel/kernel.js";

/** A kernel of one workgroup of 8 over `in: f32[64]` and `out: f32[64]`, changed as given. */
export function smallKernel(body: readonly Statement[], change: Partial<Kernel> = {}): Kernel {
  return {
    name: "small",
    workgroupSize: [8, 1, 1],
    workgroups: [1, 1, 1],
    buffers: [
      { name: "input", tensor: "x", element: "f32", access: "read", length: 64 },
      { name: "output", tensor: "y", element: "f32", access: "read_write", length: 64 },
    ],
    parameters: [],
    arrays: [],
    features: [],
    body,
    origin: { schedule: "test", values: ["y"] },
    ...change,
  };
}

/** Inputs that each invocation has of each type, and invocations. */
export const leaves = 6;
export const invocations = 8;

/** Input `at` of the invocation; floats are quarters of small integers, so that sums and products of few are exact. */
function input(type: "f32" | "i32" | "u32", at: number): Expr {
  const index = build.add(build.mul(build.builtin("local_index"), leaves), at);
  return { kind: "load", buffer: `${type}s`, index, type };
}

export const inputBuffers: Kernel["buffers"] = (["f32", "i32", "u32"] as const).map((type) => ({
  name: `${type}s`,
  tensor: `${type}s`,
  element: type,
  access: "read",
  length: leaves * invocations,
}));

/** Memory for `inputBuffers`: plain numbers and the extremes. */
export function inputMemory(seed: number): Map<string, ArrayBuffer> {
  const count = leaves * invocations;
  let state = seed | 0;
  const next = (): number => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return state >>> 0;
  };
  const special = [0, 1, -1, 2, 31, 32, 0x7fffffff, -0x80000000];
  const integer = (): number =>
    next() % 3 === 0 ? (special[next() % special.length] ?? 0) : next() % 2 === 0 ? (next() >>> 8) % 100 : next();
  return new Map<string, ArrayBuffer>([
    ["f32s", Float32Array.from({ length: count }, () => ((next() >>> 8) % 128) / 4 - 16).buffer],
    ["i32s", Int32Array.from({ length: count }, integer).buffer],
    ["u32s", Uint32Array.from({ length: count }, integer).buffer],
  ]);
}

type Width = 1 | 2 | 4;
const widths: readonly Width[] = [1, 1, 1, 2, 4];

const binary = (op: KernelBinary, a: Expr, b: Expr, type: KernelType): Expr => ({ kind: "binary", op, a, b, type });
const unary = (op: KernelUnary, a: Expr): Expr => ({ kind: "unary", op, a, type: a.type });
const call = (name: KernelFunction, args: readonly Expr[], type: KernelType): Expr => ({
  kind: "call",
  name,
  args,
  type,
});

function scalarLeaf(type: ScalarType): fc.Arbitrary<Expr> {
  const literal = (value: number): Expr => ({ kind: "literal", type, value });
  switch (type) {
    case "bool":
      return fc.oneof(
        fc.boolean().map((value) => literal(value ? 1 : 0)),
        fc
          .nat(leaves - 1)
          .map((at) => binary("less", input("i32", at), { kind: "literal", type: "i32", value: 5 }, "bool")),
      );
    case "f32":
      return fc.oneof(
        fc.integer({ min: -64, max: 64 }).map((value) => literal(value / 4)),
        fc.nat(leaves - 1).map((at) => input("f32", at)),
      );
    case "i32":
      return fc.oneof(
        fc.constantFrom(0, 1, -1, 7, -0x80000000, 0x7fffffff).map(literal),
        fc.nat(leaves - 1).map((at) => input("i32", at)),
      );
    case "u32":
      return fc.oneof(
        fc.constantFrom(0, 1, 3, 31, 32, 40, 0x80000000, 0xffffffff).map(literal),
        fc.nat(leaves - 1).map((at) => input("u32", at)),
      );
    case "f16":
      throw new Error("f16 is not drawn");
    default:
      return type satisfies never;
  }
}

/** Draws an expression of a type, of a depth. */
type Draw = (type: KernelType, depth: number) => fc.Arbitrary<Expr>;

/**
 * Expressions as they come, without the folding of `build.ts`. Each arbitrary is made once: there would be
 * exponentially many.
 */
function createDraw(): Draw {
  const made = new Map<string, fc.Arbitrary<Expr>>();
  const draw: Draw = (type, depth) => {
    const key = `${type} ${depth}`;
    const known = made.get(key);
    if (known !== undefined) return known;
    const arbitrary = drawWith(draw, type, depth);
    made.set(key, arbitrary);
    return arbitrary;
  };
  return draw;
}

function drawWith(draw: Draw, type: KernelType, depth: number): fc.Arbitrary<Expr> {
  const element = elementType(type);
  const count = width(type);
  const scalar = vectorType(element, 1);
  if (depth === 0) {
    if (count === 1) return scalarLeaf(element);
    return fc
      .array(scalarLeaf(element), { minLength: count, maxLength: count })
      .map((parts): Expr => ({ kind: "vector", parts, type: type as Extract<KernelType, `vec${string}`> }));
  }
  const deeper = (of: KernelType): fc.Arbitrary<Expr> => draw(of, depth - 1);
  const like = (of: ScalarType): KernelType => vectorType(of, count);
  const two = (op: KernelBinary, of: KernelType = type, right: KernelType = of): fc.Arbitrary<Expr> =>
    fc.tuple(deeper(of), deeper(right)).map(([a, b]) => binary(op, a, b, type));
  const options: fc.Arbitrary<Expr>[] = [
    deeper(type),
    fc
      .tuple(deeper(like("bool")), deeper(type), deeper(type))
      .map(([condition, then, otherwise]): Expr => ({ kind: "select", condition, then, otherwise, type })),
    fc
      .tuple(deeper("bool"), deeper(type), deeper(type))
      .map(([condition, then, otherwise]): Expr => ({ kind: "select", condition, then, otherwise, type })),
  ];
  if (count === 1)
    options.push(
      fc
        .constantFrom(2 as const, 4 as const)
        .chain((wide) =>
          fc
            .tuple(deeper(vectorType(element, wide)), fc.nat(wide - 1))
            .map(([a, at]): Expr => ({ kind: "component", a, at: at as 0 | 1 | 2 | 3, type: element })),
        ),
    );
  else
    options.push(
      fc
        .array(deeper(scalar), { minLength: count, maxLength: count })
        .map((parts): Expr => ({ kind: "vector", parts, type: type as Extract<KernelType, `vec${string}`> })),
    );
  switch (element) {
    case "bool": {
      const compared = fc.constantFrom("f32" as const, "i32" as const, "u32" as const);
      options.push(
        ...(["less", "less_equal", "greater", "greater_equal", "equal", "not_equal"] as const).map((op) =>
          compared.chain((of) => two(op, like(of))),
        ),
        two("and"),
        two("or"),
        two("equal"),
        deeper(type).map((a) => unary("not", a)),
        deeper(like("i32")).map((a): Expr => ({ kind: "convert", a, type })),
      );
      break;
    }
    case "f32":
      options.push(
        two("add"),
        two("subtract"),
        two("min"),
        two("max"),
        // Of leaves only, so that products stay exact.
        fc.tuple(draw(type, 0), draw(type, 0)).map(([a, b]) => binary("multiply", a, b, type)),
        fc.tuple(draw(type, 0), draw(type, 0), deeper(type)).map((args) => call("fma", args, type)),
        ...(["negate", "abs", "sign", "floor", "ceil", "round"] as const).map((op) =>
          deeper(type).map((a) => unary(op, a)),
        ),
        draw(type, 0).map((a) => unary("round_f16", a)),
        deeper(like("bool")).map((a): Expr => ({ kind: "convert", a, type })),
      );
      break;
    case "i32":
    case "u32": {
      const other = element === "i32" ? "u32" : "i32";
      options.push(
        ...(
          ["add", "subtract", "multiply", "divide", "remainder", "min", "max", "bit_and", "bit_or", "bit_xor"] as const
        ).map((op) => two(op)),
        two("shift_left", type, like("u32")),
        two("shift_right", type, like("u32")),
        deeper(type).map((a) => unary("bit_not", a)),
        deeper(type).map((a) => unary("abs", a)),
        fc.tuple(deeper(type), deeper(type), deeper(type)).map((args) => call("clamp", args, type)),
        deeper(type).map((a) => call("countOneBits", [a], type)),
        ...(["f32", "bool", other] as const).map((from) =>
          deeper(like(from)).map((a): Expr => ({ kind: "convert", a, type })),
        ),
        ...(["f32", other] as const).map((from) => deeper(like(from)).map((a): Expr => ({ kind: "bitcast", a, type }))),
      );
      if (element === "i32")
        options.push(
          deeper(type).map((a) => unary("negate", a)),
          deeper(type).map((a) => unary("sign", a)),
        );
      if (type === "i32")
        options.push(fc.tuple(deeper("u32"), deeper("u32")).map((args) => call("dot4I8Packed", args, "i32")));
      if (count === 1)
        options.push(
          fc
            .tuple(deeper(vectorType(element, 4)), deeper(vectorType(element, 4)))
            .map((args) => call("dot", args, type)),
        );
      break;
    }
    case "f16":
      throw new Error("f16 is not drawn");
    default:
      element satisfies never;
  }
  return fc.oneof(...options);
}

/** Expressions of all types but f16. */
export function anyExpression(): fc.Arbitrary<Expr> {
  const draw = createDraw();
  return fc
    .tuple(
      fc.constantFrom<ScalarType>("f32", "i32", "u32", "bool"),
      fc.constantFrom(...widths),
      fc.integer({ min: 1, max: 3 }),
    )
    .chain(([element, count, depth]) => draw(vectorType(element, count), depth));
}

/** The same expression through the constructors of `build.ts`, which fold. */
export function rebuilt(a: Expr): Expr {
  switch (a.kind) {
    case "literal":
    case "local":
    case "builtin":
    case "parameter":
      return a;
    case "load":
      return build.loadBuffer(a.buffer, a.type, rebuilt(a.index));
    case "shared":
      return build.loadShared(a.array, a.type, rebuilt(a.index));
    case "unary":
      return build.unary(a.op, rebuilt(a.a));
    case "binary":
      return build.binary(a.op, rebuilt(a.a), rebuilt(a.b));
    case "select":
      return build.select(rebuilt(a.condition), rebuilt(a.then), rebuilt(a.otherwise));
    case "convert":
      return build.convert(a.type, rebuilt(a.a));
    case "bitcast":
      return build.bitcast(a.type, rebuilt(a.a));
    case "call":
      return build.call(a.name, a.args.map(rebuilt));
    case "vector":
      return build.vector(a.parts.map(rebuilt));
    case "component":
      return build.component(rebuilt(a.a), a.at);
    default:
      return a satisfies never;
  }
}

/** The bits of a scalar as u32; bool as 0 or 1. */
function bits(a: Expr): Expr {
  if (a.type === "bool")
    return { kind: "select", condition: a, then: build.u32(1), otherwise: build.u32(0), type: "u32" };
  return a.type === "u32" ? a : { kind: "bitcast", a, type: "u32" };
}

/**
 * A kernel that stores the bits of each expression, for each invocation: `results` words apiece at `invocation *
 * results`.
 */
export function bitsKernel(expressions: readonly Expr[]): { readonly kernel: Kernel; readonly results: number } {
  const results = expressions.reduce((sum, a) => sum + width(a.type), 0);
  const body: Statement[] = [];
  let at = 0;
  expressions.forEach((a, index) => {
    body.push(build.letIs(`e${index}`, a));
    const value = build.local(`e${index}`, a.type);
    for (let part = 0; part < width(a.type); part++) {
      const scalar: Expr =
        width(a.type) === 1
          ? value
          : { kind: "component", a: value, at: part as 0 | 1 | 2 | 3, type: elementType(a.type) };
      body.push(build.store("bits", build.add(build.mul(build.builtin("local_index"), results), at++), bits(scalar)));
    }
  });
  const kernel: Kernel = {
    name: "bits",
    workgroupSize: [invocations, 1, 1],
    workgroups: [1, 1, 1],
    buffers: [
      ...inputBuffers,
      { name: "bits", tensor: "bits", element: "u32", access: "read_write", length: results * invocations },
    ],
    parameters: [],
    arrays: [],
    features: [],
    body,
    origin: { schedule: "test", values: ["bits"] },
  };
  return { kernel, results };
}
