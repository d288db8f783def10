import { createTokenInstance, type IToken, type TokenType } from "chevrotain";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import {
  AddTo,
  Arrow,
  Assign,
  CloseBrace,
  CloseParen,
  CloseSquare,
  Comma,
  declarationWords,
  Define,
  Dot,
  Else,
  Equal,
  Expect,
  Fn,
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
  reservedWords,
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
  /** From an unclosed bracket to where it was closed: what the parser says of this place is not worth telling. */
  readonly mended: readonly { readonly start: number; readonly end: number }[];
}

/** An open bracket, or the file itself. */
interface Open {
  readonly token: IToken | null;
  readonly close: TokenType | null;
  /** Whether it is the list of parameters of a function or recipe. */
  readonly parameters: boolean;
  /** Where in the result it stands. */
  readonly at: number;
  /** Operators since the last comma or beginning of a statement. */
  operators: number;
  /** The word that began the statement or declaration that we are in, while its body has not been read. */
  head: TokenType | null;
  /** The column of the line on which `head` stands. */
  headColumn: number | null;
  /** Of `{`: the column of the line on which what it belongs to began. */
  readonly column: number;
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
const nesting: ReadonlySet<TokenType> = new Set([Not, Top, Pack, Unpack, Observe, Of, Dot, Else]);

/**
 * What can be told from the tokens alone, before parsing: unclosed and unopened brackets, `=` where only a comparison
 * can stand, nesting beyond the limit. The mistakes are mended, and the name that begins an update is marked, so that
 * the parser's own recovery starts from something sound.
 */
export function balance(tokens: readonly IToken[], spanOf: (token: IToken) => Span): Balanced {
  const result: IToken[] = [];
  const diagnostics: Diagnostic[] = [];
  const mended: { start: number; end: number }[] = [];
  const file: Open = {
    token: null,
    close: null,
    parameters: false,
    at: -1,
    operators: 0,
    head: null,
    headColumn: null,
    column: 0,
  };
  const stack: Open[] = [file];
  const top = (): Open => stack[stack.length - 1] ?? file;
  /** Where in the result the bracket stood that the last token closed. */
  let closed = -1;
  let depth = 0;

  const count = (by: number): void => {
    top().operators += by;
    depth += by;
  };
  const pop = (): void => {
    const open = stack.pop();
    depth -= 1 + (open?.operators ?? 0);
    closed = open?.at ?? -1;
    if (open?.close === CloseBrace) {
      top().head = null;
      top().headColumn = null;
    }
  };
  const closeUnclosed = (before: IToken | null): void => {
    const { token, close } = top();
    if (!token || !close) return;
    const image = String(close.PATTERN);
    const last = result[result.length - 1] ?? token;
    const end = last.startOffset + last.image.length;
    diagnostics.push(
      error(
        "E111",
        `this \`${token.image}\` is never closed`,
        { span: spanOf(token), message: "opened here" },
        {
          labels: before ? [{ span: spanOf(before), message: `\`${image}\` was expected before this` }] : [],
          help: `add \`${image}\``,
        },
      ),
    );
    result.push(createTokenInstance(close, image, end, end, NaN, NaN, NaN, NaN));
    if (close !== CloseBrace) mended.push({ start: token.startOffset, end: before ? before.startOffset : Infinity });
    pop();
  };

  /** Where the line begins that is being read. */
  let column = 0;
  let line = 0;
  /** How many `}` are missing in the declaration that is being read. */
  let missing = missingBraces(tokens, 0);

  for (const [at, read] of tokens.entries()) {
    const beginsLine = read.startLine !== line;
    if (beginsLine) {
      line = read.startLine ?? 0;
      column = read.startColumn ?? 0;
    }
    const previous = result[result.length - 1]?.tokenType ?? null;
    // after a dot any word is a name
    const token =
      previous === Dot && reservedWords.has(read.image)
        ? { ...read, tokenType: Name, tokenTypeIdx: Name.tokenTypeIdx ?? 0 }
        : read;
    const type = token.tokenType;
    const inParentheses = (): boolean => top().close !== null && top().close !== CloseBrace;
    // no statement, body or result type can stand inside parentheses, no declaration inside braces: what is open was
    // left open
    const parameter = type === Var && top().parameters && (previous === OpenParen || previous === Comma);
    const beginsStatement = !parameter && statements.has(type);
    const beginsDeclaration = declarations.has(type);
    if (beginsStatement || type === OpenBrace || type === Arrow) while (inParentheses()) closeUnclosed(token);
    if (beginsDeclaration) {
      while (top() !== file) closeUnclosed(token);
      missing = missingBraces(tokens, at);
    }
    // where braces are missing, what stands no further right than a block's head is not in the block
    while (
      beginsLine &&
      missing > 0 &&
      top().close === CloseBrace &&
      (type === CloseBrace ? column < top().column : type !== OpenBrace && column <= top().column)
    ) {
      closeUnclosed(token);
      missing -= 1;
    }
    if (resets.has(type) && previous !== Else) count(-top().operators);
    if (beginsStatement || beginsDeclaration) {
      top().head = type;
      top().headColumn = column;
    }

    const close = closers.get(type);
    if (close) {
      const parameters =
        type === OpenParen && [Fn, RecipeWord].some((word) => result[result.length - 2]?.tokenType === word);
      stack.push({
        token,
        close,
        parameters,
        at: result.length,
        operators: 0,
        head: null,
        headColumn: null,
        column: top().headColumn ?? column,
      });
      depth += 1;
      result.push(token);
    } else if (closing.has(type)) {
      if (!stack.some((open) => open.close === type)) {
        if (diagnostics.length > mostUnmatched) return { tokens: null, diagnostics, mended };
        diagnostics.push(
          error(
            "E112",
            `this \`${token.image}\` closes nothing`,
            { span: spanOf(token), message: "no bracket is open here" },
            { help: "remove it, or add the bracket that it should close" },
          ),
        );
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
      diagnostics.push(
        error(
          "E113",
          "`=` defines, and a comparison was expected here",
          { span: spanOf(token), message: "expected `==`" },
          { help: "write `==` to compare" },
        ),
      );
      result.push({ ...token, tokenType: Equal, tokenTypeIdx: Equal.tokenTypeIdx ?? 0, image: "==" });
    } else {
      if (nesting.has(type) || categories(type).some((category) => category === Infix || category === Reduction))
        count(1);
      if (categories(type).includes(Assign) && previous === CloseSquare) markUpdate(result, closed);
      result.push(token);
    }
    if (diagnostics.length > mostUnmatched) return { tokens: null, diagnostics, mended };
    if (depth > nestingLimit) return { tokens: null, diagnostics: [...diagnostics, tooDeep(spanOf(token))], mended };
  }
  while (top() !== file) closeUnclosed(null);
  return { tokens: result, diagnostics, mended };
}

/** How many more `{` than `}` there are in the declaration that begins at `from`. */
function missingBraces(tokens: readonly IToken[], from: number): number {
  let open = 0;
  for (let at = from; at < tokens.length; at += 1) {
    const type = tokens[at]?.tokenType;
    if (at > from && type && declarations.has(type) && tokens[at - 1]?.tokenType !== Dot) break;
    if (type === OpenBrace) open += 1;
    if (type === CloseBrace) open -= 1;
  }
  return open;
}

/**
 * Whether `=` can only be meant as a comparison: in parentheses (but no parameter list), after `if` or `expect`, in a
 * function's constraints. After `]` it may begin an update.
 */
function compares(open: Open, afterElement: boolean): boolean {
  if (open.close === null) return open.head === Fn;
  if (open.close === CloseBrace) return open.head === If || (open.head === Expect && !afterElement);
  return !open.parameters;
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

function categories(type: TokenType): readonly TokenType[] {
  return type.CATEGORIES ?? [];
}

function tooDeep(span: Span): Diagnostic {
  return error(
    "E105",
    `this is nested too deeply: at most ${nestingLimit} brackets and operators may be open at one place`,
    { span, message: "one too many here" },
    {
      help: "split the expression with `let`, or the block into functions",
    },
  );
}
