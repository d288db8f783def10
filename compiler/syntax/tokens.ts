import { createToken, Lexer, type ITokenConfig, type TokenType } from "chevrotain";

/**
 * The words and marks of the language [L-2]. Operators carry their precedence in `infixOperators`; the grammar only
 * knows the category `Infix`.
 */

/**
 * A comment to the end of the line, `///` for documentation. Kept apart from the tokens and given back by the printer.
 */
export const Comment = createToken({ name: "Comment", pattern: /\/\/[^\r\n]*/, group: "comments" });
const Blank = createToken({ name: "Blank", pattern: /[ \t\r\n\uFEFF]+/, group: Lexer.SKIPPED, line_breaks: true });

/** Letters, digits and `_`, not starting with a digit, and no keyword (but after a `.`). */
export const Name = createToken({ name: "Name", pattern: /[A-Za-z_][A-Za-z0-9_]*/ });

/**
 * The name that begins an update `w[n] = ...`: distinguished from other names before parsing, so that recovery finds
 * statements.
 */
export const UpdateName = createToken({ name: "UpdateName", pattern: Lexer.NA, categories: [Name] });

/** A number run together with letters, `1.0f` or `1_000`: reported, then read as a number. */
export const BadNumeral = createToken({
  name: "BadNumeral",
  pattern: /(?:\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|0[xX])[A-Za-z_][A-Za-z0-9_]*/,
});
/** `12`, `0xff`, `0.5`, `1e-5`. */
export const Numeral = createToken({
  name: "Numeral",
  pattern: /0[xX][0-9a-fA-F]+|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/,
  longer_alt: BadNumeral,
});
BadNumeral.CATEGORIES = [Numeral];
/** `"text"`, with `\"` and `\\`. */
export const Text = createToken({ name: "Text", pattern: /"(?:[^"\\\r\n]|\\["\\])*"/ });
/** A string without its closing quote, or with an unknown escape: reported, then read as a string. */
export const BadText = createToken({
  name: "BadText",
  pattern: /"(?:[^"\\\r\n]|\\[^\r\n])*(?:"|\\?(?=[\r\n]|$))/,
  categories: [Text],
});

/**
 * Comments, strings and marks of other languages: reported, then left out or read as what they mean, before parsing.
 */
export const HashComment = createToken({ name: "HashComment", pattern: /#[^\r\n]*/ });
export const BlockComment = createToken({
  name: "BlockComment",
  pattern: /\/\*(?:[^*]|\*(?!\/))*(?:\*\/)?/,
  line_breaks: true,
});
export const ForeignText = createToken({
  name: "ForeignText",
  pattern: /'[^'\r\n]*'|[“”„«][^“”»"\r\n]*[“”»"]|[‘’][^‘’'\r\n]*[‘’']/,
  categories: [Text],
});
export const ForeignMark = createToken({
  name: "ForeignMark",
  pattern: /&&?|\|\|?|!==|!(?!=)|\*\*|===|=>|<>|::|:=|\.\.[.=<]|[;?@~≤≥≠×·⋅÷−–→]/,
});

/** Any operator between two operands. */
export const Infix = createToken({ name: "Infix", pattern: Lexer.NA });
/** `=`, `+=`, `-=`. */
export const Assign = createToken({ name: "Assign", pattern: Lexer.NA });
/** `sum`, `max`, ...: a reduction before `[`, a function before `(`. */
export const Reduction = createToken({ name: "Reduction", pattern: Lexer.NA });

function keyword(word: string, categories: readonly TokenType[] = []): TokenType {
  return createToken({
    name: word[0]?.toUpperCase() + word.slice(1),
    pattern: word,
    longer_alt: Name,
    categories: [...categories],
  });
}

function mark(name: string, pattern: string, more: Partial<ITokenConfig> = {}): TokenType {
  return createToken({ name, pattern, ...more });
}

export const Use = keyword("use");
export const Const = keyword("const");
export const Fn = keyword("fn");
export const RecipeWord = keyword("recipe");
export const Let = keyword("let");
export const Var = keyword("var");
export const Scan = keyword("scan");
export const For = keyword("for");
export const In = keyword("in");
export const Return = keyword("return");
export const If = keyword("if");
export const Else = keyword("else");
export const Train = keyword("train");
export const Store = keyword("store");
export const Measure = keyword("measure");
export const Print = keyword("print");
export const Permute = keyword("permute");
export const Retain = keyword("retain");
export const As = keyword("as");
export const Expect = keyword("expect");
export const Save = keyword("save");
export const Where = keyword("where", [Infix]);
export const Matches = keyword("matches", [Infix]);
/** `plus` before `lowrank`, a name elsewhere. */
const PlusWord = createToken({ name: "PlusWord", pattern: /plus(?=[ \t\r\n]+lowrank\b)/, categories: [Infix] });
/** `scale` before what is scaled, a name elsewhere; `through` before what takes the scale. */
export const ScaleWord = createToken({
  name: "ScaleWord",
  pattern: /scale(?=[ \t\r\n]+(?!gradient\b)[A-Za-z_]\w*[ \t\r\n]+by\b)/,
});
/** `round` before what is rounded, a name elsewhere. */
export const RoundWord = createToken({ name: "RoundWord", pattern: /round(?=[ \t\r\n]+[A-Za-z_]\w*[ \t\r\n]+as\b)/ });
export const ThroughWord = createToken({ name: "ThroughWord", pattern: /through(?=[ \t\r\n]*")/, categories: [Infix] });
export const And = keyword("and", [Infix]);
export const Or = keyword("or", [Infix]);
export const Not = keyword("not");
export const True = keyword("true");
export const False = keyword("false");
export const Top = keyword("top");
export const Of = keyword("of");
export const Along = keyword("along");
export const Pack = keyword("pack");
export const Unpack = keyword("unpack");
export const With = keyword("with");
export const Gradient = keyword("gradient");
export const Observe = keyword("observe");
export const On = keyword("on");
export const By = keyword("by");
export const Is = keyword("is");
export const Matching = keyword("matching");
export const Except = keyword("except");
/** The reductions, by their words. */
export const reductionWords: readonly string[] = ["sum", "max", "min", "mean", "any", "all", "argmax", "count"];
/** The reduction of two operands. */
export const SoftmaxMean = keyword("softmax_mean");
const reductions = reductionWords.map((word) => keyword(word, [Reduction]));

export const Arrow = mark("Arrow", "->");
export const AddTo = mark("AddTo", "+=", { categories: [Assign] });
export const SubtractFrom = mark("SubtractFrom", "-=", { categories: [Assign] });
export const Equal = mark("Equal", "==", { categories: [Infix] });
export const Define = mark("Define", "=", { categories: [Assign] });
export const Minus = mark("Minus", "-", { categories: [Infix] });
export const NotEqual = mark("NotEqual", "!=", { categories: [Infix] });
export const LessEqual = mark("LessEqual", "<=", { categories: [Infix] });
const Less = mark("Less", "<", { categories: [Infix] });
export const GreaterEqual = mark("GreaterEqual", ">=", { categories: [Infix] });
const Greater = mark("Greater", ">", { categories: [Infix] });
const Plus = mark("Plus", "+", { categories: [Infix] });
export const Times = mark("Times", "*", { categories: [Infix] });
export const Divide = mark("Divide", "/", { categories: [Infix] });
const Remainder = mark("Remainder", "%", { categories: [Infix] });
export const Power = mark("Power", "^", { categories: [Infix] });
const marks = [NotEqual, LessEqual, Less, GreaterEqual, Greater, Plus, Times, Divide, Remainder, Power];
export const Dots = mark("Dots", "..");
export const Dot = mark("Dot", ".");
export const Comma = mark("Comma", ",");
export const Colon = mark("Colon", ":");
export const OpenParen = mark("OpenParen", "(");
export const CloseParen = mark("CloseParen", ")");
export const OpenSquare = mark("OpenSquare", "[");
export const CloseSquare = mark("CloseSquare", "]");
export const OpenBrace = mark("OpenBrace", "{");
export const CloseBrace = mark("CloseBrace", "}");

const keywords = [
  Use,
  Const,
  Fn,
  RecipeWord,
  Let,
  Var,
  Scan,
  For,
  In,
  Return,
  If,
  Else,
  Train,
  Store,
  Measure,
  Print,
  Permute,
  Retain,
  As,
  Expect,
  Save,
  Where,
  Matches,
  Matching,
  And,
  Or,
  Not,
  True,
  False,
  Top,
  Of,
  Along,
  Pack,
  Unpack,
  With,
  Gradient,
  Observe,
  On,
  By,
  Is,
  Except,
  SoftmaxMean,
  ...reductions,
];

/** Every reserved word [L-3]. */
export const reservedWords: ReadonlySet<string> = new Set(keywords.map((word) => String(word.PATTERN)));

/** The tokens that begin a statement by themselves; an update begins with `UpdateName`. */
export const statementWords: readonly TokenType[] = [
  Let,
  Var,
  Scan,
  For,
  Return,
  If,
  Train,
  Store,
  Measure,
  Print,
  Permute,
  Retain,
  ScaleWord,
  RoundWord,
  Expect,
  Save,
];

/** The reserved words among them, as they are written. */
export const statementSpellings: readonly string[] = statementWords
  .map((word) => String(word.PATTERN))
  .filter((word) => reservedWords.has(word));

/** The tokens that begin a declaration. */
export const declarationWords: readonly TokenType[] = [Use, Const, Fn, RecipeWord];

/** All tokens, in the order the lexer tries them. */
export const tokens: readonly TokenType[] = [
  Blank,
  Comment,
  HashComment,
  BlockComment,
  Numeral,
  BadNumeral,
  Text,
  BadText,
  ForeignText,
  ForeignMark,
  ...keywords,
  PlusWord,
  ScaleWord,
  RoundWord,
  ThroughWord,
  Name,
  Arrow,
  AddTo,
  SubtractFrom,
  Equal,
  Define,
  Minus,
  ...marks,
  Dots,
  Dot,
  Comma,
  Colon,
  OpenParen,
  CloseParen,
  OpenSquare,
  CloseSquare,
  OpenBrace,
  CloseBrace,
  Infix,
  Assign,
  Reduction,
  UpdateName,
];

/**
 * How tightly operators bind [L-30], from loosest. `not` stands between `and` and comparison, reductions between `+`
 * and `*`.
 */
export const precedence = {
  plus: 0,
  or: 1,
  and: 2,
  not: 3,
  comparison: 4,
  where: 5,
  sum: 6,
  reduce: 7,
  product: 8,
  negate: 9,
  power: 10,
} as const;

/**
 * Precedence by the operator's text. `^` groups to the right, comparisons do not chain, the others group to the left.
 */
export const infixOperators: ReadonlyMap<string, number> = new Map<string, number>([
  ["plus", precedence.plus],
  ["or", precedence.or],
  ["and", precedence.and],
  ...["==", "!=", "<", "<=", ">", ">=", "matches"].map((text) => [text, precedence.comparison] as const),
  ["where", precedence.where],
  ["+", precedence.sum],
  ["-", precedence.sum],
  ["*", precedence.product],
  ["/", precedence.product],
  ["%", precedence.product],
  ["^", precedence.power],
]);
