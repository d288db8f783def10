/**
 * Small faults, such as a slip of the pen would make, for `mutate.ts` to plant one at a time. They were chosen from the
 * sources alone, before it was looked at which tests there are.
 */

/**
 * A fault: a text that stands exactly once in the sources, and what takes its place. `$a` in it is any name, the same
 * wherever it stands in both; spaces and lines are as the formatter will have them. So a fault outlives a renaming.
 */
export interface Mutation {
  readonly name: string;
  readonly text: string;
  readonly replacement: string;
  /** The test file that noticed it last, from the folder of the tests, without its ending: it is tried first. */
  readonly by: string;
}

export const mutations: readonly Mutation[] = [
  // --- compiler ---
  {
    name: "an index that may equal its divisor is taken for one below it",
    text: "if ($a.low < 0 || $a.high >= $b.low) return null;",
    replacement: "if ($a.low < 0 || $a.high > $b.low) return null;",
    by: "property/agreement",
  },
  {
    name: "a 2:4 mask counts as 2:8",
    text: "return m2 % m === 0 && n * (m2 / m) <= n2;",
    replacement: "return m2 % m === 0 && n <= n2;",
    by: "check/pattern",
  },
  {
    name: "an update in place, though its base is read afterwards",
    text: "=> $own.has($id) && $last.get($id) === $at;",
    replacement: "=> $own.has($id) && ($last.get($id) ?? 0) >= $at;",
    by: "graph/passes/copies",
  },
  {
    name: "in a tile, tokens see columns past the end of their range",
    text: "{ from: $all.from === null ? null : $own.from, to: $own.to }",
    replacement: "{ from: $all.from === null ? null : $own.from, to: $all.to }",
    by: "lower/unwritten",
  },
  {
    name: "in a matvec, the weight is subtracted from its zero point",
    text: '$build.bind("w", $stored.zero === null ? $entry.value : k.sub($entry.value, $stored.zero))',
    replacement: '$build.bind("w", $stored.zero === null ? $entry.value : k.sub($stored.zero, $entry.value))',
    by: "lower/product/products",
  },
  {
    name: "of several largest elements, parts of an argmax take the last",
    text: "k.and(k.equal(otherValue!, value!), k.less(otherBest, best))",
    replacement: "k.and(k.equal(otherValue!, value!), k.greater(otherBest, best))",
    by: "lower/functions",
  },
  {
    name: "columns of a smaller group are taken for fewer of a larger one than they are",
    text: "return { $group, low: $own.low, high: $own.high + $group - $own.group };",
    replacement: "return { $group, low: $own.low, high: $own.high };",
    by: "lower/scan/columns",
  },
  {
    name: "WGSL loses the parentheses of a - (b - c)",
    text: "wrap(right, (strength + 1) as Strength)",
    replacement: "wrap(right, strength)",
    by: "wgsl/emit",
  },
  {
    name: "what a kernel reads of a buffer that it writes counts as the same for a subgroup",
    text: "return $writable.has($a.buffer) ? 0 : $index;",
    replacement: "return $writable.has($a.buffer) ? subgroup : $index;",
    by: "kernel/uniform",
  },
  {
    name: "the memory of a tensor is free for others before it is read for the last time",
    text: 'if ($last === $at && $buffer.role === "temporary") $steps.push(',
    replacement: 'if ($last - 1 === $at && $buffer.role === "temporary") $steps.push(',
    by: "plan/memory",
  },
  // --- formats ---
  {
    name: "subnormal halves round ties up",
    text: "return (whole + (1 << (shift - 1)) - 1 + ((whole >>> shift) & 1)) >>> shift;",
    replacement: "return (whole + (1 << (shift - 1))) >>> shift;",
    by: "formats/half",
  },
  {
    name: "the highest zero point is read as 0",
    text: 'convert("f32", modulo(code, 2 ** grid.bits))',
    replacement: 'convert("f32", modulo(code, 2 ** grid.bits - 1))',
    by: "formats/device",
  },
  {
    name: "a weight that rounds to the code of zero still takes a place among the n of m",
    text: "for (let $at = 0, $fill = $n - $kept; $at < $m; $at += 1) {",
    replacement: "for (let $at = 0, $fill = $n - nonzeros; $at < $m; $at += 1) {",
    by: "formats/laws",
  },
  {
    name: "q6_k does not try the smallest of its scales",
    text: "for (let shift = -9; shift <= 9; shift += 1) {",
    replacement: "for (let shift = -8; shift <= 9; shift += 1) {",
    by: "formats/blocks",
  },
  // --- runtime ---
  {
    name: "a token between two calibration windows is left out",
    text: "const tokens = text.slice(at * own, (at + 1) * own);",
    replacement: "const tokens = text.slice(at * window, at * window + own);",
    by: "llama/inference/windows",
  },
  {
    name: "parts of a vocabulary are added without regard to their largest logits",
    text: "sum + (part.total[at] ?? 0) * Math.exp((part.highest[at] ?? -Infinity) - highest)",
    replacement: "sum + (part.total[at] ?? 0)",
    by: "llama/model",
  },
  {
    name: "the halves of a head of a GGUF file are swapped",
    text: "return $row - $within + 2 * ($within % $half) + Math.floor($within / $half);",
    replacement: "return $row - $within + 2 * ($within % $half) + 1 - Math.floor($within / $half);",
    by: "model/gguf/tensors",
  },
  {
    name: "what the compiler notes of a recipe is not passed on",
    text: "for (const line of fit.notes) note(`note: ${line}`);",
    replacement: "",
    by: "cli/notes",
  },
  {
    name: "a write that ends within a word loses the bytes beside it",
    text: "whole.set(await readBuffer(gpu, buffer, end - word, word), whole.length - word);",
    replacement: "whole.set(await readBuffer(gpu, buffer, end - word, word), 0);",
    by: "runtime/transfer",
  },
  {
    name: "between the low and the high frequencies of a llama3 rotary embedding, the ends are swapped",
    text: "return ((1 - $kept) * $frequency) / $factor + $kept * $frequency;",
    replacement: "return ($kept * $frequency) / $factor + (1 - $kept) * $frequency;",
    by: "llama/inference/windows",
  },
  // --- the standard library ---
  {
    name: "rotary embeddings turn the other way",
    text: "select(h < head / 2, -1.0, 1.0)",
    replacement: "select(h < head / 2, 1.0, -1.0)",
    by: "stdlib/llama",
  },
  {
    name: "GPTQ in another order takes the scales of the columns' new places",
    text: "let q[n] = nearest(w[n, k], s[n, order[k] / group], low, high)",
    replacement: "let q[n] = nearest(w[n, k], s[n, k / group], low, high)",
    by: "stdlib/reference",
  },
  {
    name: "Wanda takes the squares of the features' norms",
    text: "fn wanda(w: f32[N, K], x2: f32[K]) -> f32[N, K] { return s where s[n, k] = abs(w[n, k]) * sqrt(x2[k])",
    replacement: "fn wanda(w: f32[N, K], x2: f32[K]) -> f32[N, K] { return s where s[n, k] = abs(w[n, k]) * x2[k]",
    by: "stdlib/methods",
  },
  {
    name: "the same random numbers at each position",
    text: "settings[places[b], 3] + u32(positions[b]) * 2654435769",
    replacement: "settings[places[b], 3] + u32(positions[b] - positions[b])",
    by: "stdlib/llama",
  },
];
