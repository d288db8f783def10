import {
  EOF,
  tokenMatcher,
  type IParserErrorMessageProvider,
  type IRecognitionException,
  type IToken,
} from "chevrotain";
import { error, type Diagnostic, type Label, type Span } from "../diagnostic.js";
import { suggest } from "../suggest.js";
import { beginsExpression } from "./grammar-expression.js";
import { habit, type Around } from "./habits.js";
import { reservedName } from "./misnamed.js";
import {
  Assign,
  CloseParen,
  CloseSquare,
  Equal,
  Infix,
  Name,
  Numeral,
  Reduction,
  reservedWords,
  statementSpellings,
  tokens,
} from "./tokens.js";

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
  ["train", "in `train ... on ... by ... { }`"],
  ["beside", "behind `and` in a `train`"],
  ["store", "in a `store`"],
  ["measure", "in a `measure`"],
  ["print", "in a `print`"],
  ["permute", "in `permute ... on ... by ...`"],
  ["retain", "in `retain ... of ... by ...`"],
  ["round", "in `round ... as ...`"],
  ["expect", "in an `expect`"],
  ["save", "in a `save`"],
  ["reduce", "in a reduction"],
  ["reduceRange", "in a reduction"],
  ["softmaxMean", "in `softmax_mean[c](score, value)`"],
  ["top", "in `top n of m along k in ...`"],
  ["pack", "in `pack ... as ...`"],
  ["observe", "in `observe ... on ... by ...`"],
  ["gradient", "in `gradient of ... by ...`"],
  ["suffix", "after an expression"],
  ["constraints", "in the constraints of a function"],
]);

const declarationSpellings = ["use", "const", "fn", "recipe"];

/** The words for an error that the parser met. */
export function syntaxError(
  exception: IRecognitionException,
  around: Around,
  spanOf: (token: IToken) => Span,
): Diagnostic {
  const previous = around.list[around.at - 1] ?? null;
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

  const known = habit(rule, expected, around, spanOf);
  if (known) return known;
  if (rule === "module" || rule === "declaration") return notDeclaration(found, what, spanOf);
  const statement = rule === "block" && expected === "CloseBrace" ? notStatement(found, around, what, spanOf) : null;
  if (statement) return statement;
  const words = expectation(rule, expected);
  if (
    (["a name", "the name of an index"].includes(words) || rule === "usePath" || rule === "parameters") &&
    reservedWords.has(found.image) &&
    !endOfLine
  )
    return reservedName(found, spanOf(found));
  return error(
    "E110",
    `expected ${words}${place ? ` ${place}` : ""}, found ${what}`,
    at(`expected ${words}`),
    advice(stack, expected, found, previous),
  );
}

function expectation(rule: string, expected: string): string {
  if (expected === "" && (rule === "function" || rule === "type")) return "a type";
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

function advice(
  stack: readonly string[],
  expected: string,
  found: IToken,
  previous: IToken | null,
): { readonly help?: string } {
  const rule = stack.at(-1) ?? "module";
  if (expected === "Define" && tokenMatcher(found, Equal)) return { help: "replace `==` by `=`: this defines" };
  if (expected === "OpenBrace" && found.image === "=")
    return { help: "a body stands in braces, and a function's ends in `return`: `{ return ... }`" };
  if (expected === "OpenBrace" && stack.at(-2) === "function" && (found.image === ":" || tokenMatcher(found, Name)))
    return { help: "the type of the result stands after `->`" };
  if (expected === "OpenBrace" && rule === "block") return { help: "a body stands in braces: `{ ... }`" };
  if (expected === "As" && rule === "pack") return { help: "say the format: `pack w as f16`" };
  if (expected === "As" && rule === "store") return { help: "say of which layer: `store w as ...`" };
  if (rule === "gradient") return { help: "write `gradient of loss by w`, or `gradient of y by x, w with dy`" };
  if (rule === "train") return { help: "write `train model on text by kl(steps: 600, rate: 3e-4) { ... }`" };
  if (rule === "permute") return { help: "write `permute w on wanda(w, x2[w]) by exchange_2of4(rounds: 64)`" };
  if (expected === "By")
    return { help: "say what is summed over the text: `observe block on text by feature_squares`" };
  if (rule === "observe") return { help: "write `observe block on text by feature_squares`" };
  if (expected === "Along" && rule === "pattern") return { help: "write `is 2:4 along K`" };
  if (expected === "Along" || (rule === "top" && expected === "Of"))
    return { help: "write `top 2 of 4 along k in score`" };
  if (expected === "Dots" && found.image === ":") return { help: "write `..` for `:`: `0 .. K`" };
  if (expected === "Dots") {
    const end =
      previous !== null && (tokenMatcher(previous, Name) || tokenMatcher(previous, Numeral)) ? previous.image : "K";
    return { help: `a range has two ends: \`0 .. ${end}\`` };
  }
  if (rule === "softmaxMean")
    return {
      help: "it takes indices, and what elements count by beside what is averaged: `softmax_mean[c](score[c], x[c])`",
    };
  if ((rule === "globs" || rule === "save" || expected === "Text") && tokenMatcher(found, Name))
    return { help: `write \`"${found.image}"\`` };
  if (rule === "format" && tokenMatcher(found, Numeral))
    return { help: "2 of every 4 values are stored as `nm(2, 4) of f16`, or `of int4(128)`" };
  if (rule === "reduce" && expected === "") return { help: "name the index that is reduced: `sum[k] x[k]`" };
  if (tokenMatcher(found, Reduction)) return { help: `name the index that is reduced: \`${found.image}[k] x[k]\`` };
  if (rule === "indices")
    return { help: "the indices of a definition are names, and an update `w[2 * n] = ...` needs a `var`" };
  if (expectation(rule, expected) !== "an expression") return {};
  if (found.image === ".") return { help: "write `0.5` for `.5`" };
  if (found.image === "[") return { help: "there are no array literals: define elements with `let y[n] = ...`" };
  return {};
}

function notDeclaration(found: IToken, what: string, spanOf: (token: IToken) => Span): Diagnostic {
  const meant = tokenMatcher(found, Name) ? suggest(found.image, declarationSpellings) : null;
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
function notStatement(found: IToken, { list, at }: Around, what: string, spanOf: (token: IToken) => Span): Diagnostic {
  const label = (message: string): Label => ({ span: spanOf(found), message });
  const [previous, next] = [list[at - 1], list[at + 1] ?? null];
  if (found.image === "else") return error("E110", "`else` without an `if` before it", label("no `if` ends here"));
  if (!beginsExpression(found))
    return error("E110", `expected a statement or \`}\`, found ${what}`, label("not a statement"));
  if (tokenMatcher(found, Name) && next && tokenMatcher(next, Assign)) {
    const help = isLayer(found.image, list, at)
      ? `a layer is given a new weight by \`store ${found.image} as ...\``
      : next.image === "="
        ? `write \`let ${found.image} = ...\` for a new value, or \`${found.image}[n] = ...\` to update elements of a \`var\``
        : `a single value never changes: give the sum a name of its own, \`let ${found.image}_2 = ...\`, or reduce, \`sum[k] ...\``;
    return error("E114", `\`${found.image}\` is assigned as a whole`, label("neither a new name nor an element"), {
      help,
    });
  }
  const runsOn =
    next !== null &&
    (beginsExpression(next) || reservedWords.has(next.image)) &&
    !tokenMatcher(next, Infix) &&
    next.image !== "(";
  const meant = tokenMatcher(found, Name) && runsOn ? suggest(found.image, statementSpellings) : null;
  if (meant)
    return error("E110", `expected a statement, found \`${found.image}\``, label("not a statement"), {
      help: `did you mean \`${meant}\`?`,
    });
  if (previous !== undefined && endsExpression(previous) && previous.endLine === found.startLine)
    return error("E110", `expected an operator before ${what}`, label("two expressions side by side"), {
      help: "a product is written with `*`, and a call with `(...)` behind the function's name",
    });
  return error(
    "E114",
    "this is an expression, and a statement was expected",
    label("nothing is done with this value"),
    {
      help: ["print", "println", "assert"].includes(found.image)
        ? "leave it out: a function only computes, and what it gives is seen as its result"
        : "write `return` before it to make it the result, or `let name =` to name it",
    },
  );
}

/** Whether an expression can end with this token. */
function endsExpression(token: IToken): boolean {
  return [Name, Numeral, CloseParen, CloseSquare].some((type) => tokenMatcher(token, type));
}

function shorten(text: string): string {
  return text.length > 40 ? `${text.slice(0, 37)}...` : text;
}

/** Whether a name is that of a loop over linear layers which a place is after. */
function isLayer(name: string, list: readonly IToken[], at: number): boolean {
  return list
    .slice(0, at)
    .some(
      (token, from) => token.image === "for" && list[from + 1]?.image === name && list[from + 5]?.image === "linears",
    );
}
