/** Numbers that are counted and not drawn, and masks that follow from logits. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { call, result, tensor } from "./support.js";

const test = suite("stdlib: random, masks");

/** lowbias32, as it is published. */
function mixed(x: number): number {
  let h = x >>> 0;
  h = Math.imul(h ^ (h >>> 16), 0x7feb352d) >>> 0;
  h = Math.imul(h ^ (h >>> 15), 0x846ca68b) >>> 0;
  return (h ^ (h >>> 16)) >>> 0;
}

const shape = [4, 8, 6];
const blank = tensor(shape, new Array<number>(4 * 8 * 6).fill(0));
const drawn = (seed: number, step: number, number: number): readonly number[] => [
  ...result("uniform", { x: blank, seed, step, number }),
];

test("numbers are those of the hash, others for each seed, step and number, and evenly spread", () => {
  const ofSeed = mixed(7 + 2654435769);
  const ofStep = mixed(ofSeed ^ (Math.imul(3, 2246822519) + 1));
  const key = mixed(ofStep ^ (Math.imul(5, 3266489917) + 2));
  const expected = Array.from({ length: 192 }, (_, at) => ((mixed(mixed(at) ^ key) >>> 9) + 0.5) / 2 ** 23);
  assert.equal(drawn(7, 3, 5), expected);
  const other = [drawn(8, 3, 5), drawn(7, 4, 5), drawn(7, 3, 6)];
  for (const some of other) assert.ok(some.filter((each, at) => each === expected[at]).length < 2);
  const all = [expected, ...other].flat();
  assert.ok(all.every((each) => each > 0 && each < 1));
  const mean = all.reduce((sum, each) => sum + each, 0) / all.length;
  assert.ok(Math.abs(mean - 0.5) < 0.04, `${mean}`);
  for (let tenth = 0; tenth < 10; tenth++) {
    const share = all.filter((each) => Math.floor(each * 10) === tenth).length / all.length;
    assert.ok(Math.abs(share - 0.1) < 0.04, `${tenth}: ${share}`);
  }
});

test("each pair of four has its mask; logits that begin as a mask give it", () => {
  const pairs = ["1100", "1010", "1001", "0110", "0101", "0011"];
  const logits = tensor(
    [1, 6, 6],
    Array.from({ length: 36 }, (_, at) => (at % 6 === Math.floor(at / 6) ? 1 : 0)),
  );
  const w = tensor([1, 24], new Array<number>(24).fill(1));
  const mask = [...result("pair_mask", { w, logits })].map(Number).join("");
  assert.is(mask, pairs.join(""));
  const sparse = tensor([1, 24], [...mask].map(Number));
  const [prior] = call("prior_logits", { w: sparse, strength: 2 }).values();
  assert.is(prior!.data[0], 2);
  assert.is(prior!.data[5], -2);
  assert.is([...result("pair_mask", { w, logits: prior! })].map(Number).join(""), mask);
});

test("noise is there until the training is over", () => {
  const logits = tensor([1, 1, 6], [1, 2, 3, 4, 5, 6]);
  const of = (step: number): readonly number[] => [
    ...result("explored", { logits, noise: 0.5, seed: 1, step, steps: 10, number: 2 }),
  ];
  assert.equal(of(10), [1, 2, 3, 4, 5, 6]);
  assert.not.equal(of(3), of(4));
  assert.equal(of(3), of(3));
});

test.run();
