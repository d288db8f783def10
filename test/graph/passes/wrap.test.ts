/** Indices whose arithmetic wraps around: in range as numbers, not as what a device computes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../../compiler/compile.js";
import { allEqns, eqnScalars } from "../../../compiler/graph/eqn.js";
import { scalarLoads } from "../../../compiler/graph/scalar.js";
import { programCase } from "../../lower/language.js";
import { evaluateStages } from "../../support/stages.js";
import { targets } from "../../support/targets.js";
import { close } from "../../support/tolerance.js";
import { evaluateUnread } from "../../support/unread.js";

const test = suite("integers that wrap around");

interface Program {
  readonly source: string;
  readonly sizes: Readonly<Record<string, number>>;
  readonly ids?: readonly number[];
  /** Whether the load from x keeps its guard, or gets one. */
  readonly guarded: boolean;
}

const huge = [0, 5, 2 ** 31, 0xffffff00];
const byIds = (index: string, dtype = "u32"): string =>
  `fn main(x: f32[K], ids: ${dtype}[N]) -> f32[N] where K >= 8 { return y where y[n] = x[${index}] }`;

const programs: readonly Program[] = [
  { source: byIds("i32(ids[n]) % K"), sizes: { K: 9 }, ids: huge, guarded: true },
  { source: byIds("min(i32(ids[n]), K - 1)"), sizes: { K: 9 }, ids: huge, guarded: true },
  { source: byIds("i32(ids[n] % 8)"), sizes: { K: 9 }, ids: huge, guarded: false },
  { source: byIds("i32(max(min(ids[n], 5) - 3, 0))"), sizes: { K: 9 }, ids: [0, 1, 3, 9], guarded: true },
  { source: byIds("i32(max(min(ids[n], 5), 3) - 3)"), sizes: { K: 9 }, ids: [0, 1, 3, 9], guarded: false },
  { source: byIds("max(min(ids[n], 5) - 3, 0)", "i32"), sizes: { K: 9 }, ids: [0, -3, -(2 ** 31), 9], guarded: true },
  {
    source: byIds("max(min(max(ids[n], 0), 5) - 3, 0)", "i32"),
    sizes: { K: 9 },
    ids: [0, -3, -(2 ** 31), 9],
    guarded: false,
  },
  {
    source: "fn main(x: f32[K]) -> f32[K] { return y where y[k] = x[k * 65536 / 65536] for k in 0 .. K }",
    sizes: { K: 40000 },
    guarded: true,
  },
  {
    source: "fn main(x: f32[K]) -> f32[K] { return y where y[k] = x[k * 65536 / 65536] for k in 0 .. K }",
    sizes: { K: 30000 },
    guarded: false,
  },
  {
    source:
      "fn main(x: f32[K]) -> f32[K] { return y where y[k] = (sum[j in k * 65536 / 65536 .. k * 65536 / 65536 + 1] x[j]) for k in 0 .. K }",
    sizes: { K: 40000 },
    guarded: true,
  },
];

for (const { source, sizes, ids, guarded } of programs) {
  test(`${source.slice(source.indexOf("return"))} with K = ${sizes["K"]}`, () => {
    const { graph, inputs } = programCase(source, { N: 4, ...sizes }, "exact", ids === undefined ? {} : { ids });
    const x = graph.inputs[0]!.value;
    const loads = allEqns(graph.eqns)
      .flatMap(eqnScalars)
      .flatMap((scalar) => scalarLoads(scalar))
      .filter((load) => load.tensor === x);
    assert.equal(
      loads.map((load) => load.guarded),
      [guarded],
    );
    const expected = evaluateUnread(graph, inputs);
    // both evaluators throw where an index is out of range
    for (const [on, target] of Object.entries(targets)) {
      const actual = evaluateStages(
        lowerConcrete(graph, target),
        expected.inputs,
        new Map(),
        target.subgroups?.min ?? 4,
      );
      for (const [name, value] of expected.outputs)
        close(actual.get(name)!.data, value.data, "exact", `${name} on ${on}`);
    }
  });
}

test.run();
