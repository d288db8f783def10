import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Diagnostic } from "../../../compiler/diagnostic.js";
import {
  binary,
  buildGraph,
  cast,
  constant,
  indexOf,
  load,
  reduce,
  sizeScalar,
} from "../../../compiler/graph/build.js";
import type { ConcreteGraph, SymbolicGraph } from "../../../compiler/graph/graph.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import type { Binding } from "../../../compiler/graph/passes/specialize.js";
import { verify } from "../../../compiler/graph/verify.js";
import {
  addSizes,
  constantSize,
  divideSizes,
  multiplySizes,
  subtractSizes,
  symbolSize,
} from "../../../compiler/types/size.js";
import type { Size } from "../../../compiler/types/size.js";
import type { Dtype } from "../../../compiler/types/dtype.js";
import type { FormatRef, FormatSpec, Symbolic } from "../../../compiler/types/type.js";

const test = suite("specialize");

const [T, N, K, G] = ["T", "N", "K", "G"].map(symbolSize) as [Size, Size, Size, Size];
const E = { parameter: "E" };

/** y[t, n] = E(sum k: f32(x[t, k]) * f32(w[n, k])), w in the format F. */
function linear(): SymbolicGraph {
  const b = buildGraph<Symbolic>("linear");
  const x = b.input("x", E, [T, K]);
  const w = b.input("w", E, [N, K], { format: { parameter: "F" } });
  const k = b.range("k", 0, sizeScalar<Symbolic>(K));
  const y = b.map("y", [T, N], (t, n) =>
    cast(
      reduce(
        "sum",
        [k],
        binary("multiply", cast(load(x, [t!, indexOf(k)]), "f32"), cast(load(w, [n!, indexOf(k)]), "f32")),
      ),
      E,
    ),
  );
  b.output("y", y);
  return b.graph({ sizes: ["T", "N", "K"], dtypes: ["E"], formats: ["F"] });
}

function binding(
  sizes: { readonly [name: string]: number },
  dtypes: { readonly [name: string]: Dtype } = {},
  formats: { readonly [name: string]: FormatSpec | null } = {},
): Binding {
  return {
    sizes: new Map(Object.entries(sizes)),
    dtypes: new Map(Object.entries(dtypes)),
    formats: new Map(Object.entries(formats)),
  };
}

function concrete(result: ReturnType<typeof specialize>): ConcreteGraph {
  if (!("graph" in result)) throw new Error(result.map((diagnostic) => diagnostic.message).join("\n"));
  assert.equal(verify(result.graph), []);
  return result.graph;
}

function errors(result: ReturnType<typeof specialize>): readonly Diagnostic[] {
  return "graph" in result ? [] : result;
}

const int4: FormatSpec = { name: "int4", args: { group: 32 }, of: null };

test("sizes become numbers, dtypes and formats what they are bound to", () => {
  const graph = concrete(
    specialize(linear(), binding({ T: 2, N: 3, K: 64 }, { E: "f16" }, { F: { name: "f16", args: {}, of: null } }), {
      f16: true,
    }),
  );
  assert.is(
    printGraph(graph),
    `graph linear(%0 x: f16[2, 64], %1 w: f16[3, 64] as f16)
  %2 y: f16[2, 3] = map i, j: f16(sum k in 0..64: f32(%0[i, k]) * f32(%1[j, k]))
  return %2 y
`,
  );
});

test("without f16, values are f32 and casts to f16 round", () => {
  const graph = concrete(
    specialize(linear(), binding({ T: 2, N: 3, K: 64 }, { E: "f16" }, { F: null }), { f16: false }),
  );
  assert.is(
    printGraph(graph),
    `graph linear(%0 x: f32[2, 64], %1 w: f32[3, 64])
  %2 y: f32[2, 3] = map i, j: round_f16(sum k in 0..64: f32(%0[i, k]) * f32(%1[j, k]))
  return %2 y
`,
  );
});

test("formats are normalized", () => {
  const graph = concrete(
    specialize(linear(), binding({ T: 2, N: 3, K: 64 }, { E: "f32" }, { F: int4 }), { f16: false }),
  );
  const format = graph.values[1]?.type.format;
  assert.is(format?.name, "int4");
  assert.is(format?.args["group"], 32);
  assert.ok(Object.keys(format?.args ?? {}).length > 1, "defaults are filled in");
});

test("E401: what has no value is named, each of it", () => {
  const found = errors(specialize(linear(), binding({ T: 2 }), { f16: true }));
  assert.equal(
    found.map((each) => each.code),
    ["E401", "E401", "E401", "E401"],
  );
  assert.match(found[0]?.message ?? "", /size `N` of `linear` has no value/);
});

test("E402, E403: a size that is none, a dtype that is no float", () => {
  const found = errors(
    specialize(linear(), binding({ T: 0, N: 1.5, K: 64 }, { E: "i32" }, { F: null }), { f16: true }),
  );
  assert.equal(
    found.map((each) => each.code),
    ["E402", "E402", "E403"],
  );
});

/** A graph with one input x: f32[K] and one constraint. */
function constrained(kind: "divides" | "equal" | "at-least", left: Size, right: Size): SymbolicGraph {
  const b = buildGraph<Symbolic>("g");
  b.output("x", b.input("x", "f32", [K]));
  b.constraint({ kind, left, right, span: { file: "a.esp", start: 3, end: 9 } });
  return b.graph({ sizes: ["K", "G"], dtypes: [], formats: [] });
}

test("E404: a constraint that does not hold says which, and with what values", () => {
  const check = (graph: SymbolicGraph, sizes: { readonly [name: string]: number }): Diagnostic | undefined =>
    errors(specialize(graph, binding(sizes), { f16: true }))[0];
  const multiple = check(constrained("divides", K, constantSize(128)), { K: 100, G: 1 });
  assert.is(multiple?.code, "E404");
  assert.is(multiple?.message, "K = 100 is not a multiple of 128.");
  assert.equal(multiple?.notes, ["The function needs `K % 128 == 0`."]);
  assert.equal(multiple?.labels[0]?.span, { file: "a.esp", start: 3, end: 9 });
  assert.is(
    check(constrained("equal", K, multiplySizes(constantSize(2), G)), { K: 7, G: 4 })?.message,
    "K = 7 must equal 2 * G = 8.",
  );
  assert.is(
    check(constrained("at-least", K, addSizes(G, constantSize(1))), { K: 4, G: 4 })?.message,
    "K = 4 must be at least 1 + G = 5.",
  );
  assert.is(
    check(constrained("divides", K, subtractSizes(G, constantSize(4))), { K: 4, G: 4 })?.message,
    "K = 4 cannot be divided by -4 + G = 0.",
  );
  assert.is(check(constrained("divides", K, G), { K: 8, G: 4 }), undefined);
});

/** x: f32[K], y = map: 0 of the shape. */
function shaped(shape: readonly Size[]): SymbolicGraph {
  const b = buildGraph<Symbolic>("g");
  b.output("x", b.input("x", "f32", [K]));
  b.output(
    "y",
    b.map("y", shape, () => constant<Symbolic>(0)),
  );
  return b.graph({ sizes: ["K", "G"], dtypes: [], formats: [] });
}

test("E405: an axis of negative or undefined length", () => {
  const found = (shape: readonly Size[]): string[] =>
    errors(specialize(shaped(shape), binding({ K: 3, G: 5 }), { f16: true })).map(
      (each) => `${each.code} ${each.message}`,
    );
  assert.equal(found([subtractSizes(K, G)]), ["E405 Axis 0 of `y` has length -G + K = -2, which no axis can have."]);
  assert.match(found([divideSizes(G, divideSizes(K, G))])[0] ?? "", /E405 .* NaN/);
  assert.equal(found([divideSizes(K, G)]), [], "an empty axis is one");
});

test("E406, E407: formats that are unknown, wrong, or do not fit the shape", () => {
  const code = (format: FormatSpec, k = 64): string | undefined =>
    errors(specialize(linear(), binding({ T: 2, N: 3, K: k }, { E: "f32" }, { F: format }), { f16: true }))[0]?.code;
  assert.is(code({ name: "int5", args: {}, of: null }), "E406");
  assert.is(code({ name: "int4", args: { group: "many" }, of: null }), "E406");
  assert.is(code(int4, 50), "E407");
  assert.is(code(int4, 64), undefined);
});

/** Packs w[N, K] in int4 with a scale of the shape. */
function packing(format: FormatRef, scaleShape: readonly Size[] | null): SymbolicGraph {
  const b = buildGraph<Symbolic>("g");
  const w = b.input("w", "f32", [N, K]);
  const scale = scaleShape === null ? null : b.input("scale", "f32", scaleShape);
  b.output("q", b.pack("q", w, format, scale === null ? undefined : { scale }));
  return b.graph({ sizes: ["N", "K", "G"], dtypes: [], formats: [] });
}

test("pack: the grid must be there, and have the shape of the groups", () => {
  const symbolic: FormatRef = { name: "int4", args: { group: G }, of: null };
  const found = (graph: SymbolicGraph): string[] =>
    errors(specialize(graph, binding({ N: 3, K: 64, G: 32 }), { f16: true })).map(
      (each) => `${each.code} ${each.message}`,
    );
  assert.equal(found(packing(symbolic, [N, divideSizes(K, G)])), []);
  assert.equal(found(packing(symbolic, [N, K])), [
    "E407 The scale of `q` has shape [3, 64], but `int4` has [3, 2] groups.",
  ]);
  assert.equal(found(packing(symbolic, null)), ["E406 `int4` needs a scale to pack `q`."]);
  assert.equal(found(packing({ name: "f16", args: {}, of: null }, [N])), [
    "E406 `f16` has no scale, but `q` is packed with one.",
  ]);
});

test("E408: top of more than its group", () => {
  const b = buildGraph<Symbolic>("g");
  b.output("keep", b.top("keep", b.input("x", "f32", [K]), G, constantSize(4), 0));
  const found = errors(
    specialize(b.graph({ sizes: ["K", "G"], dtypes: [], formats: [] }), binding({ K: 8, G: 5 }), { f16: true }),
  );
  assert.ok(found.length > 0 && found.every((each) => each.code === "E408"));
});

test.run();
