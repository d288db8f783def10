import { EOF, Lexer, tokenMatcher, type ILexingResult, type IRecognitionException, type IToken } from "chevrotain";
import { error, hasErrors, type Checked, type Diagnostic, type Span } from "../diagnostic.js";
import type { Module } from "./ast.js";
import { build } from "./build.js";
import { readComments } from "./comments.js";
import { balance, type Balanced } from "./delimiters.js";
import { Grammar } from "./grammar.js";
import { as, mendMarks, mendWords, unknownCharacters } from "./foreign.js";
import type { Around } from "./habits.js";
import { expectedNames, syntaxError } from "./messages.js";
import { membersAsNames, renameReserved } from "./misnamed.js";
import {
  BadNumeral,
  BadText,
  CloseBrace,
  CloseParen,
  CloseSquare,
  declarationWords,
  Else,
  Name,
  Numeral,
  OpenBrace,
  statementWords,
  tokens,
  UpdateName,
} from "./tokens.js";

/** The largest file that is read, in bytes of UTF-8 [L-1]. */
export const largestFile = 1024 * 1024;
/** No more errors than this are reported of one file. */
const mostErrors = 50;
/** No more than this are looked for: a file with so many is no program. */
const mostLexicalErrors = 200;

/**
 * Of a larger file (in UTF-16 units) only the first syntax error is reported: recovery would take seconds where all is
 * wrong.
 */
const largestRecovered = 64 * 1024;

/** Lexer and parser are costly to make and free to use again: made at the first parse, then kept. */
const lexers = once(() => new Lexer([...tokens], { positionTracking: "full", skipValidations: true }));
const grammars = once(() => new Grammar({ recover: true, validate: false, messages: expectedNames }));
const plainGrammars = once(() => new Grammar({ recover: false, validate: false, messages: expectedNames }));

/**
 * Reads a file: its Ast, or every error found in it. `file` is the name that spans carry. Errors are E101 to E119 of
 * `spec/errors.md`; one error of a statement hides the others of the same statement.
 */
export function parse(source: string, file: string): Checked<Module> {
  const span = (start: number, end: number): Span => ({
    file,
    start,
    end: Math.min(Math.max(end, start), source.length),
  });
  if (source.length > largestFile || utf8Length(source) > largestFile) {
    return failed([
      error(
        "E106",
        `the file is larger than ${largestFile / 1024 / 1024} MiB, the most that is read`,
        { span: span(0, 0), message: `${utf8Length(source)} bytes` },
        { help: "split it into modules joined by `use`" },
      ),
    ]);
  }
  const spanOf = (token: IToken): Span =>
    tokenMatcher(token, EOF) || Number.isNaN(token.startOffset)
      ? span(source.length, source.length)
      : span(token.startOffset, (token.endOffset ?? token.startOffset) + 1);

  const first = readTokens(source, spanOf, span);
  const second = first.uneven ? withoutQuotients(source, first, spanOf, span) : null;
  const { lexed, early, left, words, balanced } = second ?? first;
  if (balanced === null || balanced.tokens === null) return failed(early);
  const grammar = source.length > largestRecovered ? plainGrammars() : grammars();
  grammar.input = balanced.tokens;
  const tree = grammar.module();
  const late = worthTelling(
    grammar.errors,
    balanced.tokens,
    [...balanced.mended, ...left],
    words,
    early.length > 0,
  ).map(({ each, ...around }) => syntaxError(each, around, spanOf));
  grammar.input = [];
  if (early.length + late.length > 0) return failed([...early, ...late]);

  const reported: Diagnostic[] = [];
  const found = lexed.groups["comments"] ?? [];
  const comments = readComments(source, found);
  const module = build({ file, comments, report: (diagnostic) => reported.push(diagnostic) }, tree, source.length);
  if (hasErrors(reported)) return failed(reported);
  return { value: module, diagnostics: [...reported, ...divisors(lexed.tokens, found, spanOf)] };
}

type SpanOf = (token: IToken) => Span;
type SpanFrom = (start: number, end: number) => Span;

/** A source as tokens of this language, with what was found on the way. */
interface Read {
  readonly lexed: ILexingResult;
  readonly early: readonly Diagnostic[];
  readonly left: readonly { readonly start: number; readonly end: number }[];
  /** Words of the language that are used as names. */
  readonly words: ReadonlySet<string>;
  /** null where so many characters mean nothing that the rest means nothing. */
  readonly balanced: Balanced | null;
  /** Whether brackets do not match. */
  readonly uneven: boolean;
}

function readTokens(source: string, spanOf: SpanOf, span: SpanFrom): Read {
  const lexed = lexers().tokenize(source);
  const unknown = lexed.errors
    .slice(0, mostLexicalErrors)
    .map((each) => ({ start: each.offset, end: each.offset + each.length }));
  const marks = mendMarks(membersAsNames(openTexts(lexed.tokens)), spanOf);
  const lexical = [
    ...unknownCharacters(unknown.map(({ start, end }) => ({ text: source.slice(start, end), span: span(start, end) }))),
    ...marks.diagnostics,
    ...literals(lexed.tokens, spanOf),
  ];
  const left = [...unknown, ...marks.left];
  if (lexed.errors.length >= mostLexicalErrors)
    return { lexed, early: lexical, left, words: new Set(), balanced: null, uneven: false };
  const mended = mendWords(marks.tokens, spanOf);
  const renamed = renameReserved(mended.tokens, spanOf);
  const balanced = balance(renamed.tokens, spanOf);
  const early = [...lexical, ...mended.diagnostics, ...renamed.diagnostics, ...balanced.diagnostics];
  const uneven = balanced.diagnostics.some((found) => found.code === "E111" || found.code === "E112");
  return { lexed, early, left, words: renamed.words, balanced, uneven };
}

/**
 * Where brackets do not match because `//` was written for a quotient, `f32[K // 2]`, and what closes them is in a
 * comment: the source read with `/` instead. Null where that is not it.
 */
function withoutQuotients(source: string, first: Read, spanOf: SpanOf, span: SpanFrom): Read | null {
  const quotients = (first.lexed.groups["comments"] ?? []).filter(
    ({ image, startOffset }) => /^\/\/ *\w+ *[\])]/.test(image) && /\S[ \t]*$/.test(source.slice(0, startOffset)),
  );
  const [one] = quotients;
  if (one === undefined) return null;
  let text = source;
  for (const { startOffset } of quotients) text = `${text.slice(0, startOffset)}/ ${text.slice(startOffset + 2)}`;
  const read = readTokens(text, spanOf, span);
  if (read.uneven) return null;
  return { ...read, early: [...read.early, ...quotients.map((comment) => notQuotient(spanOf(comment), "error"))] };
}

/** Warnings: a number alone in a comment after an expression, `K // 2`. */
function divisors(tokens: readonly IToken[], comments: readonly IToken[], spanOf: SpanOf): readonly Diagnostic[] {
  return comments
    .filter(({ image }) => /^\/\/ *\d+ *$/.test(image))
    .filter(({ startLine, startOffset }) =>
      tokens.some(
        (token) =>
          token.startLine === startLine &&
          token.startOffset < startOffset &&
          [Name, Numeral, CloseParen, CloseSquare].includes(token.tokenType),
      ),
    )
    .map((comment) => notQuotient(spanOf(comment), "warning"));
}

/** A comment where a quotient was most likely meant. */
export const quotientCode = "E120";

function notQuotient(span: Span, severity: "error" | "warning"): Diagnostic {
  return {
    ...error(
      quotientCode,
      "`//` begins a comment",
      { span, message: "this is a comment" },
      {
        help: "write `/`: the quotient of two sizes or integers is rounded down",
      },
    ),
    severity,
  };
}

/** A string that is never closed on its line does not take the brace at the end of the line with it. */
function openTexts(tokens: readonly IToken[]): readonly IToken[] {
  return tokens.flatMap((token) => {
    const brace = token.tokenType === BadText ? /^("[^"]*?)\s*\{\s*$/.exec(token.image) : null;
    if (brace === null) return [token];
    const at = token.startOffset + token.image.lastIndexOf("{");
    return [
      { ...token, image: brace[1] ?? token.image },
      { ...as(token, OpenBrace), startOffset: at, endOffset: at },
    ];
  });
}

function failed(diagnostics: readonly Diagnostic[]): Checked<Module> {
  const sorted = [...diagnostics].sort((a, b) => (a.labels[0]?.span.start ?? 0) - (b.labels[0]?.span.start ?? 0));
  const last = sorted[mostErrors - 1];
  if (sorted.length <= mostErrors || !last) return { value: null, diagnostics: sorted };
  return {
    value: null,
    diagnostics: [
      ...sorted.slice(0, mostErrors - 1),
      { ...last, notes: [...last.notes, `there are more errors; only the first ${mostErrors} are shown`] },
    ],
  };
}

/** Numbers and strings that are written wrongly or too large. */
function literals(list: readonly IToken[], spanOf: (token: IToken) => Span): readonly Diagnostic[] {
  const diagnostics: Diagnostic[] = [];
  for (const token of list) {
    if (diagnostics.length >= mostLexicalErrors) break;
    const at = (message: string): { readonly span: Span; readonly message: string } => ({
      span: spanOf(token),
      message,
    });
    if (token.tokenType === BadText) {
      const ended = token.image.length > 1 && token.image.endsWith('"') && !/[^\\](\\\\)*\\"$/.test(token.image);
      diagnostics.push(
        ended
          ? error("E104", 'a string knows only the escapes `\\"` and `\\\\`', at("unknown escape"), {
              help: "write `\\\\` for a backslash",
            })
          : error("E102", "this string is never closed", at("no closing quote on this line"), { help: 'add `"`' }),
      );
    } else if (token.tokenType === BadNumeral) {
      diagnostics.push(
        error("E104", `\`${token.image.slice(0, 40)}\` is not a number`, at("digits run into letters"), {
          help: "numbers are written 128, 0.5, 1e-5 or 0xff",
        }),
      );
    } else if (token.tokenType === Numeral) {
      const value = Number(token.image);
      if (/^(0[xX].*|\d+)$/.test(token.image)) {
        if (value > 0xffffffff)
          diagnostics.push(
            error("E103", "this integer does not fit into 32 bits", at("more than 4294967295"), {
              help: "write it with an exponent, for example `1e12`, if a float is meant",
            }),
          );
      } else if (!Number.isFinite(Math.fround(value))) {
        diagnostics.push(error("E103", "this number is too large for an f32", at("more than 3.4028235e38")));
      } else if (Math.fround(value) === 0 && /[1-9]/.test(token.image.replace(/[eE].*/, ""))) {
        diagnostics.push(error("E103", "this number is too small for an f32 and would be 0", at("less than 1.4e-45")));
      }
    }
  }
  return diagnostics;
}

/**
 * The parser's errors, each with the tokens around it, without those that only follow from another: near a mended
 * place, after another error of the same statement, at a word that was used as a name, and where the parser lost the
 * braces, which were made to match before.
 */
function worthTelling(
  errors: readonly IRecognitionException[],
  list: readonly IToken[],
  mended: Balanced["mended"],
  words: ReadonlySet<string>,
  troubled: boolean,
): readonly ({ readonly each: IRecognitionException } & Around)[] {
  const synchronising = new Set([...statementWords, ...declarationWords, UpdateName]);
  const positions = new Map(list.map((token, at) => [token, at] as const));
  const sorted = errors
    .map((each) => ({ each, at: positions.get(each.token) ?? list.length }))
    .sort((a, b) => a.at - b.at);
  const kept: ({ readonly each: IRecognitionException } & Around)[] = [];
  let last = -1;
  for (const { each, at } of sorted) {
    if (kept.length > mostErrors) break;
    const from = list[at - 1]?.startOffset ?? 0;
    const to = list[at]?.startOffset ?? Infinity;
    const near = mended.some(({ start, end }) => start <= to && end >= from);
    const word = [list[at - 1], list[at]].some((token) => token !== undefined && words.has(token.image));
    const rule = each.context.ruleStack.at(-1);
    const lost =
      list[at]?.tokenType === Else || ((rule === "module" || rule === "declaration") && insideBraces(list, at));
    const follows = lost && (last >= 0 || troubled);
    // the token itself may begin the next statement, found where this one should have gone on
    const apart = last < 0 || list.slice(last + 1, at + 1).some((between) => synchronising.has(between.tokenType));
    if (!near && !word && apart && !follows) kept.push({ each, list, at });
    last = at;
  }
  return kept;
}

/** Whether a token of balanced ones closes a brace or stands between braces. */
function insideBraces(list: readonly IToken[], at: number): boolean {
  let depth = 0;
  for (const token of list.slice(0, at))
    depth += token.tokenType === OpenBrace ? 1 : token.tokenType === CloseBrace ? -1 : 0;
  return depth > 0;
}

function utf8Length(source: string): number {
  return new TextEncoder().encode(source).length;
}

function once<T>(make: () => T): () => T {
  let made: T | null = null;
  return () => (made ??= make());
}
