/** Constant tables, what a codebook takes of them, and sizes by name. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { evaluate } from "../../compiler/graph/evaluate.js";
import { specialize } from "../../compiler/graph/passes/specialize.js";

const test = suite("tables");

function checked(source: string): ReturnType<typeof check> {
  return check("main.esp", { read: (path) => (path === "main.esp" ? source : null) });
}

function message(source: string): string {
  const [found] = checked(source).diagnostics;
  return found === undefined ? "" : `${found.code} ${found.message}`;
}

const pack = (table: string): string =>
  `${table}\nfn f(w: f32[N, K], s: f32[N, K / 8]) -> f32[N, K] where K % 8 == 0 {\n  return unpack pack w as codebook(t, 8) with scale s\n}\n`;

test("a codebook takes a table that rises", () => {
  assert.is(message(pack("const t = [-1.0, 0.0, 1 / 2]")), "");
  assert.match(message(pack("const t = [0.0, -1.0]")), /^E501 .*rises, and -1 stands after 0$/);
  assert.match(message(pack("const t = [0.0]")), /^E501 .*2 to 16 numbers/);
  assert.match(message(pack("const t = 1.0")), /^E501 `table` of `codebook` is a table$/);
  assert.match(message(pack("const t = [1.0 / 0.0, 2.0]")), /^E/);
  assert.match(message(pack("const t = [1e300, 2e300]")), /^E/);
});

test("an element of a table by its index, at the ends beyond them; sizes by name", () => {
  const { value, diagnostics } = checked(
    "const t = [2.0, 3.0, 5.0]\nfn f(i: i32[N, K]) -> f32[N, K] {\n  return y where y[n, k] = t[i[n, k]] + f32(i.columns)\n}\n",
  );
  assert.equal(diagnostics, []);
  const graph = value!.functions.get("f")!;
  const bound = specialize(
    graph,
    {
      sizes: new Map([
        ["N", 1],
        ["K", 5],
      ]),
      dtypes: new Map(),
      formats: new Map(),
    },
    { f16: false },
  );
  if (!("graph" in bound)) throw new Error("does not specialize");
  const given = { dtype: "i32", shape: [1, 5], data: Int32Array.of(0, 1, 2, 7, -1) } as const;
  const [result] = [...evaluate(bound.graph, new Map([["i", given]])).values()];
  assert.equal([...result!.data], [7, 8, 10, 10, 7]);
});

test("an index that is always out of range, and one too many", () => {
  const element = (index: string): string => `const t = [2.0, 3.0]\nfn f() -> f32 {\n  return t[${index}]\n}\n`;
  assert.match(message(element("2")), /^E416 /);
  assert.match(message(element("0, 1")), /^E303 /);
});

test.run();
