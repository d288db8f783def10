import { suite } from "uvu";
import * as assert from "uvu/assert";
import { slowWords, timeInWords, trains } from "../../../runtime/llama/compression/pace.js";
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
  const words = slowWords(work, 0.1);
  assert.match(words, /about 2 hours, of which the training takes 2 hours/);
  const named = [...words.matchAll(/`([a-z0-9-]+)`/g)].map(([, name = ""]) => name);
  assert.equal(named, ["one-shot", "one-shot-2of4", "one-shot-int4"]);
  for (const name of named) {
    assert.ok(examples().includes(name), name);
    assert.not(trains(exampleRecipe(`${name}.esp`).recipe));
  }
  for (const name of ["best", "block-2of4"]) assert.ok(trains(exampleRecipe(`${name}.esp`).recipe), name);
});

test.run();
