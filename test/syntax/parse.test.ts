import { readFileSync } from "node:fs";
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Expr, Module, Statement } from "../../compiler/syntax/ast.js";
import { nestingLimit } from "../../compiler/syntax/delimiters.js";
import { Grammar } from "../../compiler/syntax/grammar.js";
import { expectedNames } from "../../compiler/syntax/messages.js";
import { largestFile, parse } from "../../compiler/syntax/parse.js";
import { golden } from "../support/golden.js";
import { projectFile } from "../support/project.js";
import { withoutSpans } from "./modules.js";
import { runs } from "../support/runs.js";

const test = suite("parse");

function parsed(source: string): Module {
  const { value, diagnostics } = parse(source, "test.esp");
  if (value === null)
    throw new Error(`${diagnostics.map((each) => `${each.code} ${each.message}`).join("\n")}\n${source}`);
  return value;
}

function statements(...lines: readonly string[]): readonly Statement[] {
  const [declaration] = parsed(`fn f() {\n${lines.join("\n")}\n}`).declarations;
  return declaration?.kind === "function" ? declaration.body : [];
}

/** An expression with every operator in parentheses. */
function explicit(source: string): string {
  const [declaration] = parsed(`const c = ${source}`).declarations;
  return declaration?.kind === "constant" && declaration.value.kind !== "table" ? shown(declaration.value) : "";
}

function shown(expr: Expr): string {
  switch (expr.kind) {
    case "name":
      return expr.name;
    case "number":
      return expr.text;
    case "unary":
      return `(${expr.op} ${shown(expr.operand)})`;
    case "binary":
      return `(${shown(expr.left)} ${expr.op} ${shown(expr.right)})`;
    case "where":
      return `(${shown(expr.value)} where ${shown(expr.mask)})`;
    case "reduce":
      return `(${expr.op} ${shown(expr.body)})`;
    case "index":
      return `${shown(expr.base)}[${expr.at.map(shown).join(", ")}]`;
    case "member":
      return `${shown(expr.base)}.${expr.field.name}`;
    case "top":
      return `(top ${shown(expr.score)})`;
    case "pack":
      return `(pack ${shown(expr.value)}${expr.scale ? ` scale ${shown(expr.scale)}` : ""}${expr.zero ? ` zero ${shown(expr.zero)}` : ""})`;
    case "plus":
      return `(${shown(expr.value)} plus ${shown(expr.left)} ${shown(expr.right)})`;
    case "unpack":
      return `(unpack ${shown(expr.value)})`;
    case "call":
      return `${expr.callee.name}(${expr.args.map((each) => shown(each.value)).join(", ")})`;
    case "matches":
      return `(${shown(expr.value)} matches ${expr.pattern.kind === "name" ? expr.pattern.name : expr.pattern.value})`;
    case "string":
    case "boolean":
    case "observe":
    case "gradient":
      return expr.kind;
    default:
      return expr satisfies never;
  }
}

test("the grammar is free of conflicts", () => {
  assert.ok(new Grammar({ recover: true, validate: true, messages: expectedNames }));
});

test("operators bind as [L-30] says", () => {
  for (const [source, expected] of [
    ["a or b and not c == d", "(a or (b and (not (c == d))))"],
    ["a + b * c ^ d ^ e", "(a + (b * (c ^ (d ^ e))))"],
    ["a - b - c", "((a - b) - c)"],
    ["-a ^ b * c", "((- (a ^ b)) * c)"],
    ["a ^ -b", "(a ^ (- b))"],
    ["a where m + n", "(a where (m + n))"],
    ["a + b where m where n", "(((a + b) where m) where n)"],
    ["a < b where m", "(a < (b where m))"],
    ["sum[k] a * b + c", "((sum (a * b)) + c)"],
    ["a * sum[k] b * c", "(a * (sum (b * c)))"],
    ["sum[k] max[j] a * b", "(sum (max (a * b)))"],
    ["sum[k] -a[k]^2", "(sum (- (a[k] ^ 2)))"],
    ["max(a, b) + max[k] a", "(max(a, b) + (max a))"],
    ["top 2 of 4 along k in a + b where m", "((top (a + b)) where m)"],
    ["pack a where m as f16 where n", "((pack (a where m)) where n)"],
    ["pack a as int4(128) with scale s + t, zero z", "(pack a scale (s + t) zero z)"],
    ["f(pack a as f16 with scale s, zero)", "f((pack a scale s), zero)"],
    ["unpack a[k] * b", "((unpack a[k]) * b)"],
    ["a.for[1].sum", "a.for[1].sum"],
    ['not w matches "x" and b', "((not (w matches x)) and b)"],
    ["a[n] / b % c", "((a[n] / b) % c)"],
  ] as const)
    assert.is(explicit(source), expected);
});

test("`where` after `return` defines before `name[...] =`, and masks otherwise", () => {
  const [mask, definition, both] = [
    statements("return w where keep[n]"),
    statements("return y where y[t, n] = a where m[t], z[n] = 1 for n in 0 .. 4, t in 0 .. 2, q[n] = 3"),
    statements("return w where keep, y where y[n] = 1"),
  ].map((each) => each[0]);
  assert.ok(mask?.kind === "return" && mask.definitions.length === 0 && mask.values[0]?.kind === "where");
  assert.ok(
    definition?.kind === "return" &&
      definition.definitions.map((each) => `${each.name.name}${each.ranges.length}`).join() === "y0,z2,q0" &&
      definition.definitions[0]?.value.kind === "where",
  );
  assert.ok(both?.kind === "return" && both.values.length === 2 && both.definitions.length === 1);
});

test("a `for` whose head ends in a brace is a loop, any other gives ranges", () => {
  const kinds = (...lines: readonly string[]): string =>
    statements(...lines)
      .map((each) => `${each.kind}${each.kind === "let" || each.kind === "update" ? each.ranges.length : ""}`)
      .join();
  assert.is(kinds("let y[i] = x[i]", "for i in 0 .. 8 { }"), "let0,for");
  assert.is(kinds("let y[i] = x[i] for i in 0 .. 8", "for i in 0 .. 8 { }"), "let1,for");
  assert.is(
    kinds("let y[i] = x[i]", "  for i in 0 .. 8, j in 0 .. 2", "w[n] = y[n]", "for j in 0 .. 8 { }"),
    "let2,update0,for",
  );
  assert.is(kinds("w[n] -= 1 for n in 0 .. 2", "if a { }"), "update1,if");
});

test("statements need no separators", () => {
  assert.is(
    statements("let a = b w[n] = 1 w[n] += c w[n] -= -d let q, s = f(w) return a")
      .map((each) => each.kind)
      .join(),
    "let,update,update,update,let,return",
  );
});

test("spans are those of the source", () => {
  const source = "fn f() {\n  let y[n] = (a + b) * sum[k] x[n, k] // c\n}\n";
  const [declaration] = parsed(source).declarations;
  const [statement] = declaration?.kind === "function" ? declaration.body : [];
  assert.ok(statement?.kind === "let" && statement.value.kind === "binary");
  const text = ({ start, end }: { readonly start: number; readonly end: number }): string => source.slice(start, end);
  assert.is(text(statement.span), "let y[n] = (a + b) * sum[k] x[n, k]");
  assert.is(text(statement.value.span), "(a + b) * sum[k] x[n, k]");
  assert.is(text(statement.value.left.span), "(a + b)");
  assert.is(text(statement.value.right.span), "sum[k] x[n, k]");
  assert.is(statement.trailing, "// c");
});

test("a file of every construct", () => {
  const source = readFileSync(projectFile("test/golden/syntax/layout.esp"), "utf8");
  golden("syntax/layout.json", `${JSON.stringify(withoutSpans(parsed(source)), null, 1)}\n`);
});

test("nesting up to the limit is read, beyond it is an error, however deep", () => {
  for (const [open, close, each] of [
    ["(", ")", 1],
    ["f(", ")", 1],
    ["a[", "]", 1],
    ["-", "", 1],
    ["not ", "", 1],
    ["sum[k] ", "", 2],
    ["pack ", " as f16", 1],
    ["1 + ", "", 1],
    ["1 ^ ", "", 1],
    ["a.", "", 1],
  ] as const) {
    const nested = (depth: number): string => `const c = ${open.repeat(depth)}a${close.repeat(depth)}`;
    assert.ok(parse(nested(Math.floor(nestingLimit / each) - 1), "deep.esp").value, open);
    for (const depth of [nestingLimit + 1, 10_000])
      assert.is(parse(nested(depth), "deep.esp").diagnostics[0]?.code, "E105", open);
  }
  for (const block of ["if a { ", "for i in 0 .. 2 { ", "scan k in 0 .. K { "]) {
    assert.ok(
      parse(`fn f() { ${block.repeat(nestingLimit - 2)}${"}".repeat(nestingLimit - 2)} }`, "deep.esp").value,
      block,
    );
    assert.is(
      parse(`fn f() { ${block.repeat(10_000)}${"}".repeat(10_000)} }`, "deep.esp").diagnostics[0]?.code,
      "E105",
      block,
    );
  }
  assert.is(parse(`fn f() { ${"if a { } else ".repeat(10_000)} if b { } }`, "deep.esp").diagnostics[0]?.code, "E105");
  assert.ok(parse(`fn f() { ${"w[n] = a + b - c ".repeat(500)} }`, "wide.esp").value);
});

test("files at the limit of size are read, larger ones refused unread", () => {
  const comment = `// ${"x".repeat(largestFile - 3)}`;
  assert.ok(parse(comment, "large.esp").value);
  assert.is(parse(`${comment}x`, "large.esp").diagnostics[0]?.code, "E106");
  assert.is(parse(`// ${"\u20ac".repeat(largestFile / 3)}`, "large.esp").diagnostics[0]?.code, "E106");
});

test("any text gives a tree or errors that lie in it, never both, and never throws", () => {
  const words = fc.constantFrom(
    ...(readFileSync(projectFile("test/golden/syntax/layout.esp"), "utf8").match(/\/\/[^\n]*\n|"[^"\n]*"|\w+|\s+|./g) ??
      []),
  );
  const texts = fc.oneof(
    fc.string({ unit: "binary", maxLength: 60 }),
    fc.array(words, { maxLength: 120 }).map((each) => each.join("")),
    fc.array(words, { maxLength: 60 }).map((each) => `fn f() {\n${each.join(" ")}\n}`),
  );
  fc.assert(
    fc.property(texts, (source) => {
      const { value, diagnostics } = parse(source, "noise.esp");
      assert.is(
        value === null,
        diagnostics.some((each) => each.severity === "error"),
      );
      for (const { span } of diagnostics.flatMap((each) => each.labels))
        assert.ok(0 <= span.start && span.start <= span.end && span.end <= source.length);
    }),
    runs(600),
  );
});

test("one word left out of a good program gives few errors", () => {
  const source = readFileSync(projectFile("test/golden/syntax/layout.esp"), "utf8");
  const words = [...source.matchAll(/\w+|[^\w\s]/g)];
  for (let at = 0; at < words.length; at += 7) {
    const word = words[at];
    if (!word) continue;
    const { diagnostics } = parse(source.slice(0, word.index) + source.slice(word.index + word[0].length), "cut.esp");
    assert.ok(
      diagnostics.length <= 4,
      `without \`${word[0]}\` at ${word.index}: ${diagnostics.map((each) => `${each.code} ${each.message}`).join("; ")}`,
    );
  }
});

test.run();
