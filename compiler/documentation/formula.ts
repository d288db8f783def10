/** Mathematics as a tree: what an equation is before it is written as MathML or TeX. */

export type Formula =
  | { readonly kind: "name"; readonly text: string }
  | { readonly kind: "number"; readonly text: string }
  /** Between two others: `+`, `≤`, `←`. */
  | { readonly kind: "operator"; readonly text: Operator }
  /** Upright, as `log`; also the words of a sentence. */
  | { readonly kind: "word"; readonly text: string }
  | { readonly kind: "space" }
  | { readonly kind: "row"; readonly parts: readonly Formula[] }
  | { readonly kind: "fenced"; readonly open: Fence; readonly close: Fence; readonly body: Formula }
  | { readonly kind: "fraction"; readonly above: Formula; readonly below: Formula }
  | { readonly kind: "root"; readonly body: Formula }
  | { readonly kind: "power"; readonly base: Formula; readonly exponent: Formula }
  | { readonly kind: "subscript"; readonly base: Formula; readonly below: Formula }
  /** `∑`, or a word such as `max`, over indices. */
  | { readonly kind: "over"; readonly what: "∑" | string; readonly below: Formula; readonly above: Formula | null }
  /** A value for each condition; the last, without one, otherwise. */
  | { readonly kind: "cases"; readonly cases: readonly { readonly value: Formula; readonly when: Formula | null }[] };

/** Each with its command in TeX. */
export const operators = {
  "+": "+",
  "−": "-",
  "·": "\\cdot",
  "/": "/",
  "⊙": "\\odot",
  "=": "=",
  "←": "\\leftarrow",
  "≠": "\\ne",
  "<": "<",
  "≤": "\\le",
  ">": ">",
  "≥": "\\ge",
  "∧": "\\land",
  "∨": "\\lor",
  "¬": "\\lnot",
  "∈": "\\in",
  "∇": "\\nabla",
  ":": ":",
  ",": ",",
  "…": "\\dots",
} as const;

export type Operator = keyof typeof operators;

/** Each with its command in TeX. */
export const fences = {
  "(": "(",
  ")": ")",
  "|": "|",
  "⌊": "\\lfloor",
  "⌋": "\\rfloor",
  "⌈": "\\lceil",
  "⌉": "\\rceil",
} as const;

export type Fence = keyof typeof fences;

export const name = (text: string): Formula => ({ kind: "name", text });
export const number = (text: string): Formula => ({ kind: "number", text });
export const operator = (text: Operator): Formula => ({ kind: "operator", text });
export const word = (text: string): Formula => ({ kind: "word", text });
export const space: Formula = { kind: "space" };
export const row = (...parts: readonly Formula[]): Formula =>
  parts.length === 1 && parts[0] !== undefined ? parts[0] : { kind: "row", parts };
export const fenced = (open: Fence, body: Formula, close: Fence): Formula => ({ kind: "fenced", open, close, body });
export const power = (base: Formula, exponent: Formula): Formula => ({ kind: "power", base, exponent });
export const subscript = (base: Formula, below: Formula): Formula => ({ kind: "subscript", base, below });
export const fraction = (above: Formula, below: Formula): Formula => ({ kind: "fraction", above, below });

/** Formulas with commas between. */
export function listed(formulas: readonly Formula[]): Formula {
  return row(...formulas.flatMap((each, at) => (at === 0 ? [each] : [operator(","), each])));
}

/** A line of an equation; those of a loop's body stand deeper. */
export interface Line {
  readonly depth: number;
  readonly formula: Formula;
}
