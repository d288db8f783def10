import { readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { binaryRules, unaryRules } from "../../compiler/graph/gradient/rules.js";
import { factorizationOps, reduceOps } from "../../compiler/graph/ops.js";
import { binaryOps, unaryOps } from "../../compiler/types/scalar-ops.js";
import { close, difference, otherwise, tolerances } from "../support/tolerance.js";

const test = suite("spec/ops.md and spec/numerics.md");

/** The cells of the tables under a heading, row by row, without their headers. Tests run in the project's folder. */
function rows(file: string, heading: string): string[][] {
  const section = readFileSync(`spec/${file}`, "utf8")
    .split(/^## /m)
    .find((part) => part.startsWith(`${heading}\n`));
  if (section === undefined) throw new Error(`spec/${file} has no section ${heading}`);
  return section
    .split("\n")
    .filter((line) => line.startsWith("|"))
    .slice(2)
    .map((line) =>
      line
        .split("|")
        .slice(1, -1)
        .map((cell) => cell.trim()),
    );
}

function rules(section: string): [string, string, number][] {
  return rows("ops.md", section).map(([op, operands, rule]) => [
    (op ?? "").replaceAll("`", ""),
    rule ?? "",
    (operands ?? "").split(", ").length,
  ]);
}

test("ops.md lists the unary and binary ops with their type rules, in order", () => {
  assert.equal(rules("Ops"), [
    ...Object.entries(unaryOps).map(([op, rule]) => [op, rule, 1]),
    ...Object.entries(binaryOps).map(([op, rule]) => [op, rule, 2]),
  ]);
});

test("ops.md lists the reductions with their type rules, in order", () => {
  assert.equal(
    rules("Reductions").map(([op, rule]) => [op, rule]),
    Object.entries(reduceOps),
  );
});

test("ops.md has the adjoints of every op and reduction, and says where there is none", () => {
  const table = rows("ops.md", "Gradients").filter(
    ([op]) => !/^`(map|update|pack|plus|top|scan)/.test(op ?? "") && op !== "op" && !/^-+$/.test(op ?? ""),
  );
  const names = [...Object.keys(unaryOps), ...Object.keys(binaryOps), ...Object.keys(reduceOps)];
  assert.equal(
    table.map(([op]) => (op ?? "").replaceAll(/[`[\]]/g, "")),
    names,
  );
  const rules: Readonly<Record<string, unknown>> = { ...unaryRules, ...binaryRules };
  const none = table.filter(([, adjoints]) => adjoints === "none").map(([op]) => (op ?? "").replaceAll("`", ""));
  const flat = ["any", "all", "count", "argmax"];
  assert.equal(none, [
    ...Object.keys(rules)
      .filter((op) => rules[op] === null)
      .sort((a, b) => names.indexOf(a) - names.indexOf(b)),
    ...flat,
  ]);
});

test("ops.md lists the factorisations with their type rules, in order", () => {
  assert.equal(
    rules("Factorisations").map(([op, rule]) => [op, rule]),
    Object.entries(factorizationOps),
  );
});

test("ops.md explains every type rule", () => {
  const explained = rows("ops.md", "Type rules").map(([rule]) => rule);
  assert.equal(explained, [...new Set(explained)]);
  for (const rule of [
    ...Object.values(unaryOps),
    ...Object.values(binaryOps),
    ...Object.values(reduceOps),
    ...Object.values(factorizationOps),
  ])
    assert.ok(explained.includes(rule), rule);
});

test("numerics.md has the tolerances", () => {
  assert.equal(
    rows("numerics.md", "Tolerances").map(([kind, relative, ofPeak]) => [
      kind,
      { relative: Number(relative), ofPeak: Number(ofPeak) },
    ]),
    Object.entries(tolerances),
  );
  assert.match(readFileSync("spec/numerics.md", "utf8"), `Of the groups of a mask ${otherwise * 100}% may differ`);
});

test("close is relative to the element and to the largest of the tensor", () => {
  assert.is(difference([1, 2], [1, 2], "exact"), null);
  assert.is(difference([-0], [0], "exact"), null);
  assert.match(difference([1, 2], [1, 2.0000001], "exact") ?? "", /element 1 is 2, expected 2.0000001/);
  assert.is(difference([0.001, 1000], [0, 1000], "reduction"), null);
  assert.is.not(difference([0.001, 1], [0, 1], "reduction"), null);
  assert.is.not(difference([1], [1, 1], "half"), null);
  assert.is.not(difference([NaN], [1], "modelHalf"), null);
  assert.is.not(difference([1], [NaN], "modelHalf"), null);
  assert.is(difference([NaN, Infinity], [NaN, Infinity], "exact"), null);
  assert.is.not(difference([1e30], [Infinity], "half"), null);
  assert.throws(() => close([1], [2], "half", "y"), /y: element 0/);
});

test.run();
