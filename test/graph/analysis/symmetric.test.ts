import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  binary,
  buildGraph,
  cast,
  constant,
  indexOf,
  integer,
  load,
  reduce,
  select,
} from "../../../compiler/graph/build.js";
import type { GraphBuilder } from "../../../compiler/graph/build.js";
import { evaluate, tensorValue } from "../../../compiler/graph/evaluate.js";
import type { Eqn, Scalar, Value } from "../../../compiler/graph/graph.js";
import { hasSymmetricBody } from "../../../compiler/graph/analysis/symmetric.js";
import { standardLibrary } from "../../../runtime/library.js";
import type { Concrete } from "../../../compiler/types/type.js";
import { numbers } from "../../support/numbers.js";
import { close } from "../../support/tolerance.js";

const test = suite("symmetric equations");

type Node = Scalar<Concrete>;
const size = 5;

interface Made {
  readonly build: GraphBuilder;
  readonly x: Value<Concrete>;
  readonly y: Value<Concrete>;
}

/** The equation that `make` adds last. */
function eqnOf(make: (made: Made) => void): Eqn<Concrete> {
  const build = buildGraph("g");
  make({ build, x: build.input("x", "f32", [7, size]), y: build.input("y", "f32", [7, size]) });
  return build.graph().eqns.at(-1) as Eqn<Concrete>;
}

/** A map over [size, size] with this body, and what is said of it. */
function mapIs(
  body: (i: Node, j: Node, made: Made) => Node,
  extent: readonly [number, number] = [size, size],
): boolean {
  return hasSymmetricBody(eqnOf((made) => made.build.map("h", extent, (i, j) => body(i!, j!, made))));
}

/** sum[t] a[t, i] * b[t, j] */
function gram({ build }: Made, a: Value<Concrete>, b: Value<Concrete>, i: Node, j: Node): Node {
  const t = build.range("t", 0, 7);
  return reduce("sum", [t], binary("multiply", load(a, [indexOf(t), i]), load(b, [indexOf(t), j])));
}

test("x^T x is symmetric, x^T y is not", () => {
  assert.ok(mapIs((i, j, made) => gram(made, made.x, made.x, i, j)));
  assert.ok(mapIs((i, j, made) => gram(made, made.x, made.x, j, i)));
  assert.not(mapIs((i, j, made) => gram(made, made.x, made.y, i, j)));
  assert.ok(mapIs((i, j, made) => binary("add", gram(made, made.x, made.y, i, j), gram(made, made.x, made.y, j, i))));
});

test("scaled, cast and masked by what is symmetric itself", () => {
  assert.ok(mapIs((i, j, made) => binary("multiply", constant(0.5), gram(made, made.x, made.x, i, j))));
  assert.ok(mapIs((i, j, made) => cast(cast(gram(made, made.x, made.x, i, j), "f16"), "f32")));
  assert.ok(mapIs((i, j, made) => select(binary("equal", i, j), constant(1), gram(made, made.x, made.x, i, j))));
  assert.not(
    mapIs((i, j, made) => select(binary("less", i, j), constant(0), gram(made, made.x, made.x, i, j))),
    "a triangle",
  );
  assert.not(
    mapIs((i, j, { x }) => binary("subtract", load(x, [integer(0), i]), load(x, [integer(0), j]))),
    "antisymmetric",
  );
});

test("a sum up to an index is not, one up to the larger of the two is", () => {
  const upTo = (high: (i: Node, j: Node) => Node) =>
    mapIs((i, j, { build, x }) => {
      const t = build.range("t", 0, high(i, j));
      return reduce("sum", [t], binary("multiply", load(x, [indexOf(t), i]), load(x, [indexOf(t), j])));
    });
  assert.not(upTo((i) => i));
  assert.ok(upTo((i, j) => binary("max", i, j)));
});

test("sums over different indices of the same ranges", () => {
  assert.ok(
    mapIs((i, j, { build, x }) => {
      const [s, t] = [build.range("s", 0, 7), build.range("t", 0, 7)];
      return binary(
        "multiply",
        reduce("sum", [s], load(x, [indexOf(s), i])),
        reduce("sum", [t], load(x, [indexOf(t), j])),
      );
    }),
  );
});

test("a matrix is square, and has two indices", () => {
  assert.not(mapIs((i, j, made) => gram(made, made.x, made.x, i, j), [size, size - 1]));
  assert.not(hasSymmetricBody(eqnOf(({ build, x }) => build.map("h", [size], (i) => load(x, [integer(0), i!])))));
  assert.not(hasSymmetricBody(eqnOf(({ build }) => build.map("h", [size, size, size], () => constant(0)))));
  assert.not(hasSymmetricBody(eqnOf(({ build, x }) => build.top("keep", x, 2, 4, 1))));
});

/** total[at] += or = body, over two indices. */
function updateOf(
  op: "set" | "add",
  change: {
    readonly at?: (i: Node, j: Node) => readonly Node[];
    readonly low?: number;
    readonly body?: (i: Node, j: Node, total: Value<Concrete>) => Node;
  } = {},
): Eqn<Concrete> {
  return eqnOf((made) => {
    const { build, x } = made;
    const total = build.input("total", "f32", [size, size]);
    const [i, j] = [build.range("i", 0, size), build.range("j", change.low ?? 0, size)];
    const [row, column] = [indexOf(i), indexOf(j)];
    build.update(
      "h",
      total,
      [i, j],
      (change.at ?? ((a, b) => [a, b]))(row, column),
      change.body?.(row, column, total) ?? gram(made, x, x, row, column),
      op,
    );
  });
}

test("an update, by what it sets or adds", () => {
  assert.ok(hasSymmetricBody(updateOf("add")));
  assert.ok(hasSymmetricBody(updateOf("set")));
  assert.ok(hasSymmetricBody(updateOf("add", { at: (i, j) => [j, i] })));
  assert.not(hasSymmetricBody(updateOf("add", { low: 1 })), "another range");
  assert.not(
    hasSymmetricBody(updateOf("add", { at: (i, j) => [i, binary("subtract", j, integer(1))] })),
    "another place",
  );
  assert.not(hasSymmetricBody(updateOf("add", { at: (i) => [i, i] })), "the diagonal");
  assert.not(
    hasSymmetricBody(
      updateOf("set", { body: (i, j, total) => binary("add", load(total, [i, j]), load(total, [j, i])) }),
    ),
    "reads what it writes",
  );
});

test("the library's gram, symbolic as it is", () => {
  const graph = standardLibrary().get("gram")!;
  assert.equal(
    graph.eqns.map((eqn) => hasSymmetricBody(eqn)),
    [true],
  );
  assert.equal(
    standardLibrary()
      .get("hessian")!
      .eqns.map((eqn) => hasSymmetricBody(eqn)),
    [false],
    "nothing is known of x2",
  );
});

test("what is said to be symmetric is", () => {
  const build = buildGraph("g");
  const x = build.input("x", "f32", [7, size]);
  const t = build.range("t", 0, 7);
  const h = build.map("h", [size, size], (i, j) =>
    binary(
      "add",
      binary("multiply", indexed(i!), indexed(j!)),
      reduce("sum", [t], binary("multiply", load(x, [indexOf(t), j!]), load(x, [indexOf(t), i!]))),
    ),
  );
  build.output("h", h);
  const graph = build.graph();
  assert.ok(hasSymmetricBody(graph.eqns[0]!));
  const { data } = evaluate(graph, new Map([["x", tensorValue("f32", [7, size], numbers(7 * size))]])).get("h")!;
  const mirrored = Array.from(data, (_, at) => data[(at % size) * size + Math.floor(at / size)]!);
  close(mirrored, data, "exact");
});

function indexed(index: Node): Node {
  return cast(index, "f32");
}

test.run();
