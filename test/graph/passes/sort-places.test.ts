/** Additions to rows that data chooses, through an order: as without it, and the same bits whatever the device does. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { evaluate } from "../../../compiler/graph/evaluate.js";
import { scatterToGather } from "../../../compiler/graph/passes/scatter-to-gather.js";
import { sortPlaces } from "../../../compiler/graph/passes/sort-places.js";
import { printGraph } from "../../../compiler/graph/print.js";
import { verify } from "../../../compiler/graph/verify.js";
import { programCase } from "../../lower/language.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Case } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { targets } from "../../support/targets.js";
import { difference } from "../../support/tolerance.js";

const test = suite<{ machine: Machine }>("rows that data chooses");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const source = `fn main(x: f32[B, T, D], ids: i32[B, T], V: size) -> f32[V, D] {
  let start[v, d] = 0.0 for v in 0 .. V, d in 0 .. D
  var h = start
  h[ids[b, t], d] += x[b, t, d] for b in 0 .. B, t in 0 .. T, d in 0 .. D
  return h
}`;

/** Rows that are chosen often and not at all, and some that there are not. */
function chosen(B: number, T: number, D: number, V: number): Case {
  const ids = Array.from({ length: B * T }, (_, at) => ((at * 37) % 11 === 0 ? -1 : (at * at * 7) % (V + 2)));
  const x = Float32Array.from({ length: B * T * D }, (_, at) => (at % 13) - 6);
  return programCase(source, { B, T, D, V }, "exact", { ids, x });
}

test("the order has each token once, and rows begin where it says", () => {
  const { graph, inputs } = chosen(4, 30, 3, 16);
  const before = scatterToGather(graph);
  const after = sortPlaces(before, true);
  assert.equal(verify(after), [], printGraph(after));
  assert.equal(
    printGraph(after)
      .split("\n")
      .filter((line) => line.includes(" = "))
      .map((line) => line.replace(/^.*? = /, "")),
    [
      "map v, d: 0.0",
      "map j: %1[j / 30, j % 30]",
      "map j: count u in 0..120: %4[u] < %4[j] or %4[u] == %4[j] and u < j",
      "map j: 0",
      "update %6[%5[j]] = j for j in 0..120",
      "map at0: count u in 0..120: %4[u] < at0",
      "map at0, d: sum j in %8[at0]..%8[at0 + 1]: %0[%7[j] / 30, %7[j] % 30, d]",
    ],
  );
  const [expected] = evaluate(graph, inputs).values();
  const [found] = evaluate(after, inputs).values();
  assert.is(difference(found?.data ?? [], expected?.data ?? [], "exact"), null);
});

test("an order where it is less work", () => {
  const few = scatterToGather(chosen(2, 9, 4, 12).graph);
  assert.is(sortPlaces(few), few);
  const many = scatterToGather(chosen(4, 512, 64, 4096).graph);
  assert.not.equal(sortPlaces(many), many);
});

test("through kernels and on the device", async ({ machine }) => {
  const { graph, ...given } = chosen(3, 7, 5, 12);
  const ordered: Case = { ...given, graph: sortPlaces(scatterToGather(graph), true) };
  const expected = expectedOf(ordered);
  agreeSimulated(ordered, expected, { target: targets["a GPU with subgroups of 32"], subgroupSize: 32 });
  await agreeOnDevice(ordered, expected, machine);
});

test.run();
