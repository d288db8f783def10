import { suite } from "uvu";
import * as assert from "uvu/assert";
import { kernelsOf, measurePace, slowWords, timeInWords, trains } from "../../../runtime/llama/compression/pace.js";
import { examples } from "../../../runtime/package.js";
import { exampleRecipe } from "../recipes.js";

const test = suite("pace");

test("a time is told in the unit that suits it", () => {
  assert.equal([0, 89, 91, 5399, 5401, 47.9 * 3600, 49 * 3600].map(timeInWords), [
    "1 s",
    "89 s",
    "2 minutes",
    "90 minutes",
    "2 hours",
    "48 hours",
    "2 days",
  ]);
});

test("the whole and the training are told, and recipes instead that do not train", () => {
  const work = { embed: 0, observe: 10, compress: 20, train: 600, advance: 0, evaluate: 0, save: 0 };
  const words = slowWords(work, { all: 300, train: 200 }, { operations: 0.1, compiling: 0 });
  assert.match(words, /about 2 hours, of which the training takes 2 hours/);
  // 63 s of operations, and 30 s and 20 s of compiling
  assert.match(
    slowWords(work, { all: 300, train: 200 }, { operations: 10, compiling: 0.1 }),
    /about 2 minutes, of which the training takes 80 s/,
  );
  const named = [...words.matchAll(/`([a-z0-9-]+)`/g)].map(([, name = ""]) => name);
  assert.equal(named, ["one-shot", "one-shot-2of4", "one-shot-int4"]);
  for (const name of named) {
    assert.ok(examples().includes(name), name);
    assert.not(trains(exampleRecipe(`${name}.esp`).recipe));
  }
  for (const name of ["best", "block-2of4"]) assert.ok(trains(exampleRecipe(`${name}.esp`).recipe), name);
});

test("kernels are counted by shapes of layers: the same layers of more blocks are no more of them", () => {
  const block = (at: number) =>
    [
      ["self_attn.q_proj", 64, 64],
      ["self_attn.k_proj", 32, 64],
      ["self_attn.o_proj", 64, 64],
      ["mlp.gate_proj", 96, 64],
      ["mlp.down_proj", 64, 96],
    ].map(([name, outputs, inputs]) => ({ name: `model.layers.${at}.${name}`, outputs, inputs })) as never[];
  const counted = (name: string, blocks: number) =>
    kernelsOf(exampleRecipe(`${name}.esp`).recipe, {
      linears: Array.from({ length: blocks }, (_, at) => block(at)).flat(),
    });
  const { all, train } = counted("best", 1);
  assert.equal(counted("best", 8), { all, train });
  assert.ok(train > 100 && all > train, `${all}, ${train}`);
  assert.ok(counted("scales-2of4-int4", 1).train > 1.5 * train);
  assert.equal(counted("one-shot", 1).train, 0);
  assert.ok(counted("block-2of4", 1).train < train);
});

test("what compiles a kernel is the time by which the first run is longer", async () => {
  let [now, run] = [0, 0];
  const executor = { fill: async () => ({}), values: async () => (now += run++ === 0 ? 500 : 100), release() {} };
  const caller = { executor, call: async () => [{}] };
  const { operations, compiling } = await measurePace(caller as never, () => now);
  assert.is(operations, (2 * 256 * 512 * 512) / 0.1);
  assert.is(compiling, 0.2);
});

test.run();
