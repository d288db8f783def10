import { suite } from "uvu";
import * as assert from "uvu/assert";
import { InternalError } from "../../compiler/diagnostic.js";
import { linkPrograms } from "../../compiler/plan/link.js";
import type { Program } from "../../compiler/plan/program.js";
import { memoryOf } from "../support/program-memory.js";
import { accumulate, shifted } from "../support/toy-programs.js";

const test = suite("link");

/** `count` shifts one after the other: x -> h1 -> h2 ... */
const chain = (count: number, keep: readonly string[]): Program =>
  linkPrograms(
    "chain",
    Array.from({ length: count }, (_, at) => ({
      program: shifted,
      names: { x: at === 0 ? "x" : `h${at}`, y: `h${at + 1}`, shift: at === 0 ? "first" : "shift" },
    })),
    keep,
  );

test("what an earlier program puts out is a later one's input, and the rest the whole's", () => {
  const whole = chain(3, ["h3"]);
  assert.equal(
    whole.inputs.map(({ name, mutable }) => [name, mutable]),
    [["x", false]],
  );
  assert.equal(
    whole.outputs.map(({ name }) => name),
    ["h3"],
  );
  assert.equal(
    whole.parameters.map(({ name }) => name),
    ["first", "shift"],
  );
  // the shift of another name is a kernel of its own; the doubling is there once
  assert.is(whole.kernels.length, 3);
  assert.is(whole.steps.filter(({ kind }) => kind === "dispatch").length, 6);
  const roles = (role: string): number => whole.buffers.filter((buffer) => buffer.role === role).length;
  assert.equal([roles("input"), roles("output"), roles("temporary")], [1, 1, 5]);
});

test("an input is open where it is to all that read it", () => {
  const open: Program = { ...shifted, inputs: shifted.inputs.map((input) => ({ ...input, open: true as const })) };
  const whole = (...programs: readonly Program[]): Program =>
    linkPrograms(
      "open",
      programs.map((program, at) => ({ program, names: { y: `y${at}` } })),
      ["y0"],
    );
  assert.is(whole(open, open).inputs[0]!.open, true);
  for (const programs of [
    [open, shifted],
    [shifted, open],
  ])
    assert.is(whole(...programs).inputs[0]!.open, undefined);
});

test("a long chain takes the memory of a short one", () => {
  const bytes = (count: number): number => memoryOf(chain(count, [`h${count}`])).taken;
  assert.is(bytes(20), bytes(3));
  // what is kept lives on
  assert.is(memoryOf(chain(3, ["h1", "h3"])).taken, bytes(3) + 64);
});

test("state is changed in place, and an input that any program changes is mutable", () => {
  const whole = linkPrograms(
    "steps",
    [
      { program: accumulate, names: {} },
      { program: shifted, names: { x: "state", y: "z" } },
      { program: accumulate, names: { x: "z" } },
    ],
    ["state"],
  );
  assert.equal(
    whole.inputs.map(({ name, mutable }) => [name, mutable]),
    [
      ["x", false],
      ["state", true],
    ],
  );
  assert.is(whole.outputs[0]!.buffer, whole.inputs[1]!.buffer);
  // state may be a value of the whole itself, too
  const inner = linkPrograms(
    "inner",
    [
      { program: shifted, names: { y: "state" } },
      { program: accumulate, names: {} },
    ],
    ["state"],
  );
  assert.equal(
    inner.inputs.map(({ name }) => name),
    ["x"],
  );
});

test("forms that differ, scalars of two dtypes and names that nothing has are refused", () => {
  const wide: Program = { ...shifted, inputs: shifted.inputs.map((input) => ({ ...input, shape: [4, 4] })) };
  const other: Program = { ...shifted, parameters: [{ name: "shift", dtype: "i32" }] };
  const next = { x: "y", y: "z" };
  const refused = (links: readonly Program[], keep: string, words: RegExp): void => {
    const list = links.map((program, at) => ({ program, names: at === 0 ? {} : next }));
    assert.throws(
      () => linkPrograms("p", list, [keep]),
      (error: unknown) => error instanceof InternalError && words.test(error.message),
    );
  };
  refused([shifted, wide], "z", /y is f32\[16\].*f32\[4, 4\]/);
  refused([shifted, other], "z", /shift is f32 and i32/);
  refused([shifted], "z", /called z/);
});

test.run();
