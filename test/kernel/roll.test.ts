/** Copies of statements as a loop, and alike kernels as one body: they compute what they did, and are shorter. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import * as k from "../../compiler/kernel/build.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import type { Expr, Kernel, Statement } from "../../compiler/kernel/kernel.js";
import { mergeKernels } from "../../compiler/kernel/merge.js";
import { rolled, unknownOne } from "../../compiler/kernel/roll.js";
import { unify } from "../../compiler/kernel/unify.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import { countOf } from "../../compiler/kernel/walk.js";
import { smallKernel } from "../support/kernels.js";

const test = suite("kernel/roll");

const lane = k.builtin("local_index");
const words = [
  { name: "input", tensor: "x", element: "u32", access: "read", length: 64 },
  { name: "other", tensor: "z", element: "u32", access: "read", length: 64 },
  { name: "output", tensor: "y", element: "u32", access: "read_write", length: 64 },
] as const;
const memory = { buffers: words, arrays: [{ name: "tile", element: "u32", length: 8 }] } as const;
const given = Uint32Array.from({ length: 64 }, (_, at) => Math.imul(at + 3, 2654435761) >>> 0);
const further = given.map((value) => ~value);

/** What a kernel writes. */
function written(kernel: Kernel): readonly number[] {
  assert.equal(verifyKernel(kernel), []);
  const output = new Uint32Array(64);
  const buffers = [given, further, output].map((values, at) => [words[at]!.tensor, values.buffer] as const);
  evaluateKernel(kernel, new Map(buffers), {});
  return [...output];
}

/** Names that are not taken. */
function names(): (hint: string) => string {
  let count = 0;
  return (hint) => `${hint}_new${count++}`;
}

/** A number that copies have in common, each has its own of, or each takes from elsewhere. */
type Leaf =
  | { readonly kind: "same"; readonly value: number }
  | { readonly kind: "own"; readonly values: readonly number[] }
  | { readonly kind: "outer"; readonly which: readonly number[] }
  | { readonly kind: "earlier"; readonly step: number }
  | { readonly kind: "sum" }
  | { readonly kind: "load"; readonly at: readonly number[] }
  | { readonly kind: "shared" };
interface Value {
  readonly op: "add" | "multiply" | "bit_xor" | "shift_right";
  readonly a: Leaf;
  readonly b: Leaf;
}
interface Step {
  readonly kind: "let" | "assign" | "shared" | "loop" | "when" | "store";
  readonly value: Value;
  readonly times: readonly number[];
}

const copies = 3;
const perCopy = (most: number): fc.Arbitrary<number[]> =>
  fc.array(fc.nat(most), { minLength: copies, maxLength: copies });
const leaf: fc.Arbitrary<Leaf> = fc.oneof(
  fc.nat(99).map((value): Leaf => ({ kind: "same", value })),
  perCopy(99).map((values): Leaf => ({ kind: "own", values })),
  perCopy(1).map((which): Leaf => ({ kind: "outer", which })),
  fc.nat(20).map((step): Leaf => ({ kind: "earlier", step })),
  fc.constant<Leaf>({ kind: "sum" }),
  perCopy(7).map((at): Leaf => ({ kind: "load", at })),
  fc.constant<Leaf>({ kind: "shared" }),
);
const value: fc.Arbitrary<Value> = fc.record({
  op: fc.constantFrom("add", "multiply", "bit_xor", "shift_right"),
  a: leaf,
  b: leaf,
});
const step: fc.Arbitrary<Step> = fc.record({
  kind: fc.constantFrom("let", "let", "let", "assign", "shared", "loop", "when", "store"),
  value,
  times: perCopy(3),
});

/** The statements of a copy. */
function copyOf(steps: readonly Step[], copy: number): readonly Statement[] {
  const lets: Expr[] = [];
  const leafOf = (a: Leaf): Expr => {
    switch (a.kind) {
      case "same":
        return k.u32(a.value);
      case "own":
        return k.u32(a.values[copy]!);
      case "outer":
        return k.local(`outer${a.which[copy]}`, "u32");
      case "earlier":
        return lets.length === 0 ? k.u32(a.step) : lets[a.step % lets.length]!;
      case "sum":
        return k.local("sum", "u32");
      case "load":
        return k.loadBuffer("input", "u32", k.add(k.mul(lane, 8), a.at[copy]!));
      case "shared":
        return k.loadShared("tile", "u32", lane);
      default:
        return a satisfies never;
    }
  };
  // not folded, so that copies with other numbers have the same statements
  const of = ({ op, a, b }: Value): Expr => ({ kind: "binary", op, a: leafOf(a), b: leafOf(b), type: "u32" });
  return steps.map(({ kind, value: given, times }, at): Statement => {
    const name = `v${at}_${copy}`;
    const add = (more: Expr): Statement => k.assign("sum", k.add(k.local("sum", "u32"), more));
    switch (kind) {
      case "let": {
        const made = k.letIs(name, of(given));
        lets.push(k.local(name, "u32"));
        return made;
      }
      case "assign":
        return add(of(given));
      case "shared":
        return k.storeShared("tile", lane, of(given));
      case "loop":
        return k.forRange(name, 0, k.u32(times[copy]!), [add(k.mul(of(given), k.local(name, "u32")))]);
      case "when":
        return k.ifThen(k.less(of(given), 1 << 30), [add(k.u32(times[copy]!))], [add(of(given))]);
      case "store":
        return k.store("output", k.add(k.mul(lane, 8), times[copy]!), of(given));
      default:
        return kind satisfies never;
    }
  });
}

const before: readonly Statement[] = [
  k.letIs("outer0", k.add(lane, 5)),
  k.letIs("outer1", k.mul(lane, 77)),
  k.letIs("one", unknownOne()),
  k.variable("sum", k.u32(1)),
  k.storeShared("tile", lane, k.mul(lane, 3)),
];
const after = k.store("output", k.add(k.mul(lane, 8), 7), k.local("sum", "u32"));

test("copies as a loop compute what they did", () => {
  let loops = 0;
  let runs = 0;
  fc.assert(
    fc.property(fc.array(step, { minLength: 16, maxLength: 24 }), (steps) => {
      const all = Array.from({ length: copies }, (_, copy) => copyOf(steps, copy));
      const loop = rolled(all, names(), k.local("one", "u32"));
      runs++;
      if (loop.length === 1) loops++;
      const kernel = (body: readonly Statement[]): Kernel => smallKernel([...before, ...body, after], memory);
      assert.equal(written(kernel(loop)), written(kernel(all.flat())));
    }),
    { numRuns: 300, seed: 7 },
  );
  assert.is(loops, runs, "copies that differ in their operands only are alike");
});

test("kernels that are alike are one body, and compute what each does", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 4, maxLength: 16 }), fc.boolean(), (steps, elsewhere) => {
      const kernels = [0, 1, 2].map((copy): Kernel => {
        const own: Record<string, string> = copy === 1 && elsewhere ? { input: "other" } : {};
        const body = renamed([...before, ...copyOf(elsewhere ? steps.map(loadsInLets) : steps, copy), after], own);
        // each writes a part of its own
        const last = k.store("output", k.add(k.mul(lane, 8), copy), k.local("sum", "u32"));
        const stores = body.filter(({ kind }) => kind !== "store");
        return { ...smallKernel([...stores, last], memory), workgroups: [1, 1, 1] };
      });
      const long = mergeKernels(kernels);
      const short = mergeKernels(kernels, true);
      assert.equal(written(short), written(long));
      // of other buffers, each value read has a branch for each kernel
      if (!elsewhere) assert.ok(countOf(short.body) < countOf(long.body) / 2 + 12, "as long as one of them");
    }),
    { numRuns: 100, seed: 11 },
  );
});

/** Only a `let` reads a buffer, as what is staged is read: of buffers that differ, others are not alike. */
function loadsInLets(each: Step): Step {
  if (each.kind === "let") return each;
  const of = (a: Leaf): Leaf => (a.kind === "load" ? { kind: "shared" } : a);
  return { ...each, value: { ...each.value, a: of(each.value.a), b: of(each.value.b) } };
}

/** Statements that read other buffers. */
function renamed(statements: readonly Statement[], buffers: Readonly<Record<string, string>>): readonly Statement[] {
  return JSON.parse(JSON.stringify(statements), (key, each: unknown) =>
    key === "buffer" && typeof each === "string" ? (buffers[each] ?? each) : each,
  ) as readonly Statement[];
}

test("kernels that are not alike have a branch each, their alike neighbours one", () => {
  const kernel = (copy: number, more: readonly Statement[]): Kernel =>
    smallKernel([...more, k.store("output", k.add(lane, 8 * copy), k.u32(copy))], memory);
  const long = Array.from({ length: 6 }, (_, at) => k.letIs(`v${at}`, k.add(lane, at)));
  const parts = [kernel(0, []), kernel(1, long), kernel(2, long)];
  const short = mergeKernels(parts, true);
  assert.equal(written(short), written(mergeKernels(parts)));
  const [, branch] = short.body;
  assert.is(branch?.kind, "if");
  if (branch?.kind === "if") assert.ok(branch.otherwise.every(({ kind }) => kind !== "if"));
});

/** Whether two statements are one, with `which` to choose. */
const alike = (a: Statement, b: Statement): boolean => unify([[a], [b]], k.local("which", "u32"), names()) !== null;

test("statements that do other things are not alike", () => {
  const store = (buffer: string, at: number): Statement => k.store(buffer, at, k.u32(1));
  assert.ok(alike(store("output", 1), store("output", 2)));
  assert.not(alike(store("output", 1), k.storeShared("tile", 1, k.u32(1))));
  assert.not(alike(k.storeShared("tile", 1, k.u32(1)), k.storeShared("tiles", 1, k.u32(1))));
  assert.not(alike(k.assign("a", k.u32(1)), k.assign("b", k.u32(1))));
  assert.not(alike(k.ifThen(k.bool(true), [k.barrier]), k.ifThen(k.bool(true), [])));
  // a subgroup would be joined by one of two
  const total = (a: Expr): Expr => k.call("subgroupAdd", [a]);
  assert.ok(alike(k.assign("a", total(k.u32(1))), k.assign("a", total(k.u32(2)))));
  assert.not(alike(k.assign("a", total(k.u32(1))), k.assign("a", k.call("subgroupMax", [k.u32(1)]))));
  assert.not(alike(k.letIs("a", total(k.u32(1))), k.letIs("b", k.u32(1))));
});

test("what is read of memory in one copy only is read there only", () => {
  const outside = k.loadBuffer("input", "u32", k.add(lane, k.mul(k.loadShared("tile", "u32", lane), 1 << 20)));
  const all = [
    [k.letIs("a", k.u32(4)), k.assign("sum", k.local("a", "u32"))],
    [k.letIs("b", outside), k.assign("sum", k.local("b", "u32"))],
  ];
  const none = k.sub(k.local("outer0", "u32"), k.add(lane, 5));
  const one = unify(all, none, names());
  assert.ok(one);
  const kernel = smallKernel([...before, ...one!.choices, ...one!.body, after], memory);
  assert.is(written(kernel)[7], 4);
});

test("few statements and a single copy stay as they are", () => {
  const few = [0, 1].map((copy) => [k.letIs(`a${copy}`, k.u32(copy))]);
  assert.equal(rolled(few, names(), k.u32(1)), few.flat());
  const many = [Array.from({ length: 30 }, (_, at) => k.letIs(`a${at}`, k.u32(at)))];
  assert.equal(rolled(many, names(), k.u32(1)), many[0]);
  assert.equal(rolled([], names(), k.u32(1)), []);
});

test.run();
