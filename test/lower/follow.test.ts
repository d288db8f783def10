/** Products that compute what reads their results: the same results, whatever the sizes, formats and cuts. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete } from "../../compiler/compile.js";
import type { Cut } from "../../compiler/lower/schedules/choices.js";
import type { DotSchedule } from "../../compiler/lower/schedules/dot-candidates.js";
import type { LookupSchedule } from "../../compiler/lower/schedules/lookup-candidates.js";
import { runs } from "../support/runs.js";
import { evaluateStages } from "../support/stages.js";
import {
  caseOf,
  follows,
  gpus,
  inputs,
  kernels,
  large,
  main,
  matvecCut,
  names,
  own,
  product,
  program,
  readers,
  type Schedule,
} from "./followers.js";

const test = suite("products that compute what reads them");

/** Products of integers need subgroups of a known size. */
const withDots = gpus.filter(({ target }) => target.subgroups?.min === target.subgroups?.max && target.subgroups);

for (const schedule of ["matvec", "dot"] as const) {
  test(`${schedule}: rotations, writes to the cache, and maps are computed where the product is`, () => {
    for (const [at, reader] of names.entries())
      for (const Y of ["f16", "f32"] as const) {
        const T = 1 + ((2 * at) % 5);
        assert.ok(follows({ reader, schedule, Y, sizes: { B: 1 + (at % 2), T } }), `${reader} ${Y} ${T}`);
      }
  });

  test(`${schedule}: one to eight tokens, in sequences or not`, () => {
    for (const [B, T] of [
      [1, 1],
      [2, 1],
      [1, 2],
      [3, 1],
      [2, 2],
      [1, 5],
      [2, 3],
      [7, 1],
      [4, 2],
      [1, 8],
    ] as const)
      assert.ok(follows({ reader: "a rotation into pages", schedule, sizes: { B, T } }), `${B} x ${T}`);
  });

  test(`${schedule}: heads of any size, where the rows are whole shares of workgroups`, () => {
    // the rows of a share are four or more, and a rotation needs pairs of them
    for (const [heads, head, rotated, written] of [
      [1, 32, true, true],
      [16, 2, true, true],
      [3, 32, true, true],
      [5, 64, true, true],
      [16, 6, true, true],
      [16, 10, true, true],
      [32, 5, false, true],
      [1, 2, false, false],
      [3, 6, false, false],
    ] as const) {
      const sizes = { heads, head, T: 2 };
      assert.is(follows({ reader: "a rotation into a cache", schedule, sizes }), rotated, `${heads} x ${head}`);
      assert.is(follows({ reader: "a write to a cache", schedule, sizes }), written, `${heads} x ${head}`);
    }
  });

  test(`${schedule}: weights of every format`, () => {
    const formats = {
      matvec: [
        "f32",
        "f16",
        "int4(32)",
        "int8(channel, asymmetric)",
        "nm(2, 4) of int4(32)",
        "nm(2, 4) of f16",
        "q8_0",
      ],
      dot: [
        "int4(32)",
        "int4(32, asymmetric)",
        "int8(channel)",
        "nm(2, 4) of int4(64)",
        "nm(2, 4) of int8(32)",
        "q8_0",
      ],
    };
    for (const [at, format] of formats[schedule].entries())
      for (const T of [1, 3])
        assert.ok(follows({ reader: names[at % names.length]!, schedule, format, sizes: { T } }), `${format} ${T}`);
  });

  test(`${schedule}: biases, residuals, and two sums`, () => {
    for (const [at, element] of [
      "Y((sum[k] f32(x[b, t, k]) * w[n, k]) + bias[n])",
      "Y(angle[b, t, n % head] - (sum[k] f32(x[b, t, k]) * w[n, k]) * bias[heads * head - 1 - n])",
      "Y((sum[k] f32(x[b, t, k]) * w[n, k]) * abs(sum[k] f32(x[b, t, k]) * w[n, k]) + 0.5)",
    ].entries())
      for (const reader of ["rotation", names[at]!] as const) {
        const written = `let y[b, t, n] = ${element}`;
        assert.ok(follows({ reader, schedule, product: written, sizes: { B: 2, T: 2 } }), `${reader} ${element}`);
      }
  });

  test(`${schedule}: on GPUs of all kinds`, () => {
    for (const device of schedule === "dot" ? withDots : gpus)
      for (const [at, reader] of names.entries()) {
        const sizes = { heads: 4, head: 16, T: 1 + (at % 3) };
        // without subgroups of some size a workgroup has one row: the other half of a head is another's
        const { subgroups } = device.target;
        const alone = schedule === "matvec" && (subgroups?.min !== subgroups?.max || (subgroups?.min ?? 0) < 8);
        const expected = !(alone && readers[reader].half);
        assert.is(follows({ reader, schedule, sizes, device }), expected, `${device.target.name} ${reader}`);
      }
  });
}

const dotCut: DotSchedule = {
  kind: "dot",
  lanes: 4,
  teams: 2,
  rows: 1,
  workgroups: 3,
  slots: 1,
  early: 1,
  ahead: 1,
  keeps: "workgroup",
  memories: 1,
};
const cuts: Readonly<Record<Schedule, readonly Cut[]>> = {
  matvec: [
    matvecCut,
    { ...matvecCut, rows: 2, turns: 2 },
    { ...matvecCut, teams: 2, turns: 3 },
    { ...matvecCut, teams: 1, rows: 4, turns: 5 },
    { ...matvecCut, lanes: 64, teams: 1, rows: 2 },
    { ...matvecCut, lanes: 1, teams: 16, turns: 2 },
  ],
  dot: [
    dotCut,
    { ...dotCut, early: 0, ahead: 2, rows: 2 },
    { ...dotCut, ahead: 0 },
    { ...dotCut, ahead: 0, workgroups: 5, teams: 4 },
    { ...dotCut, lanes: 2, rows: 4, workgroups: 1 },
    { ...dotCut, lanes: 1, teams: 8, early: 2 },
    { ...dotCut, lanes: 2, workgroups: 7, teams: 1, rows: 2 },
    { ...dotCut, lanes: 1, teams: 4, workgroups: 2, keeps: "lanes" },
    { ...dotCut, lanes: 2, slots: 1, workgroups: 4, early: 0 },
  ],
};

for (const schedule of ["matvec", "dot"] as const)
  test(`${schedule}: workgroups that take several turns, rows, or parts of the activations`, () => {
    for (const cut of cuts[schedule])
      for (const [at, reader] of (
        ["a rotation into pages", "a write to a cache", "a map of its halves"] as const
      ).entries()) {
        const choice = { reader, schedule, sizes: { heads: 3, head: 16, T: 1 + at }, options: { schedule: cut } };
        assert.ok(follows(choice), `${JSON.stringify(cut)} ${reader}`);
      }
  });

test("several turns where the norm of the activations is a workgroup's own", () => {
  const normed = `let norm[b, t] = mean[k] f32(x[b, t, k])^2
  let y[b, t, n] = Y(sum[k] f32(E(f32(x[b, t, k]) * rsqrt(norm[b, t] + 0.1))) * w[n, k])`;
  for (const turns of [1, 4])
    assert.ok(
      follows({
        reader: "rotation",
        schedule: "matvec",
        product: normed,
        options: { schedule: { ...matvecCut, turns } },
      }),
    );
});

test("the same elements, where they are not fused with the product", () => {
  const body = "return z where z[b, t, n] = f32(y[b, t, n]) - f32(y[b, t, n])^2 * bias[n]";
  const source = main("f32[B, T, heads * head]", `${product}\n${body}`);
  for (const schedule of ["matvec", "dot"] as const)
    assert.equal(kernels(source, { schedule, options: { fuse: false } }), [`y_z ${schedule}`]);
});

test("results are the same bit for bit, wherever they are computed", () => {
  for (const schedule of ["matvec", "dot"] as const)
    for (const reader of ["rotation", "a map of the elements in another order"] as const) {
      const given = caseOf(program({ reader, schedule }), { schedule, sizes: { T: 2 } });
      const [one, two] = [true, false].map((merge) => {
        const stages = lowerConcrete(given.graph, large.target, { merge });
        assert.is(stages.kernels.flat().length, merge ? 1 : 2);
        return [...evaluateStages(stages, given.inputs, given.words, 32).values()].map(({ data }) => [...data]);
      });
      assert.equal(one, two);
    }
});

test("of two products of one reader one is computed there", () => {
  const second = product.replace("let y", "let u").replace("w[n, k]", "v[n, k]");
  const body = readers.rotation.body.replace(own, `${own} * f32(u[b, t, a * head + h])`);
  const both = main(
    readers.rotation.result,
    `${product}\n${second}\n${body}`,
    `${inputs}, v: f32[heads * head, K] as F`,
  );
  for (const schedule of ["matvec", "dot"] as const)
    assert.equal(
      kernels(both, { schedule, sizes: { T: 3 } }).map((each) => each.split(" ")[0]),
      ["u", "y_z"],
    );
});

test("lookup: with what reads it, in turns, rows and chunks", () => {
  const cut = { kind: "lookup", lanes: 4, teams: 4, rows: 1, workgroups: 3, carried: 1, element: "f32" } as const;
  const lookups: readonly LookupSchedule[] = [
    { ...cut, slots: 2, memories: 1 },
    { ...cut, slots: 2, memories: 1, carried: 2, element: "f16" },
    { ...cut, slots: 1, memories: 2, rows: 2 },
    { ...cut, slots: 1, memories: 1, carried: 0, workgroups: 9, element: "f16" },
  ];
  for (const [at, reader] of names.entries())
    for (const [turn, schedule] of lookups.entries()) {
      const sizes = { heads: 4, head: 16, B: 1 + (at % 2), T: 1 + ((at + turn) % 2) };
      const choice = { reader, schedule: "matvec", format: "nm(2, 4) of f16", sizes, options: { schedule } } as const;
      assert.ok(follows(choice), `${reader} ${JSON.stringify(schedule)}`);
    }
});

test("products of any cut with readers of any shape mean the same", () => {
  const formats = ["f32", "f16", "int4(32)", "nm(2, 4) of int4(64)", "int8(16)", "q8_0", "int8(channel, asymmetric)"];
  const some = fc.record({
    reader: fc.constantFrom(...names),
    schedule: fc.constantFrom<Schedule>("matvec", "dot"),
    Y: fc.constantFrom<"f16" | "f32">("f16", "f32"),
    format: fc.constantFrom(...formats),
    device: fc.constantFrom(...gpus),
    tokens: fc.constantFrom([1, 1], [2, 1], [1, 3], [3, 2], [1, 8]),
    heads: fc.integer({ min: 1, max: 9 }),
    head: fc.integer({ min: 1, max: 20 }),
    cut: fc.option(fc.nat(cuts.dot.length - 1)),
    most: fc.constantFrom(8, 10, 16),
  });
  let followed = 0;
  fc.assert(
    fc.property(some, ({ tokens: [B, T], heads, head, cut, most, device, ...choice }) => {
      const sizes = { B: B!, T: T!, heads, head: 2 * Math.ceil(head / 2) };
      const list = cuts[choice.schedule];
      const options = cut === null ? {} : { schedule: list[cut % list.length]! };
      const simulatedBy = { ...device, target: { ...device.target, maxStorageBuffers: most } };
      if (follows({ ...choice, sizes, options, device: cut === null ? simulatedBy : large })) followed += 1;
    }),
    runs(25),
  );
  assert.ok(followed > 6, `${followed} of them`);
});

test.run();
