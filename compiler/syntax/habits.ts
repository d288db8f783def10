/** What is said of forms of other languages that the parser stops at: `w[:, k]`, `c ? a : b`, `x.abs()`. */
import { EOF, tokenMatcher, type IToken } from "chevrotain";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import {
  CloseParen,
  CloseSquare,
  Colon,
  Comma,
  Dot,
  If,
  Infix,
  Name,
  Numeral,
  OpenParen,
  OpenSquare,
  Reduction,
  reductionWords,
  Return,
  statementSpellings,
  Store,
  Text,
  Where,
} from "./tokens.js";

/** The tokens that an error is among, and at which of them. */
export interface Around {
  readonly list: readonly IToken[];
  readonly at: number;
}

/** What is said of a form that is known, else null. `rule` and `expected` are those of the parser. */
export function habit(
  rule: string,
  expected: string,
  { list, at }: Around,
  spanOf: (token: IToken) => Span,
): Diagnostic | null {
  const found = list[at];
  const [before, previous, next] = [list[at - 2], list[at - 1], list[at + 1]];
  const is = (token: IToken | undefined, type: typeof Name): boolean =>
    token !== undefined && tokenMatcher(token, type);
  const say = (message: string, label: string, help: string, where = found): Diagnostic | null =>
    where === undefined ? null : error("E110", message, { span: spanOf(where), message: label }, { help });

  // `w[:, k]`, `w[n, :]`, `x[0:4]`
  const bracket = openBefore(list, at);
  if (is(found, Colon) && bracket?.tokenType === OpenSquare)
    return say(
      "there are no slices",
      "not an index",
      "an index that runs over a whole axis has a name: `let y[n] = w[n, k]`, and a part of an axis a range: `x[i] ... for i in 0 .. 4`",
    );
  // `x.abs()`, `np.abs(x)`, `prune.magnitude(w)`
  if (is(found, OpenParen) && is(previous, Name) && is(before, Dot))
    return say(
      "a call has no `.` before it",
      "called as a member",
      is(list[at - 1], Name) && reductionWords.includes(previous?.image ?? "")
        ? `a reduction names its index: \`${previous?.image ?? "sum"}[k] x[k]\``
        : `write \`${previous?.image ?? "f"}(...)\`: functions are called without their module, and take what they work on as an argument`,
      before,
    );
  // `c ? a : b` is recognised by its mark; `if c { a } else { b }` and `a if c else b`
  if (is(found, If) && (rule === "operand" || rule === "primary"))
    return say("`if` is a statement and has no value", "an expression was expected", "write `select(c, a, b)`");
  if (found?.image === "else" && expected === "OpenBrace")
    return say(
      "`if` is a statement and has no value",
      "an expression goes on here",
      "write `select(c, a, b)` for `a if c else b`",
    );
  // `where(c, a, b)`
  if (is(found, Where) && is(next, OpenParen) && (rule === "operand" || rule === "primary"))
    return say("`where` masks a value and cannot begin one", "an expression was expected", "write `select(c, a, b)`");
  // `median[k] x[k]`: a name, brackets, and another expression
  if (rule === "block" && is(previous, CloseSquare) && is(found, Name) && found?.startLine === previous?.endLine) {
    const name = list[openingOf(list, at - 1) - 1];
    const before = list[openingOf(list, at - 1) - 2];
    if (is(name, Name) && name !== undefined && before !== undefined && !tokenMatcher(before, CloseSquare))
      return say(`there is no reduction \`${name.image}\``, "not a reduction", reductionHelp(name.image), name);
  }
  // `sum k: x[k]`, `sum[k]: x[k]`
  if (is(found, Colon) && is(previous, CloseSquare) && is(list[openingOf(list, at - 1) - 1], Reduction))
    return say("a reduction has no `:`", "not here", "write `sum[k] x[k]`");
  if (
    is(found, Reduction) &&
    !is(next, OpenSquare) &&
    !is(next, OpenParen) &&
    (rule === "operand" || rule === "primary")
  )
    return say(
      `\`${found?.image ?? "sum"}\` is followed by the index that it reduces, in brackets`,
      "no index",
      `write \`${found?.image ?? "sum"}[k] x[k]\``,
    );
  // `pack w as int8(64), scale = s`, `with scale = s`
  const grid = previous?.image === "scale" || previous?.image === "zero";
  if (found?.image === "=" && grid && begins(list, at) !== null && (before?.image === "," || before?.image === "with"))
    return say(
      "a scale and a zero stand after `with`, without `=`",
      "not here",
      `write \`with ${previous.image} ${next?.image ?? "s"}\``,
    );
  // `with scale s and zero z`
  if (rule === "block" && is(found, Name) && previous?.image === "zero" && before?.image === "and")
    return say("between a scale and a zero stands a `,`", "not here", "write `with scale s, zero z`", before);
  if (rule === "block" && found?.image === "with")
    return say(
      "`with` belongs to a `pack` and stands behind its format",
      "no format ends here",
      "write `pack w as int4(128) with scale s`",
    );
  // `return (a, b)`
  if (
    is(found, Comma) &&
    expected === "CloseParen" &&
    bracket !== null &&
    list[list.indexOf(bracket) - 1]?.tokenType === Return
  )
    return say(
      "the values of a `return` stand without parentheses",
      "no parentheses here",
      "write `return a, b`",
      bracket,
    );
  // `var y[n] = 0`
  if (rule === "var" && expected === "Define" && is(found, OpenSquare))
    return say(
      "a `var` begins as a whole tensor",
      "no index here",
      `define that first, \`let start[n] = ...\`, then write \`var ${previous?.image ?? "y"} = start\``,
    );
  // `nm(2:4)`
  if (rule === "arguments" && is(found, Colon) && is(previous, Numeral) && is(next, Numeral))
    return say(
      "arguments stand with `,` between",
      "not here",
      `write \`${previous?.image ?? "2"}, ${next?.image ?? "4"}\``,
    );
  // `sparsity = 50%`
  if (
    previous?.image === "%" &&
    is(before, Numeral) &&
    found?.image !== "along" &&
    (rule === "operand" || rule === "primary")
  )
    return say(
      "`%` is the remainder of a division",
      "no percentage",
      `write \`${Number(before?.image) / 100}\` for \`${before?.image ?? "50"}%\``,
      previous,
    );
  // `return y[n] = e`
  if (found?.image === "=" && rule === "block" && begins(list, at)?.tokenType === Return)
    return say(
      "a `return` gives values, and defines them after `where`",
      "not here",
      "write `return y where y[n] = ...`",
    );
  if (rule === "block" && found !== undefined && jumps.has(found.image) && found.startLine !== next?.startLine)
    return say(
      `there is no \`${found.image}\``,
      "not a statement",
      "leave it out: `if ... { } else { }` chooses what is done",
    );
  // `pack w as int4(128) scale s`
  if (rule === "block" && found?.image === "scale" && begins(list, at) !== null && is(next, Name))
    return say("a scale stands after `with`", "expected `with`", "write `with scale ...`");
  // `by feature_squares(x)`
  if (is(found, OpenParen) && before?.image === "by")
    return say(
      "a function is named after `by`, not called",
      "not here",
      `write \`by ${previous?.image ?? "feature_squares"}\``,
    );
  // `for i, w in model.linears`
  if (is(found, Comma) && expected === "In")
    return say("a `for` has one name", "one too many", "write `for w in model.linears { }`, or `for i in 0 .. 8 { }`");
  // `top 50% along k`
  if (found?.image === "along" && is(previous, Infix))
    return say("`top` keeps n of every m", "expected a number", "write `top 2 of 4 along k in score`");
  // `s, z = f(w)`
  if (rule === "block" && is(found, Name) && is(next, Comma) && namesThenDefine(list, at))
    return say(
      "names are bound by `let`",
      "not a statement",
      `write \`let ${namesThenDefine(list, at) ?? "a, b"} = ...\``,
    );
  // `x as f32`
  if (found?.image === "as" && rule === "block" && ["f32", "f16", "i32", "u32"].includes(next?.image ?? ""))
    return say("`as` does not convert", "not an operator", `write \`${next?.image ?? "f32"}(x)\``);
  // `store pack w as f16`, `store w = e`
  if (rule === "store" && expected === "As") {
    const target = list[lastIndex(list, at, (token) => token.tokenType === Store) + 1];
    if (target?.image === "pack")
      return say(
        "`store` says of which layer, then its new weight",
        "not a layer",
        "write `store w as pack w as ...`",
        target,
      );
    if (found?.image === "=") return say("a weight is stored by `as`", "expected `as`", "write `store w as ...`");
  }
  // `w matches "a", "b"`
  if (is(found, Comma) && is(previous, Text) && before?.image === "matches")
    return say(
      "`matches` takes one pattern",
      "one too many",
      'take several by `for w in ...linears matching "a", "b"`, or write `else if`',
    );
  // `w in [...]`
  if (found?.image === "in" && expected === "OpenBrace" && begins(list, at)?.tokenType === If)
    return say("`if` has no `in`", "not an operator", 'the name of a layer is tested by `if w matches "*.down_proj"`');
  // `1.`
  if (is(previous, Dot) && is(before, Numeral) && !is(found, Name))
    return say(
      "a number has digits on both sides of its point",
      "no digits after it",
      `write \`${before?.image ?? "1"}.0\``,
      previous,
    );
  // a comma that nothing follows
  const ends =
    is(found, CloseParen) || is(found, CloseSquare) || is(found, EOF) || rule === "use" || rule === "usePath";
  if (is(previous, Comma) && ends && (found?.startLine !== previous?.endLine || !is(found, Name)))
    return say("nothing follows this `,`", "one too many", "leave out the `,`", previous);
  // `[N][K]`, `Tensor<f32>`
  if (rule === "parameters" && found?.image === "[" && is(previous, CloseSquare))
    return say("the axes of a type stand in one pair of brackets", "a second pair", "write `f32[N, K]`");
  if (rule === "parameters" && found?.image === "<")
    return say("types have no `<`", "not in a type", "a tensor is `f32[N, K]`: a dtype, and the sizes of its axes");
  // `use mine.esp`
  if (
    rule === "module" &&
    is(found, Dot) &&
    is(previous, Name) &&
    list.slice(0, at).some((token) => token.image === "use")
  )
    return say(
      "the path of a file stands in quotes",
      "not a module's name",
      next?.image === "esp"
        ? `write \`use "./${previous?.image ?? "mine"}.esp"\``
        : `\`use ${previous?.image ?? "prune"}\` brings in all of a module`,
    );
  return null;
}

const jumps: ReadonlySet<string> = new Set(["continue", "break", "pass"]);

const reductions: ReadonlyMap<string, string> = new Map<string, string>([
  ["argmin", "write `argmax[k] (-x[k])`"],
  ["prod", "of positive numbers it is `exp(sum[k] log(x[k]))`"],
  ["product", "of positive numbers it is `exp(sum[k] log(x[k]))`"],
  ["average", "write `mean[k] x[k]`"],
  ["avg", "write `mean[k] x[k]`"],
  ["maximum", "write `max[k] x[k]`"],
  ["minimum", "write `min[k] x[k]`"],
  ...["median", "quantile", "percentile"].map(
    (name) => [name, "nothing is sorted: `top n of m along k in x` is the mask of the n largest of every m"] as const,
  ),
  ["norm", "write `sqrt(sum[k] x[k]^2)`"],
]);

function reductionHelp(name: string): string {
  return reductions.get(name) ?? `the reductions are ${[...reductionWords, "softmax_mean"].join(", ")}`;
}

/** The innermost bracket that is open at a place. */
function openBefore(list: readonly IToken[], at: number): IToken | null {
  let depth = 0;
  for (let i = at - 1; i >= 0; i -= 1) {
    const image = list[i]?.image ?? "";
    if ([")", "]", "}"].includes(image)) depth += 1;
    if (["(", "[", "{"].includes(image)) {
      if (depth === 0) return list[i] ?? null;
      depth -= 1;
    }
  }
  return null;
}

/** Where the bracket was opened that is closed at a place; -1 where it was not. */
function openingOf(list: readonly IToken[], close: number): number {
  let depth = 0;
  for (let i = close; i >= 0; i -= 1) {
    if (list[i]?.tokenType === CloseSquare) depth += 1;
    if (list[i]?.tokenType === OpenSquare) depth -= 1;
    if (depth === 0) return i;
  }
  return -1;
}

/** The word that began the statement that a place is in. */
function begins(list: readonly IToken[], at: number): IToken | null {
  return (
    list[lastIndex(list, at - 1, (token) => statementSpellings.includes(token.image) && token.tokenType !== Name)] ??
    null
  );
}

function lastIndex(list: readonly IToken[], from: number, test: (token: IToken) => boolean): number {
  for (let i = Math.min(from, list.length - 1); i >= 0; i -= 1) {
    const token = list[i];
    if (token !== undefined && test(token)) return i;
  }
  return -1;
}

/** `a, b` where that is followed by `=`. */
function namesThenDefine(list: readonly IToken[], at: number): string | null {
  const names: string[] = [];
  for (let i = at; list[i]?.tokenType === Name; i += 2) {
    names.push(list[i]?.image ?? "");
    if (list[i + 1]?.image === "=") return names.join(", ");
    if (list[i + 1]?.tokenType !== Comma) return null;
  }
  return null;
}
