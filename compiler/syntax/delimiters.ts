import { createTokenInstance, type IToken, type TokenType } from "chevrotain";
import type { Diagnostic, Span } from "../diagnostic.js";
import {
  bodiless,
  comprehension,
  nested,
  notDefinition,
  notReduction,
  surplus,
  tooDeep,
  unclosed,
} from "./delimiter-errors.js";
import { as } from "./foreign.js";
import {
  AddTo,
  Arrow,
  Assign,
  CloseBrace,
  CloseParen,
  CloseSquare,
  Colon,
  Comma,
  declarationWords,
  Define,
  Dot,
  Else,
  Equal,
  Expect,
  Fn,
  For,
  Gradient,
  If,
  Infix,
  Let,
  Name,
  Not,
  Observe,
  Of,
  OpenBrace,
  OpenParen,
  OpenSquare,
  Pack,
  RecipeWord,
  Reduction,
  Scan,
  Train,
  statementWords,
  SubtractFrom,
  Top,
  Unpack,
  UpdateName,
  Var,
  Where,
} from "./tokens.js";

/** How deeply brackets and operators may nest [L-5]: every later stage may recurse over the Ast without a check. */
export const nestingLimit = 100;

/** No more unmatched brackets than this are looked for. */
const mostUnmatched = 50;

/** The tokens, ready for the parser, and what was found on the way. */
export interface Balanced {
  /** null where nesting is deeper than `nestingLimit`, or so many brackets do not match that the rest means nothing. */
  readonly tokens: IToken[] | null;
  readonly diagnostics: readonly Diagnostic[];
  /** From an unclosed bracket to where it was closed: what the parser says of this place is not worth reporting. */
  readonly mended: readonly { readonly start: number; readonly end: number }[];
}

/** An open bracket, or the file itself. */
interface Open {
  readonly token: IToken | null;
  readonly close: TokenType | null;
  /** Whether it is the list of parameters of a function or recipe. */
  readonly parameters: boolean;
  /** Whether it is the list of arguments of a call. */
  readonly call: boolean;
  /** Where in the result it stands. */
  readonly at: number;
  /** The column where the statement or line begins that it belongs to. */
  readonly column: number;
  /** Whether it was put there for one that is missing: what closes it may be missing, too. */
  readonly made: boolean;
  /** Operators since the last comma or beginning of a statement. */
  operators: number;
  /** The word that began the statement or declaration that we are in, while its body has not been read. */
  head: IToken | null;
  /** Whether `where` was read in that head. */
  constrained: boolean;
}

const closers = new Map<TokenType, TokenType>([
  [OpenParen, CloseParen],
  [OpenSquare, CloseSquare],
  [OpenBrace, CloseBrace],
]);
const closing: ReadonlySet<TokenType> = new Set(closers.values());
const statements: ReadonlySet<TokenType> = new Set(statementWords);
const declarations: ReadonlySet<TokenType> = new Set(declarationWords);
const resets: ReadonlySet<TokenType> = new Set([
  ...statementWords,
  ...declarationWords,
  Comma,
  Define,
  AddTo,
  SubtractFrom,
]);
const nesting: ReadonlySet<TokenType> = new Set([Not, Top, Pack, Unpack, Observe, Gradient, Of, Dot, Else]);
/** The words after whose head a body stands in braces. */
const bodied: ReadonlySet<TokenType> = new Set([Fn, RecipeWord, For, Scan, If, Train]);

/**
 * What can be found from the tokens alone, before parsing: unclosed and unopened brackets, `=` where only a comparison
 * can stand, nesting beyond the limit. The mistakes are mended, and the name that begins an update is marked, so that
 * the parser's own recovery starts from something sound. Where braces do not match, the indentation of lines says where
 * one is missing or too many.
 */
export function balance(tokens: readonly IToken[], spanOf: (token: IToken) => Span): Balanced {
  const plain = match(tokens, spanOf, false);
  if (!plain.uneven) return plain;
  const indented = match(tokens, spanOf, true);
  return indented.diagnostics.length <= plain.diagnostics.length || plain.tokens === null ? indented : plain;
}

function match(
  tokens: readonly IToken[],
  spanOf: (token: IToken) => Span,
  byIndentation: boolean,
): Balanced & { readonly uneven: boolean } {
  const result: IToken[] = [];
  const diagnostics: Diagnostic[] = [];
  const mended: { start: number; end: number }[] = [];
  const file: Open = {
    token: null,
    close: null,
    parameters: false,
    call: false,
    at: -1,
    column: 0,
    made: false,
    operators: 0,
    head: null,
    constrained: false,
  };
  const stack: Open[] = [file];
  const top = (): Open => stack[stack.length - 1] ?? file;
  /** Where in the result the bracket stood that the last token closed. */
  let closed = -1;
  let depth = 0;
  let uneven = false;
  /** Closing brackets of this statement that were put in before: the ones that come late close nothing. */
  let late: TokenType[] = [];
  /** The column where the current line begins. */
  let column = 1;

  const count = (by: number): void => {
    top().operators += by;
    depth += by;
  };
  const pop = (): void => {
    const open = stack.pop();
    depth -= 1 + (open?.operators ?? 0);
    closed = open?.at ?? -1;
    if (open?.close === CloseBrace) top().head = null;
  };
  const push = (token: IToken, close: TokenType, more: Partial<Open> = {}): void => {
    const { head } = top();
    const begins = close === CloseBrace && head !== null ? (head.startColumn ?? column) : column;
    stack.push({
      token,
      close,
      parameters: false,
      call: false,
      at: result.length,
      column: Math.min(begins, column),
      made: false,
      operators: 0,
      head: null,
      constrained: false,
      ...more,
    });
    depth += 1;
    result.push(token);
  };
  const closeUnclosed = (before: IToken | null): void => {
    const { token, close, made } = top();
    if (!token || !close) return;
    const image = String(close.PATTERN);
    const last = result[result.length - 1] ?? token;
    const end = endOf(last);
    if (close === CloseBrace) uneven ||= !made;
    else late.push(close);
    if (!made) diagnostics.push(unclosed(token, image, spanOf(token), before && spanOf(before)));
    result.push(createTokenInstance(close, image, end, end, NaN, NaN, NaN, NaN));
    if (close !== CloseBrace) mended.push({ start: token.startOffset, end: before ? before.startOffset : Infinity });
    pop();
  };
  /** Puts a brace before a body that has none. */
  const openUnopened = (head: IToken | null, found: IToken): void => {
    const last = result[result.length - 1] ?? found;
    const end = endOf(last);
    if (!diagnostics.some((reported) => reported.code === "E110" && reported.message.startsWith("expected `{`")))
      diagnostics.push(
        bodiless(
          head?.tokenType ?? Else,
          found,
          found.tokenType === Colon ? spanOf(found) : { ...spanOf(last), start: end, end },
        ),
      );
    push(createTokenInstance(OpenBrace, "{", end, end, NaN, NaN, NaN, NaN), CloseBrace, { made: true });
    mended.push({ start: end, end });
  };

  for (let at = 0; at < tokens.length; at += 1) {
    const token = tokens[at];
    if (token === undefined) break;
    const before = tokens[at - 1];
    const previous = result[result.length - 1]?.tokenType ?? null;
    const type = token.tokenType;
    const firstOnLine = before === undefined || (before.endLine ?? 0) < (token.startLine ?? 0);
    if (firstOnLine) column = token.startColumn ?? 1;
    const inParentheses = (): boolean => top().close !== null && top().close !== CloseBrace;
    // no statement, body or result type can stand inside parentheses, no declaration inside braces: what is open was
    // left open
    const parameter = type === Var && top().parameters && (previous === OpenParen || previous === Comma);
    const beginsStatement = !parameter && statements.has(type);
    const beginsDeclaration = declarations.has(type);
    if (type === For && inParentheses() && !firstOnLine) {
      const end = closesOnLine(tokens, at);
      if (end !== null) {
        if (isLiteral(result, top().at)) mended.push({ start: top().token?.startOffset ?? 0, end: Infinity });
        diagnostics.push(comprehension(spanOf(token)));
        at = end - 1;
        continue;
      }
    }
    if (beginsStatement || type === OpenBrace || type === Arrow) while (inParentheses()) closeUnclosed(token);
    if (beginsStatement) late = [];
    if (byIndentation && firstOnLine && !inParentheses()) {
      if (beginsDeclaration && top() !== file && column > top().column) {
        diagnostics.push(nested(token, spanOf(token)));
        at = endOfDeclaration(tokens, at);
        continue;
      }
      // a body is closed by what stands no further right than its head
      const within = type === CloseBrace ? column : beginsStatement || type === Else ? column - 1 : Infinity;
      while (top().close === CloseBrace && within < top().column) closeUnclosed(token);
      if (type === CloseBrace && top().close === CloseBrace && column > top().column) {
        diagnostics.push(surplus(token, spanOf(token)));
        continue;
      }
    }
    if (beginsDeclaration) while (top() !== file) closeUnclosed(token);
    const { head } = top();
    const colon = type === Colon && (tokens[at + 1]?.startLine ?? Infinity) > (token.startLine ?? 0);
    const bare = beginsStatement && firstOnLine && column > (head?.startColumn ?? Infinity);
    if (
      !inParentheses() &&
      (previous === Else ? colon : head !== null && bodied.has(head.tokenType) && (colon || bare))
    ) {
      uneven = true;
      openUnopened(head, token);
      if (colon) continue;
    }
    if (resets.has(type) && previous !== Else) count(-top().operators);
    if (beginsStatement || beginsDeclaration) {
      top().head = token;
      top().constrained = false;
    }
    if (type === Where) top().constrained = true;

    const close = closers.get(type);
    if (close) {
      const declares = [Fn, RecipeWord].some((word) => result[result.length - 2]?.tokenType === word);
      const call = type === OpenParen && !declares && (previous === Name || categories(previous).includes(Reduction));
      push(token, close, { parameters: type === OpenParen && declares, call });
    } else if (closing.has(type)) {
      if (!stack.some((open) => open.close === type)) {
        const known = late.indexOf(type);
        if (known >= 0) {
          late.splice(known, 1);
          continue;
        }
        if (diagnostics.length > mostUnmatched) return { tokens: null, diagnostics, mended, uneven };
        if (type === CloseBrace) uneven = true;
        diagnostics.push(surplus(token, spanOf(token)));
        continue;
      }
      while (top().close !== type) closeUnclosed(token);
      pop();
      if (type === CloseSquare) count(1);
      result.push(token);
    } else if (
      type === Define &&
      compares(top(), previous === CloseSquare) &&
      !(previous === CloseSquare && result[closed - 2]?.tokenType === Where)
    ) {
      const named = top().call && previous === Name ? (result[result.length - 1]?.image ?? null) : null;
      const opener = result[top().at - 1] ?? null;
      const meant = named === null ? null : `${named}: ${tokens[at + 1]?.image ?? "..."}`;
      const reduces = top().call && categories(opener?.tokenType ?? null).includes(Reduction);
      diagnostics.push(
        reduces ? notReduction(opener?.image ?? "sum", spanOf(token)) : notDefinition(meant, spanOf(token)),
      );
      result.push(as(token, named === null ? Equal : Colon));
    } else {
      if (nesting.has(type) || categories(type).some((category) => category === Infix || category === Reduction))
        count(1);
      if (categories(type).includes(Assign) && previous === CloseSquare) markUpdate(result, closed);
      result.push(token);
    }
    if (diagnostics.length > mostUnmatched) return { tokens: null, diagnostics, mended, uneven };
    if (depth > nestingLimit)
      return { tokens: null, diagnostics: [...diagnostics, tooDeep(nestingLimit, spanOf(token))], mended, uneven };
  }
  while (top() !== file) closeUnclosed(null);
  return { tokens: result, diagnostics, mended, uneven };
}

/**
 * Whether `=` can only be meant as a comparison or as a name: in parentheses (but no parameter list), after `if` or
 * `expect`, in a function's constraints. After `]` it may begin an update.
 */
function compares(open: Open, afterElement: boolean): boolean {
  const head = open.head?.tokenType;
  if (open.close === null) return head === Fn && open.constrained;
  if (open.close === CloseBrace) return head === If || (head === Expect && !afterElement);
  return !open.parameters;
}

/** Whether a bracket begins a list, as other languages have them. */
function isLiteral(result: readonly IToken[], at: number): boolean {
  const before = result[at - 1]?.tokenType ?? null;
  const indexes =
    [Name, CloseSquare, CloseParen].some((type) => type === before) || categories(before).includes(Reduction);
  return result[at]?.tokenType === OpenSquare && !indexes;
}

/** Where a token ends (exclusive). */
function endOf(token: IToken): number {
  return token.endOffset === undefined || Number.isNaN(token.endOffset)
    ? token.startOffset + token.image.length
    : token.endOffset + 1;
}

/** Where the bracket around a place is closed, if that is on the same line. */
function closesOnLine(tokens: readonly IToken[], from: number): number | null {
  let depth = 0;
  for (let at = from; tokens[at]?.startLine === tokens[from]?.startLine; at += 1) {
    const type = tokens[at]?.tokenType;
    if (type === undefined) break;
    if (closers.has(type)) depth += 1;
    if (closing.has(type) && depth === 0) return at;
    if (closing.has(type)) depth -= 1;
  }
  return null;
}

/** The last token of a declaration: that of its line, or the brace that closes its body. */
function endOfDeclaration(tokens: readonly IToken[], from: number): number {
  let depth = 0;
  for (let at = from; at < tokens.length; at += 1) {
    const [type, next] = [tokens[at]?.tokenType, tokens[at + 1]];
    if (type === OpenBrace) depth += 1;
    if (type === CloseBrace) depth -= 1;
    if (
      depth === 0 &&
      (type === CloseBrace || next?.startLine !== tokens[from]?.startLine) &&
      next?.tokenType !== OpenBrace
    )
      return at;
  }
  return tokens.length - 1;
}

/**
 * `w[...] =` begins a statement, unless `let`, `where` or a comma before it makes it a definition. `bracket` is where
 * its `[` stands.
 */
function markUpdate(result: IToken[], bracket: number): void {
  const name = result[bracket - 1];
  const before = result[bracket - 2]?.tokenType;
  if (name?.tokenType !== Name || before === Let || before === Where || before === Comma) return;
  result[bracket - 1] = { ...name, tokenType: UpdateName, tokenTypeIdx: UpdateName.tokenTypeIdx ?? 0 };
}

function categories(type: TokenType | null): readonly TokenType[] {
  return type?.CATEGORIES ?? [];
}
