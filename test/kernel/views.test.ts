/** Halves of a tensor taken from its words: the same values with a view less, where all of them can be. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { f16Bits } from "../../compiler/float.js";
import * as k from "../../compiler/kernel/build.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import { byteSize, type Expr, type Kernel, type KernelBuffer, type Statement } from "../../compiler/kernel/kernel.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import { withFewerViews } from "../../compiler/kernel/views.js";
import { smallKernel } from "../support/kernels.js";
import { numbers } from "../support/packed.js";

const test = suite("kernel/views");

const count = 64;
const lane = k.builtin("local_index");
const half = (index: k.Operand, of = "halves"): Expr => k.loadBuffer(of, "f16", index);
const wide = (index: k.Operand): Expr => k.convert("f32", half(index));

type Words = "u32" | "vec2<u32>" | "vec4<u32>";
const words: readonly Words[] = ["u32", "vec2<u32>", "vec4<u32>"];

/** A view of x, which has 64 halves. */
const view = (name: string, element: KernelBuffer["element"], change: Partial<KernelBuffer> = {}): KernelBuffer => ({
  name,
  tensor: "x",
  element,
  access: "read",
  length: (2 * count) / byteSize(element),
  ...change,
});
const output: KernelBuffer = { name: "output", tensor: "y", element: "f32", access: "read_write", length: count };

/** A kernel that reads x by halves and by those words. */
function kernel(body: readonly Statement[], views: readonly KernelBuffer[] | Words = "u32"): Kernel {
  const given = typeof views === "string" ? [view("halves", "f16"), view("words", views)] : views;
  const arrays = [{ name: "tile", element: "f32", length: 8 }] as const;
  return smallKernel(body, { buffers: [...given, output], arrays, features: ["f16"] });
}

/** What a kernel writes of halves that differ, among them the smallest, the largest, infinities and both zeros. */
function written(of: Kernel): readonly number[] {
  assert.equal(verifyKernel(of), []);
  const special = [0, -0, Infinity, -Infinity, 65504, -65504, 2 ** -24, -(2 ** -14)];
  const halves = Uint16Array.from(numbers(count, 5), (value, at) => f16Bits(special[at] ?? value));
  const result = new Float32Array(count);
  const memory = new Map([
    ["x", halves.buffer],
    ["z", halves.slice().reverse().buffer],
    ["y", result.buffer],
  ]);
  evaluateKernel(of, memory);
  return [...new Uint32Array(result.buffer)];
}

/** Asserts that a kernel does with a view less what it did; gives the one with fewer. */
function same(given: Kernel): Kernel {
  const fewer = withFewerViews(given);
  assert.ok(fewer !== null);
  assert.is(fewer.buffers.length, given.buffers.length - 1);
  assert.equal(written(fewer), written(given));
  return fewer;
}

const own = k.add(k.mul(k.local("i", "u32"), 8), lane);
const everywhere = (...body: readonly Statement[]): readonly Statement[] => [k.forRange("i", 0, 8, body)];

test("every half is the same, whatever words it is in", () => {
  for (const element of words) {
    const found = same(kernel(everywhere(k.store("output", own, wide(own))), element));
    assert.equal(
      found.buffers.map(({ name }) => name),
      ["words", "output"],
    );
    assert.ok(new Set(written(found)).size > count - 4);
    for (let at = 0; at < 16; at++)
      same(kernel([k.ifThen(k.equal(lane, 0), [k.store("output", at, wide(at))])], element));
  }
});

test("of several views of words the narrowest is read, and all that is long enough", () => {
  const body = everywhere(k.store("output", own, wide(own)));
  const loads = (...views: readonly KernelBuffer[]): string => {
    const text = JSON.stringify(same(kernel(body, [view("halves", "f16"), ...views])).body);
    return ["quads", "pairs", "words"].filter((name) => text.includes(`"buffer":"${name}"`)).join();
  };
  const [quads, pairs, ones] = [view("quads", "vec4<u32>"), view("pairs", "vec2<u32>"), view("words", "u32")];
  assert.is(loads(quads, pairs, ones), "words");
  assert.is(loads(quads, pairs), "pairs");
  assert.is(loads(quads, view("pairs", "vec2<u32>", { length: 15 })), "quads");
});

test("values of all statements, in blocks, twice in one, and at places that halves say", () => {
  const i = k.local("i", "u32");
  const placed = k.convert("u32", k.abs(k.mul(k.f32(16), wide(k.add(k.rem(own, 48), 8)))));
  for (const element of words)
    same(
      kernel(
        [
          k.letIs("half_at_0", lane),
          k.variable("sum", wide(k.local("half_at_0", "u32"))),
          k.forRange("i", 0, 8, [
            k.assign(
              "sum",
              k.add(
                k.mul(wide(k.add(8, k.rem(own, 56))), 0.5),
                k.mul(wide(k.sub(63, k.rem(own, 56))), k.local("sum", "f32")),
              ),
            ),
            k.letIs("kept", half(placed)),
            k.ifThen(
              k.less(i, lane),
              [k.store("output", own, k.convert("f32", k.add(k.local("kept", "f16"), half(k.add(16, lane)))))],
              [k.store("output", own, k.select(k.less(i, 3), wide(own), k.local("sum", "f32")))],
            ),
          ]),
          k.storeShared("tile", lane, wide(k.add(lane, 40))),
          k.barrier,
          k.store("output", lane, k.loadShared("tile", "f32", k.sub(7, lane))),
        ],
        element,
      ),
    );
});

test("views of two tensors, one after the other", () => {
  const body = everywhere(
    k.store("output", own, k.add(k.mul(wide(k.add(8, k.rem(own, 56))), 0.5), k.convert("f32", half(own, "others")))),
  );
  const z = { tensor: "z" } as const;
  const views = [view("halves", "f16"), view("others", "f16", z), view("quads", "vec4<u32>", z), view("words", "u32")];
  const once = same(kernel(body, views));
  const twice = same(once);
  assert.equal(
    twice.buffers.map(({ name }) => name),
    ["quads", "words", "output"],
  );
  assert.is(withFewerViews(twice), null);
});

test("none where no words are read, or not all of them, or a view is written", () => {
  const body = everywhere(k.store("output", own, wide(own)));
  for (const second of [
    [],
    [view("words", "u32", { tensor: "z" })],
    [view("words", "f32")],
    [view("words", "vec4<f32>")],
    [view("words", "u32", { length: 31 })],
    [view("words", "vec3<u32>", { length: 11 })],
    [view("words", "u32", { access: "read_write" })],
  ] as const)
    assert.is(withFewerViews(kernel(body, [view("halves", "f16"), ...second])), null);
  const both = [view("halves", "f16", { access: "read_write" }), view("words", "u32")];
  assert.is(withFewerViews(kernel(body, both)), null);
  assert.is(withFewerViews(kernel(body, [view("halves", "vec2<f16>"), view("words", "u32")])), null);
});

test("none where a half is loaded in a condition, a bound or a matrix, or where an operand may be skipped", () => {
  const stored = k.store("output", lane, k.f32(1));
  const isLarge = k.greater(wide(k.add(60, lane)), 0.5);
  const matrix = { kind: "load_matrix", name: "m", role: "left", stride: k.u32(16), columns: false } as const;
  const asFloat = (a: Expr): Statement => k.store("output", lane, k.select(a, k.f32(1), k.f32(0)));
  for (const body of [
    [k.ifThen(isLarge, [stored])],
    [k.forRange("j", 0, k.convert("u32", wide(lane)), [stored])],
    [{ ...matrix, array: "halves", index: k.u32(0) }],
    [{ ...matrix, array: "words", index: k.convert("u32", wide(lane)) }],
    everywhere(k.ifThen(isLarge, [stored])),
    // beyond the end for other lanes
    [asFloat(k.and(k.less(lane, 4), isLarge))],
    [asFloat(k.or(k.greaterEqual(lane, 4), isLarge))],
    [asFloat(k.not(k.and(k.less(lane, 4), k.and(isLarge, k.less(lane, 3)))))],
  ] as const)
    assert.is(withFewerViews(kernel(body)), null);
  same(kernel([asFloat(k.and(k.greater(wide(lane), 0.5), k.less(lane, 4)))]));
});

test.run();
