/** Scans that stand at the edge of what can be blocked: each must be refused a block, or be right in one. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../../compiler/compile.js";
import type { ScanOptions } from "../../../compiler/lower/scan/blocking.js";
import { evaluateStages } from "../../support/stages.js";
import { targets } from "../../support/targets.js";
import { close } from "../../support/tolerance.js";
import { evaluateUnread } from "../../support/unread.js";
import { programCase } from "../language.js";

const test = suite("programs with scans");

interface Program {
  readonly steps: string;
  /** Results besides w. */
  readonly also?: "s";
  readonly sizes: Readonly<Record<string, number>>;
}

/** Steps of a scan over the columns of w; `s` is a number a row, `h` four. */
const programs: { readonly [name: string]: Program } = {
  "a window of one column that moves with the step": {
    steps: "w[n, j] = w[n, j] * 0.5 + 1.0 for n in 0 .. N, j in k .. k + 1",
    sizes: { N: 3, K: 9 },
  },
  "the same beside a trailing update": {
    steps:
      "let e[n] = w[n, k] * 0.5  w[n, j] -= e[n] * u[k, j] for j in k .. K  w[n, j] = w[n, j] + 1.0 for j in k .. k + 1",
    sizes: { N: 2, K: 140 },
  },
  "a window up to the end of a group": {
    steps: "w[n, j] = w[n, j] * 0.5 + 1.0 for n in 0 .. N, j in k .. k / 2 * 2 + 2",
    sizes: { N: 3, K: 10 },
  },
  "a column far before the step's, in groups cut off towards zero": {
    steps: "let e[n] = w[n, (k - 16) / 16 * 16 + 16] + w[n, k]  w[n, j] -= e[n] * u[k, j] for j in k .. K",
    sizes: { N: 2, K: 40 },
  },
  "the same by the remainder": {
    steps: "let e[n] = w[n, (k - 16) - (k - 16) % 16 + 16] + w[n, k]  w[n, j] -= e[n] * u[k, j] for j in k .. K",
    sizes: { N: 2, K: 40 },
  },
  "a group after the step's, in groups cut off towards zero": {
    steps: "w[n, (k - 3) / 4 * 4 + 4] = w[n, k] * 0.5 for n in 0 .. N",
    sizes: { N: 2, K: 12 },
  },
  "sums of the columns ahead, added to": {
    steps: "s[n] += w[n, j] for n in 0 .. N, j in k .. K  w[n, k] = 1.0 for n in 0 .. N",
    also: "s",
    sizes: { N: 3, K: 9 },
  },
  "an update of as many products as M": {
    steps: "w[n, j] += a[n, m] * u[m, j] for n in 0 .. N, j in k .. K, m in 0 .. M",
    sizes: { N: 2, K: 8, M: 5 },
  },
  "several that fall on one column": {
    steps: "w[n, k / 4 * 4 + j / 2] += 1.0 for n in 0 .. N, j in 0 .. 8",
    sizes: { N: 2, K: 8 },
  },
  "additions at places that are data": {
    steps: "w[n, ids[n, j] % 4] += a[n, j] for n in 0 .. N, j in 0 .. M",
    sizes: { N: 2, K: 8, M: 5 },
  },
};

function sourceOf({ steps, also }: Program): string {
  const states = also === undefined ? "" : "let zero[n] = 0.0 for n in 0 .. N\n  var s = zero";
  return `fn main(w0: f32[N, K], u: f32[K, K], a: f32[N, M], ids: i32[N, M]) -> f32[N, K]${also === undefined ? "" : ", f32[N]"} {
  var w = w0
  ${states}
  scan k in 0 .. K {
    ${steps.split("  ").join("\n    ")}
  }
  return w${also === undefined ? "" : ", s"}
}`;
}

const cuts: readonly ScanOptions[] = [{}, { block: 4 }, { block: 5 }, { block: 1000 }, { blocked: false }];

for (const [name, program] of Object.entries(programs)) {
  test(name, () => {
    const sizes: { readonly [size: string]: number } = { M: 2, ...program.sizes };
    const { graph, inputs } = programCase(sourceOf(program), sizes, "chain", {
      ids: Array.from({ length: sizes["N"]! * sizes["M"]! }, (_, at) => (at * 7) % 3),
    });
    const expected = evaluateUnread(graph, inputs);
    for (const [on, target] of Object.entries(targets)) {
      for (const scan of cuts) {
        const actual = evaluateStages(
          lowerConcrete(graph, target, { scan }),
          expected.inputs,
          new Map(),
          target.subgroups?.min ?? 4,
        );
        for (const [output, value] of expected.outputs)
          close(actual.get(output)!.data, value.data, "chain", `${output} on ${on}, ${JSON.stringify(scan)}`);
      }
    }
  });
}

test("the steps of the programs are not all refused a block", () => {
  const blocked = Object.values(programs).filter((program) => {
    const { graph } = programCase(sourceOf(program), { M: 2, ...program.sizes }, "chain");
    return lowerConcrete(graph, targets["a GPU with subgroups of 32"])
      .kernels.flat()
      .some((kernel) => kernel.origin.schedule === "block");
  });
  assert.ok(blocked.length >= 4, String(blocked.length));
});

test("the note says why a scan is not run in blocks, as it was written", () => {
  const noteOf = (steps: string): readonly string[] =>
    lowerConcrete(
      programCase(sourceOf({ steps, sizes: {} }), { N: 2, K: 8, M: 2 }, "chain").graph,
      targets["a GPU with subgroups of 32"],
    ).notes;
  const [note, ...others] = noteOf("w[n, j] -= w[n, K - 1 - k] * u[K - 1 - k, j] for n in 0 .. N, j in 0 .. K - 1 - k");
  assert.equal(others, []);
  assert.match(note!, /: an update of w reads elements that it writes at others\.$/);
});

test.run();
