import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compileStages } from "../../../compiler/compile.js";
import { tensorValue, type TensorValue } from "../../../compiler/graph/evaluate.js";
import type { ConcreteGraph, SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { Target } from "../../../compiler/target.js";
import { standardLibrary } from "../../../runtime/library.js";
import { numbers } from "../../support/numbers.js";
import { evaluateStages } from "../../support/stages.js";
import { targets } from "../../support/targets.js";
import { close } from "../../support/tolerance.js";
import { evaluateUnread, type Evaluated } from "../../support/unread.js";

const test = suite("the library's scans");

const sizes: Readonly<Record<string, number>> = { N: 3, K: 48, group: 16, kept: 2, of_each: 4 };
const scalars: Readonly<Record<string, number>> = { low: -8, high: 7, levels: 15 };
/** Vectors that are made orthogonal one by one are few, and each is needed whole by the next: column by column. */
const byColumns: readonly string[] = ["orthonormal", "leading", "eora", "slim"];
const scans: readonly (readonly [string, SymbolicGraph])[] = [...standardLibrary()].filter(
  ([name, graph]) => !byColumns.includes(name) && graph.eqns.some((eqn) => eqn.kind === "scan"),
);

/** Columns whose correlation falls with their distance. */
function hessian(size: number): Float32Array {
  const v = numbers(size, 5);
  return Float32Array.from({ length: size * size }, (_, at) => {
    const [i, j] = [Math.floor(at / size), at % size];
    return 0.3 * v[i]! * v[j]! + Math.exp(-Math.abs(i - j) / 4) + (i === j ? 0.1 : 0);
  });
}

/** An input that suits what the library calls by that name. */
function valuesFor(name: string, count: number, seed: number): ArrayLike<number> {
  const size = sizes["K"]!;
  switch (name) {
    case "u":
      return hessian(size).map((value, at) => (at % size < Math.floor(at / size) ? 0 : value));
    case "h":
      return hessian(size);
    case "keep":
      return Array.from({ length: count }, (_, at) => (at % 4 === 1 || at % 4 === 2 ? 1 : 0));
    case "rank":
      return Array.from({ length: count }, (_, at) => (at * 5) % size);
    case "s":
      return numbers(count, 7).map((value) => 0.1 + 0.05 * value);
    case "z":
      return new Float32Array(count).fill(7);
    default:
      return count === 1 ? [scalars[name] ?? 1] : numbers(count, seed);
  }
}

function inputsOf(graph: ConcreteGraph): ReadonlyMap<string, TensorValue> {
  return new Map(
    graph.inputs.map((input) => {
      const { dtype, shape } = graph.values[input.value]!.type;
      return [
        input.name,
        tensorValue(
          dtype,
          shape,
          valuesFor(
            input.name,
            shape.reduce((product, size) => product * size, 1),
            input.value + 1,
          ),
        ),
      ] as const;
    }),
  );
}

/** What a function gives, by its name and the columns of a group: the same for every target and block. */
const evaluated = new Map<string, Evaluated>();

function expectedOf(name: string, group: number, graph: ConcreteGraph): Evaluated {
  const key = `${name} ${group}`;
  const known = evaluated.get(key) ?? evaluateUnread(graph, inputsOf(graph));
  evaluated.set(key, known);
  return known;
}

/**
 * Lowers a function to blocks of so many columns, rounded up to whole groups, and compares its results with the
 * evaluator's.
 */
function agree(
  name: string,
  graph: SymbolicGraph,
  target: Target,
  { block, group = sizes["group"]!, ...shared }: { block: number; group?: number; lanes?: number; rows?: number },
): void {
  const what = `${name} in blocks of ${block}, groups of ${group} ${JSON.stringify(shared)}`;
  const stages = compileStages(
    graph,
    { sizes: Object.fromEntries(graph.parameters.sizes.map((size) => [size, { ...sizes, group }[size] ?? 4])) },
    target,
    { scan: { block, ...shared } },
  );
  if ("diagnostics" in stages)
    throw new Error(`${what}: ${stages.diagnostics.map(({ message }) => message).join("; ")}`);
  assert.equal(stages.notes, [], what);
  const expected = expectedOf(name, group, stages.concrete);
  const actual = evaluateStages(stages, expected.inputs, new Map(), target.subgroups?.min ?? 4);
  for (const [output, value] of expected.outputs)
    close(actual.get(output)!.data, value.data, value.dtype === "bool" ? "exact" : "chain", `${what}: ${output}`);
}

for (const [place, target] of Object.entries(targets)) {
  test(`run in blocks and agree with the evaluator on ${place}`, () => {
    for (const [name, graph] of scans) agree(name, graph, target, { block: 16 });
  });
}

// a column, less than a group, one that leaves a shorter last block, all and more: how columns are cut is no target's
const blocks = { "a CPU driver": [10, 48], "a GPU with subgroups of 32": [1, 20, 1000] } as const;
for (const place of ["a CPU driver", "a GPU with subgroups of 32"] as const) {
  for (const block of blocks[place]) {
    test(`agree with the evaluator in blocks of ${block} on ${place}`, () => {
      for (const [name, graph] of scans) agree(name, graph, targets[place], { block });
    });
  }
  test(`run in a block where a group is the whole row on ${place}`, () => {
    for (const [name, graph] of scans)
      if (graph.parameters.sizes.includes("group"))
        agree(name, graph, targets[place], { block: 16, group: sizes["K"]! });
  });
}

test("agree with the evaluator where several rows share a subgroup", () => {
  for (const [name, graph] of scans)
    agree(name, graph, targets["a GPU with subgroups of 32"], { block: 48, lanes: 8, rows: 4 });
});

test("there are some", () => assert.ok(scans.length >= 8));

test.run();
