/**
 * Small faults, such as a slip of the pen would make, for `mutate.ts` to plant one at a time. They were chosen from the
 * sources alone, before it was looked at which tests there are.
 */

/** A fault as an edit of a file: the text, which stands there exactly once, and what takes its place. */
export interface Mutation {
  readonly name: string;
  readonly file: string;
  readonly text: string;
  readonly replacement: string;
}

export const mutations: readonly Mutation[] = [
  // --- compiler ---
  {
    name: "an index that may equal its divisor is taken for one below it",
    file: "compiler/graph/passes/index-rules.ts",
    text: "if (a.low < 0 || a.high >= b.low) return null;",
    replacement: "if (a.low < 0 || a.high > b.low) return null;",
  },
  {
    name: "a 2:4 mask counts as 2:8",
    file: "compiler/check/pattern.ts",
    text: "return m2 % m === 0 && n * (m2 / m) <= n2;",
    replacement: "return m2 % m === 0 && n <= n2;",
  },
  {
    name: "an update in place, though its base is read afterwards",
    file: "compiler/graph/passes/copies.ts",
    text: "const ends = (id: ValueId): boolean => own.has(id) && last.get(id) === at;",
    replacement: "const ends = (id: ValueId): boolean => own.has(id) && (last.get(id) ?? 0) >= at;",
  },
  {
    name: "in a tile, tokens see columns past the end of their range",
    file: "compiler/lower/schedules/tiled.ts",
    text: "{ from: summed.from === null ? null : own.from, to: own.to }",
    replacement: "{ from: summed.from === null ? null : own.from, to: summed.to }",
  },
  {
    name: "in a matvec, the weight is subtracted from its zero point",
    file: "compiler/lower/schedules/matvec.ts",
    text: 'value: build.bind("w", stored.zero === null ? entry.value : k.sub(entry.value, stored.zero)),',
    replacement: 'value: build.bind("w", stored.zero === null ? entry.value : k.sub(stored.zero, entry.value)),',
  },
  {
    name: "of several largest elements, parts of an argmax take the last",
    file: "compiler/lower/toolkit/reduction.ts",
    text: "k.and(k.equal(otherValue!, value!), k.less(otherBest, best))",
    replacement: "k.and(k.equal(otherValue!, value!), k.greater(otherBest, best))",
  },
  {
    name: "columns of a smaller group are taken for fewer of a larger one than they are",
    file: "compiler/lower/scan/columns.ts",
    text: "return { group, low: relative.low, high: relative.high + group - relative.group };",
    replacement: "return { group, low: relative.low, high: relative.high };",
  },
  {
    name: "WGSL loses the parentheses of a - (b - c)",
    file: "compiler/wgsl/emit.ts",
    text: "wrap(right, (strength + 1) as Strength)",
    replacement: "wrap(right, strength)",
  },
  {
    name: "what a kernel reads of a buffer that it writes counts as the same for a subgroup",
    file: "compiler/kernel/uniform.ts",
    text: "return writable.has(a.buffer) ? 0 : index;",
    replacement: "return writable.has(a.buffer) ? subgroup : index;",
  },
  // --- formats ---
  {
    name: "subnormal halves round ties up",
    file: "compiler/float.ts",
    text: "return sign | ((significand + (1 << (shift - 1)) - 1 + ((significand >>> shift) & 1)) >>> shift);",
    replacement: "return sign | ((significand + (1 << (shift - 1))) >>> shift);",
  },
  {
    name: "the highest zero point is read as 0",
    file: "compiler/formats/code/scales.ts",
    text: 'convert("f32", modulo(code, 2 ** grid.bits))',
    replacement: 'convert("f32", modulo(code, 2 ** grid.bits - 1))',
  },
  {
    name: "a weight that rounds to the code of zero still takes a place among the n of m",
    file: "compiler/formats/nm/meaning.ts",
    text: "for (let at = 0, fill = n - kept; at < m; at += 1) {",
    replacement: "for (let at = 0, fill = n - nonzeros; at < m; at += 1) {",
  },
  {
    name: "q6_k tries a scale too few",
    file: "compiler/formats/q6_k/meaning.ts",
    text: "for (let shift = -9; shift <= 9; shift += 1) {",
    replacement: "for (let shift = -9; shift < 9; shift += 1) {",
  },
  // --- runtime ---
  {
    name: "a token between two calibration windows is left out",
    file: "runtime/llama/windows.ts",
    text: "const tokens = text.slice(at * own, (at + 1) * own);",
    replacement: "const tokens = text.slice(at * window, at * window + own);",
  },
  {
    name: "parts of a vocabulary are added without regard to their largest logits",
    file: "runtime/llama/inference/evaluate.ts",
    text: "sum + (part.total[at] ?? 0) * Math.exp((part.highest[at] ?? -Infinity) - highest)",
    replacement: "sum + (part.total[at] ?? 0)",
  },
  {
    name: "the halves of a head of a GGUF file are swapped",
    file: "runtime/model/gguf/tensors.ts",
    text: "const first = row - within + 2 * (within % half) + Math.floor(within / half);",
    replacement: "const first = row - within + 2 * (within % half) + 1 - Math.floor(within / half);",
  },
  {
    name: "what the compiler notes of a recipe is not passed on",
    file: "runtime/llama/compression/compress.ts",
    text: "for (const line of checkRecipe(caller, model, recipe)) note(`note: ${line}`);",
    replacement: "checkRecipe(caller, model, recipe);",
  },
  {
    name: "a write that ends within a word loses the bytes beside it",
    file: "runtime/device/transfer.ts",
    text: "whole.set(await readBuffer(gpu, buffer, end - word, word), whole.length - word);",
    replacement: "whole.set(await readBuffer(gpu, buffer, end - word, word), 0);",
  },
  // --- the standard library ---
  {
    name: "rotary embeddings turn the other way",
    file: "stdlib/llama.esp",
    text: "select(h < head / 2, -1.0, 1.0)",
    replacement: "select(h < head / 2, 1.0, -1.0)",
  },
  {
    name: "GPTQ in another order takes the scales of the columns' new places",
    file: "stdlib/gptq.esp",
    text: "let q[n] = nearest(w[n, k], s[n, order[k] / group], low, high)",
    replacement: "let q[n] = nearest(w[n, k], s[n, k / group], low, high)",
  },
];
