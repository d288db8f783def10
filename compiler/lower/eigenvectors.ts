/** Eigenvectors of symmetric matrices: Jacobi rotations of disjoint pairs of columns at once. */
import * as k from "../kernel/build.js";
import type { Expr, Kernel } from "../kernel/kernel.js";
import { storageBytes, type Storage } from "../graph/storage.js";
import { full } from "../types/type.js";
import { kernelStep, type FactorizationEqn, type Lowered } from "./lowered.js";
import { spread, workgroupPosition } from "./toolkit/dispatch.js";
import type { KernelBuilder } from "./toolkit/builder.js";
import { parameterName, type Lowering } from "./toolkit/lowering.js";

/** Invocations of a workgroup. */
const groupSize = 64;

/**
 * Sweeps over all pairs, after which an f32 matrix changes by rounding only: of sizes from 5 to 512 with spectra over
 * ten decades, and of low rank, none needed more than 10, and those of 64 at most 9.
 */
function sweepsOf(size: number): number {
  return 6 + Math.ceil(Math.log2(size + 1) / 2);
}

/** What all kernels share: the matrix on its way to a diagonal one, and the product of the rotations. */
interface Rotations {
  readonly lowering: Lowering;
  readonly eqn: FactorizationEqn;
  readonly size: number;
  /** The size made even; what is added stays zero. */
  readonly even: number;
  /** The i32 parameter that counts rounds; in even - 1 of them each two columns meet once. */
  readonly parameter: string;
  /** [even, even] */
  readonly matrix: Storage;
  /** [size, even] */
  readonly vectors: Storage;
  /** Cosine and sine of each pair, [even / 2, 2]. */
  readonly angles: Storage;
}

/** The steps for a matrix of so many rows. */
export function eigenvectors(lowering: Lowering, eqn: FactorizationEqn, size: number): Lowered {
  const even = size + (size % 2);
  const { name } = lowering.graph.values[eqn.out]!;
  const scratch = (what: string, elements: number): Storage => ({
    name: `${name}_${what}.${eqn.out}`,
    bytes: storageBytes({ dtype: "f32", shape: [elements], pattern: full, format: null }),
    role: "temporary",
  });
  const rotations: Rotations = {
    lowering,
    eqn,
    size,
    even,
    parameter: parameterName(lowering, "round"),
    matrix: scratch("matrix", even * even),
    vectors: scratch("vectors", size * even),
    angles: scratch("angles", even),
  };
  return {
    steps: [
      kernelStep(begin(rotations)),
      {
        kind: "repeat",
        parameter: rotations.parameter,
        from: 0,
        to: sweepsOf(size) * (even - 1),
        by: 1,
        steps: [kernelStep(chooseAngles(rotations)), kernelStep(rotate(rotations))],
      },
      kernelStep(order(rotations)),
    ],
    scratch: [rotations.matrix, rotations.vectors, rotations.angles],
    notes: [],
  };
}

function finish(
  { lowering, eqn }: Rotations,
  build: KernelBuilder,
  part: string,
  workgroups: readonly [number, number, number],
): Kernel {
  return build.finish({
    name: `${lowering.nameOf(eqn)}_${part}`,
    workgroupSize: [groupSize, 1, 1],
    workgroups,
    schedule: "factor",
    values: lowering.valuesOf(eqn),
  });
}

/** A kernel with an invocation for each of `count` places. */
function each(
  rotations: Rotations,
  part: string,
  count: number,
  body: (build: KernelBuilder, at: Expr) => void,
): Kernel {
  const build = rotations.lowering.builder();
  const workgroups = spread(Math.ceil(count / groupSize));
  const at = build.bind("at", k.add(k.mul(workgroupPosition(workgroups), groupSize), k.builtin("local_index")));
  build.when(k.less(at, count), () => body(build, at));
  return finish(rotations, build, part, workgroups);
}

/** The matrix from the lower triangle, with zeros where it was made even, and the identity for the vectors. */
function begin(rotations: Rotations): Kernel {
  const { lowering, eqn, size, even } = rotations;
  return each(rotations, "begin", even * even, (build, at) => {
    const source = build.view(lowering.storage[eqn.source]!, "f32", "read");
    const matrix = build.view(rotations.matrix, "f32", "read_write");
    const vectors = build.view(rotations.vectors, "f32", "read_write");
    const i = build.bind("i", k.div(at, even));
    const j = build.bind("j", k.rem(at, even));
    build.when(
      k.less(k.max(i, j), size),
      () => {
        const read = k.loadBuffer(source, "f32", k.add(k.mul(k.max(i, j), size), k.min(i, j)));
        build.add(k.store(matrix, at, read));
      },
      () => build.add(k.store(matrix, at, k.f32(0))),
    );
    build.when(k.less(i, size), () => build.add(k.store(vectors, at, k.select(k.equal(i, j), k.f32(1), k.f32(0)))));
  });
}

/**
 * The two columns of a pair in this round: one stays, the others go around it (the tables of a round-robin
 * tournament).
 */
function columnsOf(
  { even, parameter }: Rotations,
  build: KernelBuilder,
  pair: Expr,
  name: string,
): readonly [Expr, Expr] {
  const others = even - 1;
  const round = build.bind("round", k.rem(k.convert("u32", build.parameter(parameter, "i32")), others));
  const ahead = k.rem(k.add(round, pair), others);
  const behind = k.rem(k.sub(k.add(round, others), pair), others);
  return [build.bind(`${name}_p`, k.select(k.equal(pair, 0), k.u32(others), ahead)), build.bind(`${name}_q`, behind)];
}

/** The rotation that makes the two elements between a pair zero; none where they are zero beside what they part. */
function chooseAngles(rotations: Rotations): Kernel {
  const { even } = rotations;
  return each(rotations, "angles", even / 2, (build, pair) => {
    const matrix = build.view(rotations.matrix, "f32", "read");
    const angles = build.view(rotations.angles, "f32", "read_write");
    const [p, q] = columnsOf(rotations, build, pair, "own");
    const element = (i: Expr, j: Expr): Expr => k.loadBuffer(matrix, "f32", k.add(k.mul(i, even), j));
    const apart = build.bind("apart", k.sub(element(q, q), element(p, p)));
    const twice = build.bind("twice", k.mul(element(p, q), 2));
    // cot of twice the angle is apart / twice; the smaller root t of t^2 + 2 cot t = 1
    const turns = build.bind("turns", k.greater(k.abs(twice), k.mul(k.abs(apart), 1e-9)));
    const cot = build.bind("cot", k.div(apart, k.select(turns, twice, k.f32(1))));
    const size = build.bind("size", k.div(1, k.add(k.abs(cot), k.sqrt(k.add(k.mul(cot, cot), 1)))));
    const t = build.bind("t", k.select(turns, k.select(k.less(cot, 0), k.negate(size), size), k.f32(0)));
    const cosine = build.bind("cosine", k.div(1, k.sqrt(k.add(k.mul(t, t), 1))));
    build.add(k.store(angles, k.mul(pair, 2), cosine));
    build.add(k.store(angles, k.add(k.mul(pair, 2), 1), k.mul(t, cosine)));
  });
}

/** Rotates the matrix from both sides, and the vectors from one: an invocation for the four elements of two pairs. */
function rotate(rotations: Rotations): Kernel {
  const { size, even } = rotations;
  const pairs = even / 2;
  return each(rotations, "rotate", pairs * (pairs + size), (build, at) => {
    const matrix = build.view(rotations.matrix, "f32", "read_write");
    const vectors = build.view(rotations.vectors, "f32", "read_write");
    const angles = build.view(rotations.angles, "f32", "read");
    const right = build.bind("right", k.rem(at, pairs));
    const left = build.bind("left", k.div(at, pairs));
    const angle = (pair: Expr, name: string): readonly [Expr, Expr] => [
      build.bind(`${name}_cosine`, k.loadBuffer(angles, "f32", k.mul(pair, 2))),
      build.bind(`${name}_sine`, k.loadBuffer(angles, "f32", k.add(k.mul(pair, 2), 1))),
    ];
    /** c x - s y and s x + c y */
    const turned = (x: Expr, y: Expr, [c, s]: readonly [Expr, Expr], name: string): readonly [Expr, Expr] => [
      build.bind(name, k.sub(k.mul(c, x), k.mul(s, y))),
      build.bind(name, k.add(k.mul(s, x), k.mul(c, y))),
    ];
    build.when(
      k.less(left, pairs),
      () =>
        // the other half is its mirror image, so that the matrix stays symmetric to the bit
        build.when(k.lessEqual(left, right), () => {
          const [rows, columns] = [
            columnsOf(rotations, build, left, "row"),
            columnsOf(rotations, build, right, "column"),
          ];
          const [byRows, byColumns] = [angle(left, "row"), angle(right, "column")];
          const place = (i: Expr, j: Expr): Expr => k.add(k.mul(i, even), j);
          const read = (i: Expr, j: Expr): Expr => build.bind("old", k.loadBuffer(matrix, "f32", place(i, j)));
          const [pp, pq] = [read(rows[0], columns[0]), read(rows[0], columns[1])];
          const [qp, qq] = [read(rows[1], columns[0]), read(rows[1], columns[1])];
          const [top, bottom] = [turned(pp, pq, byColumns, "turned"), turned(qp, qq, byColumns, "turned")];
          const [first, second] = [turned(top[0], bottom[0], byRows, "new"), turned(top[1], bottom[1], byRows, "new")];
          const write = (i: Expr, j: Expr, value: Expr): void => {
            build.add(k.store(matrix, place(i, j), value));
            build.add(k.store(matrix, place(j, i), value));
          };
          write(rows[0], columns[0], first[0]);
          write(rows[1], columns[0], first[1]);
          write(rows[0], columns[1], second[0]);
          write(rows[1], columns[1], second[1]);
        }),
      () => {
        const row = build.bind("vector_row", k.mul(k.sub(left, pairs), even));
        const [p, q] = columnsOf(rotations, build, right, "vector");
        const read = (j: Expr): Expr => build.bind("old", k.loadBuffer(vectors, "f32", k.add(row, j)));
        const [one, two] = turned(read(p), read(q), angle(right, "vector"), "new");
        build.add(k.store(vectors, k.add(row, p), one));
        build.add(k.store(vectors, k.add(row, q), two));
      },
    );
  });
}

/**
 * The vectors by descending eigenvalue, each with its largest element positive: a column an invocation. Each is made to
 * length 1 anew, for the roundings of cosines and sines have moved it by some 1e-4 at 512 columns.
 */
function order(rotations: Rotations): Kernel {
  const { lowering, eqn, size, even } = rotations;
  return each(rotations, "order", size, (build, column) => {
    const matrix = build.view(rotations.matrix, "f32", "read");
    const vectors = build.view(rotations.vectors, "f32", "read");
    const out = build.view(lowering.storage[eqn.out]!, "f32", "read_write");
    const eigenvalue = (j: Expr): Expr => k.loadBuffer(matrix, "f32", k.mul(j, even + 1));
    const own = build.bind("own", eigenvalue(column));
    const place = build.variable("place", k.u32(0));
    build.loop("other", k.u32(0), k.u32(size), (other) => {
      const value = build.bind("value", eigenvalue(other));
      const before = k.or(k.greater(value, own), k.and(k.equal(value, own), k.less(other, column)));
      build.when(before, () => build.assign(place, k.add(place, 1)));
    });
    const vector = (i: Expr): Expr => k.loadBuffer(vectors, "f32", k.add(k.mul(i, even), column));
    const peak = build.variable("peak", k.f32(0));
    const squares = build.variable("squares", k.f32(0));
    build.loop("i", k.u32(0), k.u32(size), (i) => {
      const value = build.bind("value", vector(i));
      build.when(k.greater(k.abs(value), k.abs(peak)), () => build.assign(peak, value));
      build.assign(squares, k.add(squares, k.mul(value, value)));
    });
    const length = build.bind("length", k.sqrt(squares));
    build.loop("i", k.u32(0), k.u32(size), (i) => {
      const value = build.bind("value", vector(i));
      const signed = k.select(k.less(peak, 0), k.negate(value), value);
      build.add(k.store(out, k.add(k.mul(i, size), place), k.div(signed, length)));
    });
  });
}
