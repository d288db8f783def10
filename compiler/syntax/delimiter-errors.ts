/** The words for brackets that do not match, bodies without braces, and `=` where nothing is defined. */
import type { IToken, TokenType } from "chevrotain";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import { Else, Fn, For, If, RecipeWord, Scan } from "./tokens.js";

const headNames: ReadonlyMap<TokenType, string> = new Map([
  [Fn, "in the head of a function"],
  [RecipeWord, "in the head of a recipe"],
  [For, "in the head of a `for`"],
  [Scan, "in the head of a `scan`"],
  [If, "in an `if`"],
  [Else, "after `else`"],
]);

/** E110: a body without braces, after the head that a word began. */
export function bodiless(head: TokenType, found: IToken, span: Span): Diagnostic {
  return error(
    "E110",
    `expected \`{\` ${headNames.get(head) ?? "here"}, found \`${found.image}\``,
    { span, message: "expected `{`" },
    { help: "a body stands in braces: `{ ... }`" },
  );
}

/** E110: a declaration in the body of another. */
export function nested(token: IToken, span: Span): Diagnostic {
  return error(
    "E110",
    `\`${token.image}\` stands in the file, not in a body`,
    { span, message: "inside a body" },
    { help: "move it out of the braces" },
  );
}

/** E110: `sum(x[n] for n in 0 .. N)`. */
export function comprehension(span: Span): Diagnostic {
  return error(
    "E110",
    "`for` cannot stand in brackets",
    { span, message: "not in an expression" },
    {
      help: "elements are defined by `let y[n] = ... for n in 0 .. N`, and reduced by `sum[n in 0 .. N] x[n]`",
    },
  );
}

/** E111. */
export function unclosed(token: IToken, close: string, span: Span, before: Span | null): Diagnostic {
  return error(
    "E111",
    `this \`${token.image}\` is never closed`,
    { span, message: "opened here" },
    {
      labels: before ? [{ span: before, message: `\`${close}\` was expected before this` }] : [],
      help: `add \`${close}\``,
    },
  );
}

/** E112. */
export function surplus(token: IToken, span: Span): Diagnostic {
  return error(
    "E112",
    `this \`${token.image}\` closes nothing`,
    { span, message: "no bracket is open here" },
    { help: "remove it, or add the bracket that it should close" },
  );
}

/** E113; `meant` is what was meant where an argument is most likely named: `group: 64`. */
export function notDefinition(meant: string | null, span: Span): Diagnostic {
  return meant === null
    ? error(
        "E113",
        "`=` defines, and a comparison was expected here",
        { span, message: "expected `==`" },
        { help: "write `==` to compare" },
      )
    : error("E113", "an argument is named with `:`", { span, message: "expected `:`" }, { help: `write \`${meant}\`` });
}

/** E113: `sum(x, axis=1)`. */
export function notReduction(name: string, span: Span): Diagnostic {
  return error(
    "E113",
    "a reduction names its index, not an axis",
    { span, message: "not an argument" },
    { help: `write \`${name}[k] x[n, k]\`` },
  );
}

/** E105. */
export function tooDeep(limit: number, span: Span): Diagnostic {
  return error(
    "E105",
    `this is nested too deeply: at most ${limit} brackets and operators may be open at one place`,
    { span, message: "one too many here" },
    { help: "split the expression with `let`, or the block into functions" },
  );
}
