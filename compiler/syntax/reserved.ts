import type { IToken, TokenType } from "chevrotain";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import { beginsExpression } from "./grammar-expression.js";
import {
  CloseBrace,
  CloseParen,
  CloseSquare,
  Colon,
  Comma,
  Const,
  declarationWords,
  Define,
  Dot,
  Fn,
  For,
  In,
  Infix,
  Let,
  Minus,
  Name,
  OpenParen,
  OpenSquare,
  RecipeWord,
  Reduction,
  reservedWords,
  Scan,
  Var,
} from "./tokens.js";

/** The tokens with every misused word read as a name, and an error for each such word of a declaration. */
export interface NamesRead {
  readonly tokens: readonly IToken[];
  readonly diagnostics: readonly Diagnostic[];
}

/** By what stands before a name that is made: what may follow it. */
const makes: ReadonlyMap<TokenType, readonly TokenType[]> = new Map([
  [Let, [Define, OpenSquare, Comma]],
  [Var, [Define, Colon]],
  [Const, [Define]],
  [Fn, [OpenParen]],
  [RecipeWord, [OpenParen]],
  [For, [In]],
  [Scan, [In]],
  [OpenSquare, [Comma, CloseSquare]],
  [OpenParen, [Colon]],
  [Comma, [Colon, CloseSquare]],
]);

const afterUse: ReadonlySet<TokenType> = new Set([OpenSquare, CloseSquare, CloseParen, CloseBrace, Comma, Dot, Define]);

/**
 * Words of the language that stand where only a name can be made [L-3], as in `fn f(scan: f32)` or `let store = x`:
 * E115 once, then the word is a name to the end of the declaration, wherever it can be one.
 */
export function readNames(tokens: readonly IToken[], spanOf: (token: IToken) => Span): NamesRead {
  const diagnostics: Diagnostic[] = [];
  const result: IToken[] = [];
  const declarations: ReadonlySet<TokenType> = new Set(declarationWords);
  let misused = new Set<string>();
  for (const [at, token] of tokens.entries()) {
    // behind a dot, a word is the name of a field
    const before = result[at - 2]?.tokenType === Dot ? Dot : result[at - 1]?.tokenType;
    const next = tokens[at + 1];
    const reserved = reservedWords.has(token.image) && token.image !== "true" && token.image !== "false";
    const made = reserved && before && next && (makes.get(before)?.includes(next.tokenType) ?? false);
    if (declarations.has(token.tokenType) && !made && before !== Dot) misused = new Set();
    const used = reserved && misused.has(token.image) && next !== undefined && isUse(tokens, at, next);
    result.push(made || used ? { ...token, tokenType: Name, tokenTypeIdx: Name.tokenTypeIdx ?? 0 } : token);
    if (!made || misused.has(token.image)) continue;
    misused.add(token.image);
    diagnostics.push(
      error(
        "E115",
        `\`${token.image}\` is a word of the language and cannot be a name`,
        { span: spanOf(token), message: "a reserved word" },
        { help: "choose another name" },
      ),
    );
  }
  return { tokens: result, diagnostics };
}

/** Whether a misused word is the name here, and not what it means in the language. */
function isUse(tokens: readonly IToken[], at: number, next: IToken): boolean {
  const infix = next.tokenType.CATEGORIES?.includes(Infix) ?? false;
  if (!afterUse.has(next.tokenType) && !infix) {
    const line = tokens[at]?.startLine ?? 0;
    // the last word of a line can begin nothing
    return (next.startLine ?? line) > line;
  }
  const reduces = tokens[at]?.tokenType.CATEGORIES?.includes(Reduction) ?? false;
  if (!reduces || next.tokenType !== OpenSquare) return true;
  let depth = 0;
  for (let end = at + 1; end < tokens.length; end += 1) {
    if (tokens[end]?.tokenType === OpenSquare) depth += 1;
    if (tokens[end]?.tokenType === CloseSquare) depth -= 1;
    if (depth > 0) continue;
    const after = tokens[end + 1];
    return !(
      after &&
      after.startLine === tokens[end]?.startLine &&
      after.tokenType !== Minus &&
      beginsExpression(after)
    );
  }
  return true;
}
