import { readdirSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Module } from "../../compiler/syntax/ast.js";
import { parse } from "../../compiler/syntax/parse.js";
import { print, printExpression } from "../../compiler/syntax/print.js";
import { golden } from "../support/golden.js";
import { projectFile } from "../support/project.js";
import { expressions, modules, withoutSpans } from "./modules.js";
import { runs } from "../support/runs.js";

const test = suite("print");

function parsed(source: string): Module {
  const { value, diagnostics } = parse(source, "test.esp");
  if (value === null)
    throw new Error(
      `${diagnostics.map((each) => `${each.code} ${each.message} at ${each.labels[0]?.span.start}`).join("\n")}\n${source}`,
    );
  return value;
}

test("a random file reads back as itself, and is laid out already", () => {
  fc.assert(
    fc.property(modules, (module) => {
      const text = print(module);
      const again = parsed(text);
      assert.equal(withoutSpans(again), withoutSpans(module));
      assert.is(print(again), text);
    }),
    runs(150),
  );
});

test("a random expression reads back as itself", () => {
  fc.assert(
    fc.property(expressions, (expr) => {
      const module = parsed(`const c = ${printExpression(expr)}\n`);
      const [constant] = module.declarations;
      assert.equal(
        constant?.kind === "constant"
          ? withoutSpans({ ...module, declarations: [{ ...constant, value: expr }] })
          : null,
        withoutSpans(module),
      );
    }),
    runs(400),
  );
});

test("every file of the project reads back as itself when printed", () => {
  for (const folder of ["stdlib", "examples"]) {
    for (const file of readdirSync(projectFile(folder)).filter((name) => name.endsWith(".esp"))) {
      const module = parsed(readFileSync(projectFile(`${folder}/${file}`), "utf8"));
      const text = print(module);
      assert.equal(withoutSpans(parsed(text)), withoutSpans(module), file);
      assert.is(print(parsed(text)), text, file);
    }
  }
});

test("the layout", () =>
  golden(
    "syntax/layout.printed.esp",
    print(parsed(readFileSync(projectFile("test/golden/syntax/layout.esp"), "utf8"))),
  ));

test("parentheses only where they are needed, and where they help", () => {
  for (const [source, expected] of [
    ["(a + b) * (c * d)", "(a + b) * (c * d)"],
    ["(a * b) + c", "a * b + c"],
    ["a - (b - c)", "a - (b - c)"],
    ["(a - b) - c", "a - b - c"],
    ["(a^b)^c", "(a^b)^c"],
    ["a^(b^c)", "a^b^c"],
    ["-(a^b)", "-a^b"],
    ["(-a)^b", "(-a)^b"],
    ["(sum[k] (x[k] * w[k])) + 1", "sum[k] x[k] * w[k] + 1"],
    ["2 * sum[k] x[k]", "2 * (sum[k] x[k])"],
    ["(x where m) > 0", "(x where m) > 0"],
    ["x where (s > 0)", "x where (s > 0)"],
    ["top 2 of 4 along k in (a + b) where m", "top 2 of 4 along k in a + b where m"],
    ["not (a == b)", "not a == b"],
    ["not (a and b)", "not (a and b)"],
    ["pack (x where m) as f16", "pack x where m as f16"],
    ["unpack (x[k])", "unpack x[k]"],
  ] as const) {
    const [constant] = parsed(`const c = ${source}`).declarations;
    assert.is(
      constant?.kind === "constant" && constant.value.kind !== "table" ? printExpression(constant.value) : null,
      expected,
    );
  }
});

test.run();
