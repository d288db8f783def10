/** The names that the language itself has, each with a line of what it is. */
import type { Format } from "../formats/format.js";
import { formats } from "../formats/registry.js";
import { dtypes } from "../types/dtype.js";
import { reservedWords } from "../syntax/tokens.js";

/** Something built in. */
export interface Builtin {
  readonly name: string;
  readonly kind: "operation" | "reduction" | "dtype" | "type" | "format" | "keyword";
  /** How it is written. */
  readonly form: string;
  readonly what: string;
}

const operations: Readonly<Record<string, readonly [form: string, what: string]>> = {
  abs: ["abs(x)", "the absolute value"],
  sign: ["sign(x)", "-1, 0 or 1"],
  sqrt: ["sqrt(x)", "the square root"],
  rsqrt: ["rsqrt(x)", "1 / sqrt(x)"],
  exp: ["exp(x)", "e to the power of x"],
  log: ["log(x)", "the natural logarithm"],
  sin: ["sin(x)", "the sine"],
  cos: ["cos(x)", "the cosine"],
  tanh: ["tanh(x)", "the hyperbolic tangent"],
  floor: ["floor(x)", "the largest whole number that is not larger"],
  ceil: ["ceil(x)", "the smallest whole number that is not smaller"],
  round: ["round(x)", "the nearest whole number, halves to even"],
  round_f16: ["round_f16(x)", "the nearest f16 value, kept as f32"],
  bits: ["bits(x)", "the bits of an f32 as a u32"],
  from_bits: ["from_bits(x)", "the f32 of these bits"],
  stop: ["stop(x)", "x, whose gradient ends here"],
  min: ["min(a, b)", "the smaller of two"],
  max: ["max(a, b)", "the larger of two"],
  bit_and: ["bit_and(a, b)", "the bits that both have"],
  bit_or: ["bit_or(a, b)", "the bits that one of both has"],
  bit_xor: ["bit_xor(a, b)", "the bits that one of both has, and not the other"],
  shift_left: ["shift_left(a, b)", "bits moved to the left"],
  shift_right: ["shift_right(a, b)", "bits moved to the right"],
  straight_through: ["straight_through(x, q)", "q; its gradient is that of x"],
  select: ["select(condition, a, b)", "a where the condition holds, else b"],
  cholesky: ["cholesky(a)", "the lower triangular l with l l^T = a, for a positive definite a"],
  inverse_lower: ["inverse_lower(l)", "the inverse of a lower triangular matrix"],
  eigenvectors: ["eigenvectors(a)", "the eigenvectors of a symmetric a, as columns, the largest eigenvalue first"],
  windows: ["windows(text)", "how many windows the calibration text has"],
  parameter: ["parameter(x)", "within a training, a tensor that begins as x and is trained"],
  perplexity: ["perplexity(model, text)", "of the model as it is now; of `model.dense` as it was given"],
};

const reductions: Readonly<Record<string, string>> = {
  sum: "the sum over the indices",
  max: "the largest",
  min: "the smallest",
  mean: "the mean",
  any: "whether it holds for any",
  all: "whether it holds for all",
  argmax: "the index of the largest, the lowest of equals",
  count: "for how many it holds",
  softmax_mean: "the mean of the body, weighted by the exponentials of the scores",
};

const types: Readonly<Record<string, string>> = {
  mask: "true where an element is kept",
  size: "a whole number that is known when compiling",
  llama: "the model of a recipe",
  tokens: "the calibration text of a recipe",
};

/** All of them; some names are twice, `max[k] x[k]` and `max(a, b)`. */
export const builtins: readonly Builtin[] = [
  ...Object.entries(operations).map(([name, [form, what]]): Builtin => ({ name, kind: "operation", form, what })),
  ...Object.entries(reductions).map(
    ([name, what]): Builtin => ({
      name,
      kind: "reduction",
      form: name === "softmax_mean" ? "softmax_mean[k](score[k], x[k])" : `${name}[k] x[k]`,
      what,
    }),
  ),
  ...dtypes.map(
    (name): Builtin => ({ name, kind: "dtype", form: name, what: "the type of elements, and a conversion to it" }),
  ),
  ...Object.entries(types).map(([name, what]): Builtin => ({ name, kind: "type", form: name, what })),
  ...formats.map(
    (format): Builtin => ({
      name: format.name,
      kind: "format",
      form: formatForm(format),
      what: "how a tensor is stored",
    }),
  ),
  ...[...reservedWords]
    .filter((word) => !(word in reductions))
    .map((name): Builtin => ({ name, kind: "keyword", form: name, what: "a word of the language" })),
];

function formatForm({ name, parameters, example }: Format): string {
  const composed = example.includes(" of ") ? " of ..." : "";
  const args = parameters.length === 0 ? "" : `(${parameters.map((parameter) => parameter.name).join(", ")})`;
  return `${name}${args}${composed}`;
}

/** What the model, a block and a layer of a recipe have. */
export const members: Readonly<Record<string, readonly (readonly [name: string, what: string])[]>> = {
  model: [
    ["blocks", "the blocks of the model, in order"],
    ["linears", "the linear layers of all blocks"],
    ["embedding", "the table that tokens are embedded by, [N, K]: a loop over it alone"],
    ["head", "the weight of the output layer, [N, K]: a loop over it alone"],
    ["tables", "embedding and head; one where they are tied"],
    ["norms", "the gains of all norms, [K] each"],
    ["biases", "the biases of all linear layers, [K] each"],
    ["dense", "the model as it was given"],
  ],
  block: [
    ["linears", "the linear layers of the block"],
    ["norms", "the gains of the block's norms, [K] each"],
    ["biases", "the biases of the block's linear layers, [K] each"],
    ["inputs", "what the linear layers of the block receive: each with the weights of all that read it, as one"],
  ],
  layer: [
    ["dense", "the weight of the model as it was given"],
    ["packed", "the weight as it is stored, without a correction beside it"],
    ["left", "a of its correction `lowrank(a, b)`: [N, R]"],
    ["right", "b of its correction `lowrank(a, b)`: [R, K]"],
    ["start", "within a training, the weight as it was when that began"],
    ["step", "within a training, how many steps have been made"],
    ["steps", "within a training, how many steps it makes"],
    ["number", "the place of the layer among those of the model, from 0"],
  ],
};
