/** Products that compute what reads their results: which do, and that it is what it was. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, type CompileOptions } from "../../compiler/compile.js";
import type { Cut } from "../../compiler/lower/schedules/choices.js";
import type { DotSchedule } from "../../compiler/lower/schedules/dot-candidates.js";
import { graphOf } from "../check/support.js";
import { agreeSimulated, expectedOf, type Case, type Simulated } from "../support/agreement.js";
import { runs } from "../support/runs.js";
import { simulated } from "../support/simulated.js";
import { evaluateStages } from "../support/stages.js";
import { targets } from "../support/targets.js";
import { graphCase } from "./support.js";

const test = suite("products that compute what reads them");

const large: Simulated = {
  target: { ...targets["a GPU with subgroups of 32"], f16: true, maxBinding: 2 ** 30 },
  subgroupSize: 32,
};
/** GPUs of all kinds; products of integers need subgroups of a known size. */
const gpus: readonly Simulated[] = simulated
  .filter(({ target }) => target.kind === "gpu")
  .map(({ target, subgroupSize }) => ({ target: { ...target, f16: true }, subgroupSize }));
const withDots = gpus.filter(({ target }) => target.subgroups?.min === target.subgroups?.max && target.subgroups);

type Schedule = "matvec" | "dot";

const inputs = `x: X[B, T, K], w: f32[heads * head, K] as F, bias: f32[heads * head], angle: f32[B, T, head],
  positions: i32[B], pages: i32[B, 3], var cache: E[B, C, heads, head], var pool: E[3 * B, 4, heads, head]`;

/** A program of a product y and more; `given` are inputs besides those of all, `where` what holds of sizes. */
const main = (result: string, body: string, given = inputs): string =>
  `fn main(${given}, heads: size, head: size) -> ${result} {\n${body}\n}`;

const product = "let y[b, t, n] = Y(sum[k] f32(x[b, t, k]) * w[n, k])";
const own = "f32(y[b, t, a * head + h])";
const other = "f32(y[b, t, a * head + (h + head / 2) % head])";
const turned = `(${own} * angle[b, t, h] - 2.0 * ${other} * angle[b, t, (h + 1) % head])`;
const ranges = "for a in 0 .. heads, h in 0 .. head";

/** What reads a product: statements with its result, and whether an element reads one half a head away. */
const readers = {
  rotation: {
    half: true,
    result: "E[B, T, heads, head]",
    body: `return z where z[b, t, a, h] = E(${turned}) ${ranges}`,
  },
  "a rotation of heads before tokens": {
    half: true,
    result: "E[B, heads, T, head]",
    body: `return z where z[b, a, t, h] = E(${turned}) ${ranges}`,
  },
  "a rotation into a cache": {
    half: true,
    result: "f32[B]",
    body: `cache[b, positions[b] + t, a, h] = E(${turned}) ${ranges}\nreturn s where s[b] = f32(positions[b])`,
  },
  "a rotation into pages": {
    half: true,
    result: "f32[B]",
    body: `pool[pages[b, (positions[b] + t) / 4], (positions[b] + t) % 4, a, h] = E(${turned}) ${ranges}
  return s where s[b] = f32(positions[b])`,
  },
  "a write to a cache": {
    half: false,
    result: "f32[B]",
    body: `cache[b, positions[b] + t, a, h] = E(${own}) ${ranges}\nreturn s where s[b] = f32(positions[b])`,
  },
  "a sum onto a cache": {
    half: false,
    result: "f32[B]",
    body: `cache[b, positions[b] + t, a, h] += E(${own}) ${ranges}\nreturn s where s[b] = f32(positions[b])`,
  },
  "a map of the elements in another order": {
    half: false,
    result: "f32[T, heads * head, B]",
    body: "return z where z[t, n, b] = f32(y[b, t, n]) - f32(y[b, t, n])^2 * bias[n]",
  },
  "a map of its halves": {
    half: true,
    result: "E[B, T, heads * head]",
    body: `return z where z[b, t, n] = E(f32(y[b, t, (n + heads * head / 2) % (heads * head)]) + 3.0 * f32(y[b, t, n]))
  for n in 0 .. heads * head`,
  },
} as const;
type Reader = keyof typeof readers;
const names = Object.keys(readers) as readonly Reader[];

interface Choice {
  readonly reader: Reader;
  readonly schedule: Schedule;
  readonly Y?: "f16" | "f32";
  readonly format?: string;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly product?: string;
  readonly device?: Simulated;
  readonly options?: CompileOptions;
}

function caseOf(source: string, { schedule, Y = "f16", format, sizes = {} }: Omit<Choice, "reader">): Case {
  const X = schedule === "dot" ? "f32[B, T, K] as A" : "E[B, T, K]";
  const text = source.replaceAll("X[B, T, K]", X).replaceAll(/\bY\b/g, Y === "f16" ? "E" : "f32");
  const bound = { B: 1, T: 1, K: 128, C: 9, heads: 2, head: 16, ...sizes };
  const formats = { A: "int8(64, scale: f32)", F: format ?? (schedule === "dot" ? "int4(32)" : "f16") };
  return graphCase(graphOf(text, "main"), { sizes: bound, formats, dtype: "f16" }, "half", {
    positions: Array.from({ length: bound.B }, (_, at) => at),
    // some pages are nobody's: what is written there is dropped
    pages: Array.from({ length: bound.B * 3 }, (_, at) => (at % 4 === 2 ? -1 : at)),
  });
}

/** The kernels by what they compute, with their schedules, after the results were held to what a program means. */
function kernels(source: string, choice: Omit<Choice, "reader">): readonly string[] {
  const given = caseOf(source, choice);
  const stages = agreeSimulated(given, expectedOf(given), choice.device ?? large, choice.options);
  return stages.kernels.flat().map(({ name, origin }) => `${name.replace("main_", "")} ${origin.schedule}`);
}

const program = ({ reader, product: written = product }: Choice): string =>
  main(readers[reader].result, `${written}\n${readers[reader].body}`);

/** Whether the product computes its reader, after the results were held to what they are. */
function follows(choice: Choice): boolean {
  const found = kernels(program(choice), choice);
  return found.some((each) => /^y_\w+ (dot|matvec)$/.test(each));
}

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

const matvecCut = { kind: "matvec", lanes: 32, teams: 4, rows: 1, unroll: 1, turns: 1 } as const;
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

/** Kernels of a program with a product of few tokens that is computed by itself. */
function apart(source: string, choice: Partial<Choice> = {}): void {
  for (const schedule of choice.schedule === undefined ? (["matvec", "dot"] as const) : [choice.schedule]) {
    const found = kernels(source, { ...choice, schedule, sizes: { T: 3, ...choice.sizes } });
    assert.ok(found.includes(`y ${schedule}`), `${found.join()}\n${source}`);
  }
}

const rotated = program({ reader: "rotation", schedule: "matvec" });
const result = "E[B, T, heads, head]";

test("a result that is asked for, or that others read, is stored", () => {
  apart(
    main(`Y[B, T, heads * head], ${result}`, `${product}\n${readers.rotation.body.replace("z where", "y, z where")}`),
  );
  apart(
    main(
      `${result}, f32[T, B]`,
      `${product}\nlet z[b, t, a, h] = E(${turned}) ${ranges}
  let u[t, b] = f32(y[b, t, 3]) + f32(y[b, t, 5]) for t in 0 .. T, b in 0 .. B\nreturn z, u`,
    ),
  );
});

test("elements elsewhere than half a head away, or not all of them, are loaded", () => {
  const beside = (place: string): string => {
    const from = "a * head + (h + head / 2) % head";
    assert.ok(rotated.includes(from));
    return rotated.replace(from, place);
  };
  for (const place of [
    "a * head + (h + 1) % head",
    "a * head + (h + head / 4) % head",
    "a * head + head - 1 - h",
    "(a * head + h + head / 2) % (heads * head)",
    "a * head",
    "(heads - 1 - a) * head + h",
    "h * heads + a",
    // by the token, and by what is known only when it runs
    "a * head + (h + t) % head",
    "(a * head + h + t) % (heads * head)",
    "a * head + (h + positions[b]) % head",
    // beyond the end there is nothing, which is 0
    "a * head + h + head / 2",
  ])
    apart(beside(place));
  const each = (token: string): string => rotated.replaceAll(/\by\[b, t, a/g, `y[b, ${token}, a`);
  for (const token of ["T - 1 - t", "0", "max(t - 1, 0)", "t - 1"]) apart(each(token));
  apart(
    each("t")
      .replace(ranges, `for t in 0 .. T - 1, a in 0 .. heads, h in 0 .. head`)
      .replace(result, "E[B, T - 1, heads, head]"),
  );
  apart(
    rotated
      .replace(ranges, `for t in 0 .. T, a in 0 .. heads - 1, h in 0 .. head`)
      .replace(result, "E[B, T, heads - 1, head]"),
  );
  const many = `return z where z[b, t, s, a, h] = E(${turned} + f32(s)) for s in 0 .. 2, a in 0 .. heads, h in 0 .. head`;
  apart(main("E[B, T, 2, heads, head]", `${product}\n${many}`));
  const swapped = rotated.replace(own, own.replace("b, t", "t, b"));
  apart(swapped.replace("> E[B, T, heads, head] {", "> E[B, T, heads, head] where B == T {"), {
    sizes: { B: 2, T: 2 },
  });
});

test("what sums itself, or writes to places that the product says, reads what is stored", () => {
  for (const sum of ["(sum[j in 0 .. 3] angle[b, t, (h + j) % head])", "(sum[j in 0 .. 3] f32(y[b, t, j]))"])
    apart(rotated.replace("- 2.0", `- ${sum}`));
  const into = readers["a write to a cache"];
  for (const place of [`2 * t + select(${own} > 0.0, 1, 0)`, "(max[j in 0 .. 2] positions[(b + j) % B]) + t"])
    apart(main(into.result, `${product}\n${into.body.replace("positions[b] + t", place)}`));
});

test("what the product reads is as it was", () => {
  const given = inputs.replace("bias", "var bias").replace("x: E", "var x: E");
  const biased = product.replace("w[n, k])", "w[n, k] + bias[n])");
  const statements = (between: string, reader: string): string =>
    main(result, `${biased}\n${between}\n${reader}`, given);
  const change = "bias[n] = f32(n) * angle[0, 0, 0] for n in 0 .. heads * head";
  apart(statements(change, readers.rotation.body));
  // changed by the reader itself
  const turnedBias = `bias[a * head + h] = ${turned.replaceAll("[b, t,", "[0, 0,")} ${ranges}\nreturn s where s[b] = bias[0] for b in 0 .. B`;
  apart(main("f32[B]", `${biased}\n${turnedBias}`, given), { sizes: { T: 1 } });
  // after the reader, or elsewhere: as they come
  const after = main(`${result}`, `${biased}\nlet z[b, t, a, h] = E(${turned}) ${ranges}\n${change}\nreturn z`, given);
  for (const schedule of ["matvec", "dot"] as const)
    assert.ok(kernels(after, { schedule, sizes: { T: 3 } }).some((each) => each.startsWith("y_z")));
});

test("products of a batch of weights, or of integers, are stored", () => {
  const batched = rotated
    .replace("w: f32[heads * head, K] as F", "w: f32[B, heads * head, K] as F")
    .replace("w[n", "w[b, n");
  apart(batched, { schedule: "matvec", sizes: { B: 2 } });
  const integers = rotated.replace("Y(sum[k] f32(x[b, t, k]) * w[n, k])", "i32(sum[k] f32(x[b, t, k]) * w[n, k])");
  apart(integers);
});

test("where dispatches cost nothing, or buffers or workgroup memory are few, it stays as it is", () => {
  apart(rotated, { options: { merge: false } });
  const cpu = simulated.find(({ target }) => target.kind === "cpu")!;
  apart(rotated, { schedule: "matvec", device: { ...cpu, target: { ...cpu.target, f16: true } } });
  const few = (most: number): Simulated => ({ ...large, target: { ...large.target, maxStorageBuffers: most } });
  assert.ok(follows({ reader: "rotation", schedule: "matvec", device: few(4) }));
  apart(rotated, { schedule: "matvec", device: few(3) });
  const small: Simulated = { ...large, target: { ...large.target, maxWorkgroupMemory: 128 } };
  const cut: Cut = { ...matvecCut, teams: 16, rows: 2 };
  assert.ok(follows({ reader: "rotation", schedule: "matvec", device: small, options: { schedule: cut } }));
  apart(rotated, { schedule: "matvec", device: small, options: { schedule: cut } });
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
  const both = main(result, `${product}\n${second}\n${body}`, `${inputs}, v: f32[heads * head, K] as F`);
  for (const schedule of ["matvec", "dot"] as const)
    assert.equal(
      kernels(both, { schedule, sizes: { T: 3 } }).map((each) => each.split(" ")[0]),
      ["u", "y_z"],
    );
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
    runs(40),
  );
  assert.ok(followed > 10, `${followed} of them`);
});

test.run();
