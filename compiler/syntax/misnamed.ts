/** Words of the language where a name is declared. */
import type { IToken, TokenType } from "chevrotain";
import { error, type Diagnostic, type Span } from "../diagnostic.js";
import { beginsExpression } from "./grammar-expression.js";
import {
  CloseBrace,
  CloseParen,
  CloseSquare,
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
  Where,
} from "./tokens.js";

/** Tokens with those words made names, and what was found. */
export interface Renamed {
  readonly tokens: IToken[];
  readonly diagnostics: readonly Diagnostic[];
  /** The words: where they are used as names, too, nothing more is reported. */
  readonly words: ReadonlySet<string>;
}

/** E115. */
export function reservedName(token: IToken, span: Span): Diagnostic {
  return error(
    "E115",
    `\`${token.image}\` is a word of the language and cannot be a name`,
    { span, message: "a reserved word" },
    { help: `choose another name, such as \`${token.image}_\`` },
  );
}

const declarations: ReadonlySet<TokenType> = new Set(declarationWords);
const afterUse: ReadonlySet<TokenType> = new Set([OpenSquare, CloseSquare, CloseParen, CloseBrace, Comma, Dot, Define]);

const declaring: ReadonlySet<TokenType> = new Set([Let, Var, Fn, RecipeWord, Const]);

/** After a dot any word is a name. */
export function membersAsNames(tokens: readonly IToken[]): readonly IToken[] {
  return tokens.map((token, at) =>
    tokens[at - 1]?.tokenType === Dot && reservedWords.has(token.image) ? asName(token) : token,
  );
}

function asName(token: IToken): IToken {
  return { ...token, tokenType: Name, tokenTypeIdx: Name.tokenTypeIdx ?? 0 };
}

/** Finds the words that are declared as names: after `let` and its like, as parameters, as indices on the left. */
export function renameReserved(tokens: readonly IToken[], spanOf: (token: IToken) => Span): Renamed {
  const diagnostics: Diagnostic[] = [];
  const words = new Set<string>();
  /** Whether the list of parameters of a declaration is open, and how many brackets are open in it. */
  let parameters: number | null = null;
  /** The words of this declaration. */
  let used = new Set<string>();
  const result = tokens.map((token, at) => {
    const [before, previous, next] = [tokens[at - 2], tokens[at - 1], tokens[at + 1]];
    const [type, last, following] = [token.tokenType, previous?.tokenType, next?.tokenType];
    if (type === OpenParen && (before?.tokenType === Fn || before?.tokenType === RecipeWord)) parameters = 0;
    if (parameters !== null) {
      if (type === OpenParen || type === OpenSquare) parameters += 1;
      if (type === CloseParen || type === CloseSquare) parameters -= 1;
      if (parameters === 0) parameters = null;
    }
    if (declarations.has(type)) used = new Set();
    if (token.tokenType === Name || !reservedWords.has(token.image) || last === undefined) return token;
    const declared =
      declaring.has(last) ||
      ((last === For || last === Scan) && following === In) ||
      (parameters === 1 && type !== Var && (last === OpenParen || last === Comma || last === Var)) ||
      ((last === Where || last === Comma) && following === OpenSquare && isDefinition(tokens, at + 1)) ||
      (last === OpenSquare && isDefinition(tokens, at - 1) && isIndex(tokens, at - 3)) ||
      (last === Comma && following === Define && beginsWithLet(tokens, at));
    if (!declared)
      return next !== undefined && used.has(token.image) && isUse(tokens, at, next) ? asName(token) : token;
    used.add(token.image);
    words.add(token.image);
    diagnostics.push(reservedName(token, spanOf(token)));
    return asName(token);
  });
  return { tokens: result, diagnostics, words };
}

/** Whether `[...]` that begins here is followed by `=`: the indices of a definition. */
function isDefinition(tokens: readonly IToken[], open: number): boolean {
  let at = open + 1;
  while (at < open + 16 && tokens[at] !== undefined && tokens[at]?.tokenType !== CloseSquare) at += 1;
  return tokens[at]?.tokenType === CloseSquare && tokens[at + 1]?.tokenType === Define;
}

/** Whether what stands here makes the name after it a definition's. */
function isIndex(tokens: readonly IToken[], at: number): boolean {
  const type = tokens[at]?.tokenType;
  return type === Let || type === Where || type === Comma;
}

function beginsWithLet(tokens: readonly IToken[], from: number): boolean {
  let at = from - 1;
  while (tokens[at]?.tokenType === Comma || tokens[at]?.tokenType === Name) at -= 1;
  return tokens[at]?.tokenType === Let;
}

/** Whether a word that was declared as a name is the name here, and not what it means in the language. */
function isUse(tokens: readonly IToken[], at: number, next: IToken): boolean {
  const line = tokens[at]?.startLine ?? 0;
  const infix = next.tokenType.CATEGORIES?.includes(Infix) ?? false;
  // the last word of a line can begin nothing
  if (!afterUse.has(next.tokenType) && !infix) return (next.startLine ?? line) > line;
  const reduces = tokens[at]?.tokenType.CATEGORIES?.includes(Reduction) ?? false;
  if (!reduces || next.tokenType !== OpenSquare) return true;
  let depth = 0;
  for (let end = at + 1; end < tokens.length; end += 1) {
    if (tokens[end]?.tokenType === OpenSquare) depth += 1;
    if (tokens[end]?.tokenType === CloseSquare) depth -= 1;
    if (depth > 0) continue;
    const after = tokens[end + 1];
    const goesOn = after?.startLine === tokens[end]?.startLine && after?.tokenType !== Minus;
    return !(after && goesOn && beginsExpression(after));
  }
  return true;
}
