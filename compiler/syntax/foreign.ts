/**
 * What other languages write, and what is said of it: marks, comments, strings and words. They are mended where it is
 * clear what they mean, so that the rest of a file is read as if it had been written so.
 */
import { createTokenInstance, type IToken, type TokenType } from "chevrotain";
import { error, type Diagnostic, type Label, type Span } from "../diagnostic.js";
import {
  And,
  Arrow,
  BlockComment,
  CloseBrace,
  CloseParen,
  CloseSquare,
  Colon,
  Comma,
  Const,
  Define,
  Divide,
  Dot,
  Dots,
  Else,
  Equal,
  Fn,
  ForeignMark,
  ForeignText,
  GreaterEqual,
  HashComment,
  If,
  LessEqual,
  Let,
  Minus,
  Name,
  Not,
  NotEqual,
  OpenBrace,
  OpenParen,
  OpenSquare,
  Or,
  Power,
  Times,
  Use,
  Var,
} from "./tokens.js";

/** Tokens of this language, and what was found on the way. */
export interface Mended {
  readonly tokens: IToken[];
  readonly diagnostics: readonly Diagnostic[];
  /** Where something was left out: what the parser says of such a place is not worth reporting. */
  readonly left: readonly { readonly start: number; readonly end: number }[];
}

interface Mark {
  readonly help: string;
  /** The token that is meant. */
  readonly means?: TokenType;
}

const quotes: Mark = { help: 'strings stand in straight double quotes: "text"' };
const power: Mark = { help: "write `x^2` for a power", means: Power };
const times: Mark = { help: "write `*`", means: Times };
const unequal: Mark = { help: "write `!=`", means: NotEqual };
const range: Mark = { help: "a range is `0 .. K`, and its end is not in it", means: Dots };

/** The marks of `ForeignMark`. */
const marks: ReadonlyMap<string, Mark> = new Map<string, Mark>([
  [";", { help: "a statement ends with its line: leave out `;`" }],
  ["&&", { help: "write `and`", means: And }],
  ["&", { help: "write `and`, or `bit_and(a, b)` for bits", means: And }],
  ["||", { help: "write `or`", means: Or }],
  ["|", { help: "write `or`, `bit_or(a, b)` for bits, `abs(x)` for an absolute value" }],
  ["!", { help: "write `not`", means: Not }],
  ["~", { help: "write `not`, or `bit_xor(a, -1)` for bits", means: Not }],
  ["?", { help: "write `select(c, a, b)` for `c ? a : b`" }],
  ["@", { help: "a product of matrices is a sum: `let c[n, m] = sum[k] a[n, k] * b[k, m]`", means: Times }],
  ["::", { help: "names are used without their module, and have no members: write the last name alone", means: Dot }],
  ["**", power],
  ["...", range],
  ["..=", range],
  ["..<", range],
  ["=>", { help: "write `->`", means: Arrow }],
  ["===", { help: "write `==`", means: Equal }],
  ["!==", unequal],
  ["<>", unequal],
  [":=", { help: "write `=`", means: Define }],
  ["≤", { help: "write `<=`", means: LessEqual }],
  ["≥", { help: "write `>=`", means: GreaterEqual }],
  ["≠", unequal],
  ["×", times],
  ["·", times],
  ["⋅", times],
  ["÷", { help: "write `/`", means: Divide }],
  ["−", { help: "write `-`", means: Minus }],
  ["–", { help: "write `-`", means: Minus }],
  ["→", { help: "write `->`", means: Arrow }],
]);

/** Characters that no token begins with. */
const characters: readonly (readonly [RegExp, string])[] = [
  [/^'/, 'strings stand in double quotes: "text"'],
  [/^[“”‘’«»„]/, quotes.help],
  [/^[∑Σ]/, "write `sum[k] ...`"],
  [/^√/, "write `sqrt(x)`"],
  [/^[²³]/, "write `x^2`"],
  [/^[\u200B-\u200F\u2060\u00AD]/, "it cannot be seen: write the line anew"],
  [/^[^\S \t\r\n]/, "write a plain space"],
  [/^[\p{L}\p{N}]/u, "names are made of the letters A to Z, digits and `_`"],
];

/** What is said of characters that are no part of the language, of each once. */
export function unknownCharacters(
  texts: readonly { readonly text: string; readonly span: Span }[],
): readonly Diagnostic[] {
  return onceEach(
    texts.map(({ text, span }) => ({
      kind: String.fromCodePoint(text.codePointAt(0) ?? 0),
      diagnostic: unknownCharacter(text, span),
    })),
  );
}

function unknownCharacter(text: string, span: Span): Diagnostic {
  const help = characters.find(([pattern]) => pattern.test(text))?.[1];
  const first = String.fromCodePoint(text.codePointAt(0) ?? 0);
  return meaningless(first, span, help, "unknown character");
}

function meaningless(text: string, span: Span, help: string | undefined, label: string): Diagnostic {
  const shown = /^[\p{L}\p{N}\p{P}\p{S}]+$/u.test(text) ? `\`${text}\`` : "a character";
  const [first = ""] = text;
  const code = /^[ -~]+$/.test(text)
    ? ""
    : ` (U+${(first.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")})`;
  return error("E101", `${shown}${code} has no meaning here`, { span, message: label }, help ? { help } : {});
}

/** Replaces the marks, comments and strings of other languages by those of this one. */
export function mendMarks(tokens: readonly IToken[], spanOf: (token: IToken) => Span): Mended {
  const result: IToken[] = [];
  const left: { start: number; end: number }[] = [];
  const found: { readonly diagnostic: Diagnostic; readonly kind: string }[] = [];
  const report = (kind: string, diagnostic: Diagnostic): void => void found.push({ kind, diagnostic });
  // of a line the first mark is told, with the others beside it
  const beside = labelsBeside(
    tokens.filter(({ tokenType }) => tokenType === ForeignMark),
    spanOf,
  );
  for (const [at, token] of tokens.entries()) {
    const span = spanOf(token);
    switch (token.tokenType) {
      case HashComment:
      case BlockComment: {
        const mark = token.tokenType === HashComment ? "#" : "/*";
        const help = mark === "#" ? "comments begin with `//`" : "each line of a comment begins with `//`";
        const start = { ...span, end: span.start + mark.length };
        report(mark, error("E101", `\`${mark}\` begins no comment`, { span: start, message: "no comment" }, { help }));
        break;
      }
      case ForeignText:
        report("text", error("E101", "this is no string", { span, message: "other quotes" }, { help: quotes.help }));
        result.push(token);
        break;
      case ForeignMark: {
        const mark = marks.get(token.image);
        const labels = beside.get(token);
        const first = meaningless(token.image, span, mark?.help, "of another language");
        if (labels !== undefined)
          report([...new Set([mark?.help ?? token.image, ...labels.map(({ message }) => message)])].sort().join(), {
            ...first,
            labels: [...first.labels, ...labels],
          });
        if (mark?.means === undefined) left.push({ start: span.start, end: span.end });
        else {
          result.push(as(token, mark.means));
          // of `prune::magnitude(w)` the parser would not take the bracket
          const after = tokens[at + 2];
          if (mark.means === Dot && after) left.push({ start: span.start, end: spanOf(after).end });
        }
        break;
      }
      default:
        result.push(token);
    }
  }
  return { tokens: result, diagnostics: onceEach(found), left };
}

/** For the first mark of each line what is said of the others. */
function labelsBeside(
  found: readonly IToken[],
  spanOf: (token: IToken) => Span,
): ReadonlyMap<IToken, readonly Label[]> {
  return new Map(
    found
      .filter((token, at) => token.startLine !== found[at - 1]?.startLine)
      .map((first) => [
        first,
        found
          .filter((token) => token !== first && token.startLine === first.startLine)
          .map((token) => ({ span: spanOf(token), message: marks.get(token.image)?.help ?? "of another language" })),
      ]),
  );
}

/** The first of each kind, with how many more there are. */
function onceEach(found: readonly { readonly diagnostic: Diagnostic; readonly kind: string }[]): readonly Diagnostic[] {
  return [...new Set(found.map(({ kind }) => kind))].flatMap((kind) => {
    const [first, ...more] = found.filter((each) => each.kind === kind);
    if (first === undefined) return [];
    const note = more.length === 1 ? "there is one more of these" : `there are ${more.length} more of these`;
    return [more.length === 0 ? first.diagnostic : { ...first.diagnostic, notes: [...first.diagnostic.notes, note] }];
  });
}

const noLoop = "`for i in 0 .. 8 { }` counts, `scan k in 0 .. K { }` goes step by step; no loop has a condition";

interface Word {
  readonly help: string;
  /** What stands for it; nothing where the statement means nothing here. */
  readonly means: readonly TokenType[];
}

const asFn: Word = { help: "did you mean `fn`?", means: [Fn] };
const asElseIf: Word = { help: "did you mean `else if`?", means: [Else, If] };

/** What other languages begin a declaration with. */
const declarationWords: ReadonlyMap<string, Word> = new Map<string, Word>([
  ...["def", "func", "function", "fun", "proc"].map((word) => [word, asFn] as const),
  ["import", { help: "did you mean `use`?", means: [Use] }],
  ["include", { help: "did you mean `use`?", means: [Use] }],
  ["from", { help: "`use prune` brings in all functions of a module", means: [Use] }],
]);
/** What other languages begin a statement with. */
const statementWords: ReadonlyMap<string, Word> = new Map<string, Word>([
  ...["elif", "elsif", "elseif"].map((word) => [word, asElseIf] as const),
  ["while", { help: noLoop, means: [If] }],
  ["until", { help: noLoop, means: [If] }],
]);

/** Replaces the words that other languages begin declarations and statements with, and what they put after a `let`. */
export function mendWords(tokens: readonly IToken[], spanOf: (token: IToken) => Span): Mended {
  const result: IToken[] = [];
  const diagnostics: Diagnostic[] = [];
  let depth = 0;
  let brackets = 0;
  const reported = new Set<string>();
  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at];
    if (token === undefined) break;
    const [previous, next] = [tokens[at - 1], tokens[at + 1]];
    const type = token.tokenType;
    if (type === OpenBrace) depth += 1;
    if (type === CloseBrace) depth -= 1;
    if (type === OpenParen || type === OpenSquare) brackets += 1;
    if (type === CloseParen || type === CloseSquare) brackets -= 1;
    if (beginning.has(type)) brackets = 0;
    const word = (depth === 0 ? declarationWords : statementWords).get(token.image);
    if (brackets === 0 && type === Name && word !== undefined && begins(token, previous) && goesOn(token, next)) {
      const expected = depth === 0 ? "a declaration (`use`, `const`, `fn` or `recipe`)" : "a statement";
      const key = depth === 0 ? token.image : "";
      if (!reported.has(key) || depth > 0)
        diagnostics.push(
          error(
            "E110",
            `expected ${expected}, found \`${token.image}\``,
            { span: spanOf(token), message: depth === 0 ? "not a declaration" : "not a statement" },
            { help: word.help },
          ),
        );
      reported.add(key);
      result.push(...word.means.map((meant) => as(token, meant)));
      if (word.means[0] === Use && next !== undefined) {
        result.push(next);
        for (at += 1; tokens[at + 1]?.startLine === token.startLine; ) at += 1;
      }
      continue;
    }
    if (type === Let && next?.image === "mut" && next.tokenType === Name && tokens[at + 2]?.tokenType === Name) {
      diagnostics.push(
        error(
          "E110",
          "there is no `mut`",
          { span: spanOf(next), message: "not a name" },
          {
            help: `what is updated is declared with \`var\`: \`var ${tokens[at + 2]?.image ?? "w"} = ...\``,
          },
        ),
      );
      result.push(as(token, Var));
      at += 1;
      continue;
    }
    const skipped = brackets === 0 ? typed(tokens, at) : null;
    if (skipped !== null) {
      const colon = tokens[at + 2];
      const what = type === Const ? "constant" : type === Let ? "`let`" : "`var`";
      if (colon !== undefined)
        diagnostics.push(
          error(
            "E110",
            `a ${what} has no type: it is that of its value`,
            { span: spanOf(colon), message: "no type here" },
            {
              help: `write \`${token.image} ${next?.image ?? "x"} = ...\``,
            },
          ),
        );
      result.push(token, ...(next === undefined ? [] : [next]));
      at = skipped - 1;
      continue;
    }
    if ((type === Let || type === Arrow) && next?.tokenType === OpenParen) {
      const close = closing(tokens, at + 1);
      const inner = tokens.slice(at + 2, close ?? at + 2);
      const after = close === null ? undefined : tokens[close + 1]?.tokenType;
      if (close !== null && inner.length > 0 && (type === Arrow || after === Define)) {
        diagnostics.push(
          error(
            "E110",
            `${type === Let ? "the names of a `let`" : "result types"} stand without parentheses`,
            { span: spanOf(next), message: "no parentheses here" },
            { help: type === Let ? "write `let a, b = ...`" : "write `-> f32[N], f32[K]`" },
          ),
        );
        result.push(token, ...inner);
        at = close;
        continue;
      }
    }
    result.push(token);
  }
  return { tokens: result, diagnostics, left: [] };
}

/** What stands in no brackets: what is open before it was left open. */
const beginning: ReadonlySet<TokenType> = new Set([Fn, Let, Const, Use, OpenBrace]);

/** Whether a token begins a statement or declaration, as far as can be seen. */
function begins(token: IToken, previous: IToken | undefined): boolean {
  return (
    previous === undefined ||
    previous.tokenType === OpenBrace ||
    previous.tokenType === CloseBrace ||
    (previous.endLine ?? 0) < (token.startLine ?? 0)
  );
}

/** Whether what follows a word cannot follow a name: `def f`, but not `def = 1`. */
function goesOn(token: IToken, next: IToken | undefined): boolean {
  if (next === undefined || next.startLine !== token.startLine) return false;
  const categories = next.tokenType.CATEGORIES ?? [];
  const name: readonly TokenType[] = [OpenSquare, OpenParen, Dot, Comma, Colon, CloseParen, Define];
  return !name.includes(next.tokenType) && !categories.some((category) => ["Infix", "Assign"].includes(category.name));
}

/** For `let y: f32[N] = e`, `const G: size = 4`: where the `=` stands. */
function typed(tokens: readonly IToken[], at: number): number | null {
  const [word, name, colon] = [tokens[at], tokens[at + 1], tokens[at + 2]];
  const declares =
    word?.tokenType === Let || word?.tokenType === Const || (word?.tokenType === Var && begins(word, tokens[at - 1]));
  if (!declares || name?.tokenType !== Name || colon?.tokenType !== Colon) return null;
  for (let end = at + 3; tokens[end]?.startLine === word?.startLine; end += 1)
    if (tokens[end]?.tokenType === Define) return end;
  return null;
}

/** Where the bracket at a place is closed, on the same line. */
function closing(tokens: readonly IToken[], open: number): number | null {
  let depth = 0;
  for (let at = open; tokens[at]?.startLine === tokens[open]?.startLine; at += 1) {
    if (tokens[at]?.tokenType === OpenParen) depth += 1;
    if (tokens[at]?.tokenType === CloseParen) depth -= 1;
    if (depth === 0) return at;
  }
  return null;
}

/** A token at the place of another. */
export function as(token: IToken, type: TokenType): IToken {
  const image = typeof type.PATTERN === "string" ? type.PATTERN : token.image;
  return { ...createTokenInstance(type, image, NaN, NaN, NaN, NaN, NaN, NaN), ...placeOf(token) };
}

function placeOf(
  token: IToken,
): Pick<IToken, "startOffset" | "endOffset" | "startLine" | "endLine" | "startColumn" | "endColumn"> {
  const { startOffset, endOffset, startLine, endLine, startColumn, endColumn } = token;
  return {
    startOffset,
    ...(endOffset === undefined ? {} : { endOffset }),
    ...(startLine === undefined ? {} : { startLine }),
    ...(endLine === undefined ? {} : { endLine }),
    ...(startColumn === undefined ? {} : { startColumn }),
    ...(endColumn === undefined ? {} : { endColumn }),
  };
}
