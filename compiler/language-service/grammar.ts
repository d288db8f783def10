/** The colours of the language for editors and pages: a TextMate grammar, made of the lexer's words. */
import { reductionWords, reservedWords } from "../syntax/tokens.js";
import { builtins } from "./builtins.js";

/** A rule of a grammar: https://macromates.com/manual/en/language_grammars. */
export interface Rule {
  readonly name?: string;
  readonly match: string;
  readonly captures?: Readonly<Record<string, { readonly name: string }>>;
}

/** The words of each colour; every word of the language has one. */
const words: readonly (readonly [scope: string, words: readonly string[]])[] = [
  [
    "keyword.control.espalier",
    [
      "for",
      "in",
      "if",
      "else",
      "return",
      "scan",
      "train",
      "expect",
      "save",
      "store",
      "measure",
      "print",
      "permute",
      "retain",
    ],
  ],
  ["storage.type.espalier", ["fn", "recipe", "const", "let", "var"]],
  ["keyword.operator.word.espalier", ["and", "or", "not", "where", "matches", "is", "plus"]],
  ["constant.language.espalier", ["true", "false"]],
  ["support.function.reduction.espalier", [...reductionWords, "softmax_mean"]],
];

/** The grammar of the language. */
export interface Grammar {
  readonly name: string;
  readonly scopeName: string;
  readonly fileTypes: readonly string[];
  readonly patterns: readonly Rule[];
}

/** The grammar as it is written to a file. */
export function textMateGrammar(): Grammar {
  const coloured = new Set(words.flatMap(([, each]) => each));
  const others = [...reservedWords].filter((word) => !coloured.has(word));
  const named = (kinds: readonly string[]): readonly string[] => [
    ...new Set(builtins.filter(({ kind }) => kinds.includes(kind)).map(({ name }) => name)),
  ];
  const rules: readonly Rule[] = [
    { name: "comment.line.documentation.espalier", match: "///.*$" },
    { name: "comment.line.double-slash.espalier", match: "//.*$" },
    { name: "string.quoted.double.espalier", match: '"(?:[^"\\\\]|\\\\["\\\\])*"' },
    { name: "constant.numeric.espalier", match: "\\b(?:0[xX][0-9a-fA-F]+|\\d+(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\b" },
    {
      match: "\\b(fn|recipe)\\s+([A-Za-z_]\\w*)",
      captures: { 1: { name: "storage.type.espalier" }, 2: { name: "entity.name.function.espalier" } },
    },
    // after a dot a word is a name
    { match: "\\.\\s*([A-Za-z_]\\w*)", captures: { 1: { name: "variable.other.member.espalier" } } },
    ...words.map(([name, each]) => ({ name, match: wordsOf(each) })),
    { name: "keyword.other.espalier", match: wordsOf(others) },
    { name: "storage.type.dtype.espalier", match: wordsOf(named(["dtype", "type"])) },
    { name: "support.type.format.espalier", match: wordsOf(named(["format"])) },
    { name: "support.function.espalier", match: `${wordsOf(named(["operation"]))}(?=\\s*\\()` },
    { name: "entity.name.function.call.espalier", match: "\\b[A-Za-z_]\\w*(?=\\s*\\()" },
    { name: "keyword.operator.espalier", match: "->|\\+=|-=|==|!=|<=|>=|\\.\\.|[-+*/%^<>=]" },
  ];
  return { name: "Espalier", scopeName: "source.espalier", fileTypes: ["esp"], patterns: rules };
}

function wordsOf(list: readonly string[]): string {
  return `\\b(?:${list.join("|")})\\b`;
}
