import { EOF, Lexer, tokenMatcher, type IRecognitionException, type IToken } from "chevrotain";
import { error, hasErrors, type Checked, type Diagnostic, type Span } from "../diagnostic.js";
import type { Module } from "./ast.js";
import { build } from "./build.js";
import { readComments } from "./comments.js";
import { balance, type Balanced } from "./delimiters.js";
import { Grammar } from "./grammar.js";
import { expectedNames, syntaxError, unknownCharacters, type Neighbours } from "./messages.js";
import { readNames } from "./reserved.js";
import { BadNumeral, BadText, declarationWords, Name, Numeral, statementWords, tokens, UpdateName } from "./tokens.js";

/** The largest file that is read, in bytes of UTF-8 [L-1]. */
export const largestFile = 1024 * 1024;
/** No more errors than this are told of one file. */
const mostErrors = 50;
/** No more than this are looked for: a file with so many is no program. */
const mostLexicalErrors = 200;

/**
 * Of a larger file (in UTF-16 units) only the first syntax error is told: recovery would take seconds where all is
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
      : span(token.startOffset, token.startOffset + token.image.length);

  const lexed = lexers().tokenize(source);
  const hashes = hashComments(
    source,
    lexed.errors.map((each) => each.offset),
  );
  const inHash = (at: number): boolean => hashes.some(({ start, end }) => start <= at && at < end);
  const written = hashes.length === 0 ? lexed.tokens : lexed.tokens.filter((token) => !inHash(token.startOffset));
  const unknown = lexed.errors
    .slice(0, mostLexicalErrors)
    .filter((each) => !inHash(each.offset))
    .map((each) => ({ start: each.offset, end: each.offset + each.length }));
  const lexical = [
    ...hashes.slice(0, 1).map(({ start }) => unknownCharacters("#", span(start, start + 1))),
    ...unknown.map(({ start, end }) => unknownCharacters(source.slice(start, end), span(start, end))),
    ...literals(written, spanOf),
  ];
  if (lexed.errors.length >= mostLexicalErrors) return failed(lexical);

  const named = readNames(written, spanOf);
  const balanced = balance(named.tokens, spanOf);
  const early = [...lexical, ...named.diagnostics, ...balanced.diagnostics];
  if (balanced.tokens === null) return failed(early);
  const grammar = source.length > largestRecovered ? plainGrammars() : grammars();
  grammar.input = balanced.tokens;
  const tree = grammar.module();
  const late = worthTelling(grammar.errors, balanced.tokens, [...balanced.mended, ...unknown]).map(
    ({ each, ...neighbours }) => syntaxError(each, neighbours, spanOf),
  );
  grammar.input = [];
  if (early.length + late.length > 0) return failed([...early, ...late]);

  const reported: Diagnostic[] = [];
  const comments = readComments(source, lexed.groups["comments"] ?? []);
  const module = build({ file, comments, report: (diagnostic) => reported.push(diagnostic) }, tree, source.length);
  return hasErrors(reported) ? failed(reported) : { value: module, diagnostics: reported };
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

/** The comments that begin with `#`, which is none of the language: from each `#` to the end of its line. */
function hashComments(
  source: string,
  errors: readonly number[],
): readonly { readonly start: number; readonly end: number }[] {
  const found: { start: number; end: number }[] = [];
  for (const start of errors) {
    if (source[start] !== "#" || start < (found.at(-1)?.end ?? 0)) continue;
    const length = /[\r\n]/.exec(source.slice(start))?.index ?? source.length - start;
    found.push({ start, end: start + length });
  }
  return found;
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
 * place, and after another error of the same statement.
 */
function worthTelling(
  errors: readonly IRecognitionException[],
  list: readonly IToken[],
  mended: Balanced["mended"],
): readonly ({ readonly each: IRecognitionException } & Neighbours)[] {
  const synchronising = new Set([...statementWords, ...declarationWords, UpdateName]);
  const positions = new Map(list.map((token, at) => [token, at] as const));
  const sorted = errors
    .map((each) => ({ each, at: positions.get(each.token) ?? list.length }))
    .sort((a, b) => a.at - b.at);
  const kept: ({ readonly each: IRecognitionException } & Neighbours)[] = [];
  /** From an `if` that stands for a value to the end of its blocks. */
  const choices: { start: number; end: number }[] = [];
  let last = -1;
  for (const { each, at } of sorted) {
    if (kept.length > mostErrors) break;
    const from = list[at - 1]?.startOffset ?? 0;
    const to = list[at]?.startOffset ?? Infinity;
    const near = [...mended, ...choices].some(({ start, end }) => start <= to && end >= from);
    // the token itself may begin the next statement, found where this one should have gone on
    const apart = last < 0 || list.slice(last + 1, at + 1).some((between) => synchronising.has(between.tokenType));
    if (!near && apart)
      kept.push({
        each,
        previous: list[at - 1] ?? null,
        next: list[at + 1] ?? null,
        reduction: unknownReduction(list, at),
      });
    if (list[at]?.image === "if" && ["operand", "primary"].includes(each.context.ruleStack.at(-1) ?? ""))
      choices.push({ start: to + 1, end: list[endOfChoice(list, at)]?.startOffset ?? Infinity });
    last = at;
  }
  return kept;
}

/** Where the blocks of the `if` at `from` end. */
function endOfChoice(list: readonly IToken[], from: number): number {
  let depth = 0;
  for (let at = from; at < list.length; at += 1) {
    if (list[at]?.image === "{") depth += 1;
    if (list[at]?.image !== "}") continue;
    depth -= 1;
    if (depth <= 0 && list[at + 1]?.image !== "else") return at;
  }
  return list.length;
}

/** The name in `median[k] x`, where the parser stops at `x`; else null. */
function unknownReduction(list: readonly IToken[], at: number): IToken | null {
  const found = list[at];
  let begin = at - 1;
  if (list[begin]?.image !== "]" || list[begin]?.startLine !== found?.startLine) return null;
  for (let depth = 0; begin >= 0; begin -= 1) {
    if (list[begin]?.image === "]") depth += 1;
    if (list[begin]?.image === "[") depth -= 1;
    if (depth === 0) break;
  }
  const name = list[begin - 1];
  return name && tokenMatcher(name, Name) ? name : null;
}

function utf8Length(source: string): number {
  return new TextEncoder().encode(source).length;
}

function once<T>(make: () => T): () => T {
  let made: T | null = null;
  return () => (made ??= make());
}
