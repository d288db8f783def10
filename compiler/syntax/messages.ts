import {
  EOF,
  tokenMatcher,
  type IParserErrorMessageProvider,
  type IRecognitionException,
  type IToken,
} from "chevrotain";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import { suggest } from "../suggest.js";
import { beginsExpression } from "./grammar-expression.js";
import { Define, Equal, Infix, Name, Reduction, reductionWords, reservedWords, tokens } from "./tokens.js";

/** The parser's messages carry only the name of the token it expected; `syntaxError` words them. */
export const expectedNames: IParserErrorMessageProvider = {
  buildMismatchTokenMessage: ({ expected }) => expected.name,
  buildNotAllInputParsedMessage: () => "EOF",
  buildNoViableAltMessage: () => "",
  buildEarlyExitMessage: () => "",
};

const spelling: ReadonlyMap<string, string> = new Map(
  tokens.flatMap((token) => (typeof token.PATTERN === "string" ? [[token.name, token.PATTERN] as const] : [])),
);

const described: ReadonlyMap<string, string> = new Map([
  ["Name", "a name"],
  ["Text", 'a string in "quotes"'],
  ["Numeral", "a number"],
  ["Infix", "an operator"],
  ["Assign", "`=`, `+=` or `-=`"],
  ["Reduction", "a reduction"],
  ["EOF", "a declaration (`use`, `const`, `fn` or `recipe`)"],
]);

/** What the parser was reading, by rule: "in a parameter list". */
const places: ReadonlyMap<string, string> = new Map([
  ["use", "after `use`"],
  ["usePath", "after `use`"],
  ["constant", "in a constant"],
  ["function", "in the head of a function"],
  ["recipe", "in the head of a recipe"],
  ["parameters", "in a parameter list"],
  ["parameter", "in a parameter list"],
  ["type", "in a type"],
  ["pattern", "in a pattern `is n:m along K`"],
  ["format", "in a format"],
  ["arguments", "in a list of arguments"],
  ["argument", "in a list of arguments"],
  ["let", "in a `let`"],
  ["indices", "in a list of indices"],
  ["ranges", "in a list of ranges"],
  ["range", "in a range `k in a .. b`"],
  ["var", "in a `var`"],
  ["update", "in an update"],
  ["scan", "in a `scan`"],
  ["for", "in the head of a `for`"],
  ["globs", "in a list of name patterns"],
  ["return", "in a `return`"],
  ["definition", "in a definition `y[n] = ...`"],
  ["if", "in an `if`"],
  ["store", "in a `store`"],
  ["expect", "in an `expect`"],
  ["save", "in a `save`"],
  ["reduce", "in a reduction"],
  ["reduceRange", "in a reduction"],
  ["softmaxMean", "in `softmax_mean[c](score, value)`"],
  ["top", "in `top n of m along k in ...`"],
  ["pack", "in `pack ... as ...`"],
  ["observe", "in `observe ... on ... by ...`"],
  ["suffix", "after an expression"],
  ["constraints", "in the constraints of a function"],
]);

const statementSpellings = ["let", "var", "scan", "for", "return", "if", "store", "expect", "save"];
const declarationSpellings = ["use", "const", "fn", "recipe"];
/** What other languages call things. */
const foreign: ReadonlyMap<string, string> = new Map([
  ["def", "fn"],
  ["func", "fn"],
  ["function", "fn"],
  ["fun", "fn"],
  ["import", "use"],
  ["mut", "var"],
  ["while", "for"],
  ["elif", "else if"],
]);

/** The tokens around the one that an error is at. */
export interface Neighbours {
  readonly previous: IToken | null;
  readonly next: IToken | null;
  /** The name in `median[k] x`, where the error is at `x`. */
  readonly reduction: IToken | null;
}

/**
 * The words for an error that the parser met between two tokens of the file: `next` is the token after the one it
 * stopped at.
 */
export function syntaxError(
  exception: IRecognitionException,
  { previous, next, reduction }: Neighbours,
  spanOf: (token: IToken) => Span,
): Diagnostic {
  const found = exception.token;
  const expected = exception.message;
  const stack = exception.context.ruleStack;
  const rule = stack[stack.length - 1] ?? "module";
  const place = stack
    .toReversed()
    .map((name) => places.get(name))
    .find((words) => words !== undefined);
  const what = tokenMatcher(found, EOF) ? "the end of the file" : `\`${shorten(found.image)}\``;
  // what is missing at the end of a line is missed there, not where the next line begins
  const endOfLine =
    previous !== null && (tokenMatcher(found, EOF) || (found.startLine ?? 0) > (previous.startLine ?? 0));
  const before = endOfLine ? spanOf(previous) : null;
  const where = before ? { ...before, start: before.end } : spanOf(found);
  const at = (message: string): { readonly span: Span; readonly message: string } => ({ span: where, message });

  if (rule === "module" || rule === "declaration") return notDeclaration(found, what, spanOf);
  if (rule === "block" && expected === "CloseBrace" && reduction && beginsExpression(found))
    return noReduction(reduction, spanOf);
  const statement = rule === "block" && expected === "CloseBrace" ? notStatement(found, next, what, spanOf) : null;
  if (statement) return statement;
  if (
    (["a name", "the name of an index"].includes(expectation(rule, expected)) ||
      rule === "usePath" ||
      rule === "parameters") &&
    reservedWords.has(found.image)
  ) {
    return error(
      "E115",
      `\`${found.image}\` is a word of the language and cannot be a name`,
      { span: spanOf(found), message: "a reserved word" },
      { help: "choose another name" },
    );
  }
  const words = expectation(rule, expected);
  return error(
    "E110",
    `expected ${words}${place ? ` ${place}` : ""}, found ${what}`,
    at(`expected ${words}`),
    advice(rule, expected, found, previous),
  );
}

function expectation(rule: string, expected: string): string {
  if (expected === "" && rule === "usePath") return "a module's name or a path in quotes";
  if (expected === "" && rule === "top") return "the name of an index or size, or the number of an axis";
  if (expected === "" && rule === "if") return "`{` or `if`";
  if (expected === "" && ["let", "indices", "use"].includes(rule)) return "a name";
  if (expected === "" && rule === "globs") return 'a string in "quotes"';
  if (expected === "" && rule === "reduce") return "the name of an index";
  if (expected === "") return "an expression";
  if (expected === "CloseBrace") return "a statement or `}`";
  if (expected === "CloseParen" || expected === "CloseSquare") return `\`,\` or \`${spelling.get(expected)}\``;
  return described.get(expected) ?? `\`${spelling.get(expected) ?? expected}\``;
}

function advice(rule: string, expected: string, found: IToken, previous: IToken | null): { readonly help?: string } {
  if (expected === "Define" && rule === "let" && previous?.image === "mut")
    return { help: `write \`var ${found.image} = ...\` for what is updated` };
  if (expected === "Define" && tokenMatcher(found, Equal)) return { help: "replace `==` by `=`: this defines" };
  if (expected === "OpenBrace" && rule === "block") return { help: "a body stands in braces: `{ ... }`" };
  if (expected === "As" && rule === "pack") return { help: "say the format: `pack w as f16`" };
  if (expected === "By")
    return { help: "say what is summed over the text: `observe block on text by feature_squares`" };
  if (expected === "Dots") return { help: "a range has two ends: `0 .. K`" };
  if (rule === "softmaxMean")
    return {
      help: "it takes indices, and what elements count by beside what is averaged: `softmax_mean[c](score[c], x[c])`",
    };
  if (rule === "reduce" && expected === "") return { help: "name the index that is reduced: `sum[k] x[k]`" };
  if (tokenMatcher(found, Reduction)) return { help: `name the index that is reduced: \`${found.image}[k] x[k]\`` };
  if (rule === "indices")
    return { help: "the indices of a definition are names, and an update `w[2 * n] = ...` needs a `var`" };
  if ((rule === "operand" || rule === "primary") && found.image === "if")
    return { help: "`if` is a statement: write `select(c, a, b)` to choose between values" };
  if (expected !== "Colon" && found.image === ":" && (previous?.image === "[" || previous?.image === ","))
    return { help: "name the index that runs over the whole axis: `let y[n] = w[n, k]` takes column `k`" };
  if (rule === "operand" || rule === "primary")
    return found.image === "*"
      ? { help: "write `x^2` for a power" }
      : found.image === "."
        ? { help: "write `0.5` for `.5`" }
        : found.image === "["
          ? { help: "there are no array literals: define elements with `let y[n] = ...`" }
          : {};
  return {};
}

function notDeclaration(found: IToken, what: string, spanOf: (token: IToken) => Span): Diagnostic {
  const meant =
    foreign.get(found.image) ?? (tokenMatcher(found, Name) ? suggest(found.image, declarationSpellings) : null);
  const help = meant
    ? `did you mean \`${meant}\`?`
    : statementSpellings.includes(found.image)
      ? "statements stand in the body of a function or recipe"
      : "write `fn`, `recipe`, `const` or `use`";
  return error(
    "E110",
    `expected a declaration (\`use\`, \`const\`, \`fn\` or \`recipe\`), found ${what}`,
    { span: spanOf(found), message: "not a declaration" },
    { help },
  );
}

/** Something else where a statement should stand: most often a forgotten `return` or `let`. */
function notStatement(found: IToken, next: IToken | null, what: string, spanOf: (token: IToken) => Span): Diagnostic {
  const at = (message: string): { readonly span: Span; readonly message: string } => ({ span: spanOf(found), message });
  if (found.image === "else") return error("E110", "`else` without an `if` before it", at("no `if` ends here"));
  if (!beginsExpression(found))
    return error("E110", `expected a statement or \`}\`, found ${what}`, at("not a statement"));
  if (tokenMatcher(found, Name) && next && tokenMatcher(next, Define)) {
    return error("E114", `\`${found.image}\` is assigned as a whole`, at("neither a new name nor an element"), {
      help: `write \`let ${found.image} = ...\` for a new value, or \`${found.image}[n] = ...\` to update elements of a \`var\``,
    });
  }
  const runsOn =
    next !== null &&
    (beginsExpression(next) || reservedWords.has(next.image)) &&
    !tokenMatcher(next, Infix) &&
    next.image !== "(";
  const meant =
    tokenMatcher(found, Name) && runsOn ? (foreign.get(found.image) ?? suggest(found.image, statementSpellings)) : null;
  if (meant)
    return error("E110", `expected a statement, found \`${found.image}\``, at("not a statement"), {
      help: `did you mean \`${meant}\`?`,
    });
  return error("E114", "this is an expression, and a statement was expected", at("nothing is done with this value"), {
    help: "write `return` before it to make it the result, or `let name =` to name it",
  });
}

/** `median[k] x`: the index of an element, or a reduction that is none. */
function noReduction(name: IToken, spanOf: (token: IToken) => Span): Diagnostic {
  const words = [...reductionWords, "softmax_mean"];
  const meant = suggest(name.image, words);
  return error(
    "E110",
    `there is no reduction \`${name.image}\``,
    { span: spanOf(name), message: "an element or a reduction was read here" },
    {
      help: `${meant ? `did you mean \`${meant}\`? ` : ""}the reductions are ${words.map((word) => `\`${word}\``).join(", ")}`,
    },
  );
}

/** The words for characters that are no part of the language. */
export function unknownCharacters(text: string, span: Span): Diagnostic {
  const hints: readonly (readonly [RegExp, string])[] = [
    [/^;/, "a statement ends with its line: remove `;`"],
    [/^&&?/, "write `and`, or `bit_and(a, b)` for bits"],
    [/^\|\|?/, "write `or`, or `bit_or(a, b)` for bits"],
    [/^!/, "write `not`"],
    [/^'/, 'strings stand in double quotes: "text"'],
    [/^[“”‘’«»„]/, 'strings stand in straight double quotes: "text"'],
    [/^≤/, "write `<=`"],
    [/^≥/, "write `>=`"],
    [/^≠/, "write `!=`"],
    [/^[×·⋅]/, "write `*`"],
    [/^÷/, "write `/`"],
    [/^−/, "write `-`"],
    [/^[∑Σ]/, "write `sum[k] ...`"],
    [/^√/, "write `sqrt(x)`"],
    [/^\?/, "write `select(c, a, b)` for `c ? a : b`"],
    [/^#/, "comments begin with `//`"],
    [/^→/, "write `->`"],
    [/^@/, "write `sum[k] a[n, k] * b[k, m]` for a matrix product"],
    [/^[\p{L}\p{N}]/u, "names are made of the letters A to Z, digits and `_`"],
  ];
  const help = hints.find(([pattern]) => pattern.test(text))?.[1];
  const first = String.fromCodePoint(text.codePointAt(0) ?? 0);
  const shown = /^[\p{L}\p{N}\p{P}\p{S}]$/u.test(first) ? `\`${first}\`` : "a character";
  const code = `U+${(text.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
  return error(
    "E101",
    `${shown} (${code}) has no meaning here`,
    { span, message: "unknown character" },
    help ? { help } : {},
  );
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}
