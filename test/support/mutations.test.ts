import { suite } from "uvu";
import * as assert from "uvu/assert";
import { mutations } from "./mutations.js";
import { filesWith, plant } from "./planting.js";
import { filesBelow } from "./sources.js";

const test = suite("mutations");

test("each fault can be planted: its text stands in the sources exactly once, and its test is there", () => {
  const tests = new Set(filesBelow(["test"], ".test.ts"));
  for (const mutation of mutations) {
    assert.is(filesWith(mutation).length, 1, mutation.name);
    assert.ok(tests.has(`test/${mutation.by}.test.ts`), mutation.by);
  }
});

test("names and spaces may be others than those of a fault", () => {
  const fault = { name: "", text: "return $a.low + f($b, 1)", replacement: "return $a.low - f($b, 1)", by: "" };
  assert.is(plant(fault, "return own\n  .low + f(\n  other,\n  1,\n);"), "return own.low - f(other, 1);");
  assert.is(plant(fault, "return own.high + f(other, 1);"), "return own.high + f(other, 1);");
});

test.run();
