/** Programs of a product and what reads it, and what becomes of them. */
import type { CompileOptions } from "../../compiler/compile.js";
import { graphOf } from "../check/support.js";
import { agreeSimulated, expectedOf, type Case, type Simulated } from "../support/agreement.js";
import { simulated } from "../support/simulated.js";
import { targets } from "../support/targets.js";
import { graphCase } from "./support.js";

export const large: Simulated = {
  target: { ...targets["a GPU with subgroups of 32"], f16: true, maxBinding: 2 ** 30 },
  subgroupSize: 32,
};
/** GPUs of all kinds. */
export const gpus: readonly Simulated[] = simulated
  .filter(({ target }) => target.kind === "gpu")
  .map(({ target, subgroupSize }) => ({ target: { ...target, f16: true }, subgroupSize }));

export type Schedule = "matvec" | "dot";

export const inputs = `x: X[B, T, K], w: f32[heads * head, K] as F, bias: f32[heads * head], angle: f32[B, T, head],
  positions: i32[B], pages: i32[B, 3], var cache: E[B, C, heads, head], var pool: E[3 * B, 4, heads, head]`;

/** A program of a product y and more; */
export const main = (result: string, body: string, given = inputs): string =>
  `fn main(${given}, heads: size, head: size) -> ${result} {\n${body}\n}`;

export const product = "let y[b, t, n] = Y(sum[k] f32(x[b, t, k]) * w[n, k])";
export const own = "f32(y[b, t, a * head + h])";
const other = "f32(y[b, t, a * head + (h + head / 2) % head])";
export const turned = `(${own} * angle[b, t, h] - 2.0 * ${other} * angle[b, t, (h + 1) % head])`;
export const ranges = "for a in 0 .. heads, h in 0 .. head";

/** What reads a product: statements with its result, and whether an element reads one half a head away. */
export const readers = {
  rotation: {
    half: true,
    result: "E[B, T, heads, head]",
    body: `return z where z[b, t, a, h] = E(${turned}) ${ranges}`,
  },
  "a rotation of heads before tokens": {
    half: true,
    result: "E[B, heads, T, head]",
    body: `return z where z[b, a, t, h] = E(${turned}) ${ranges}`,
  },
  "a rotation into a cache": {
    half: true,
    result: "f32[B]",
    body: `cache[b, positions[b] + t, a, h] = E(${turned}) ${ranges}\nreturn s where s[b] = f32(positions[b])`,
  },
  "a rotation into pages": {
    half: true,
    result: "f32[B]",
    body: `pool[pages[b, (positions[b] + t) / 4], (positions[b] + t) % 4, a, h] = E(${turned}) ${ranges}
  return s where s[b] = f32(positions[b])`,
  },
  "a write to a cache": {
    half: false,
    result: "f32[B]",
    body: `cache[b, positions[b] + t, a, h] = E(${own}) ${ranges}\nreturn s where s[b] = f32(positions[b])`,
  },
  "a sum onto a cache": {
    half: false,
    result: "f32[B]",
    body: `cache[b, positions[b] + t, a, h] += E(${own}) ${ranges}\nreturn s where s[b] = f32(positions[b])`,
  },
  "a map of the elements in another order": {
    half: false,
    result: "f32[T, heads * head, B]",
    body: "return z where z[t, n, b] = f32(y[b, t, n]) - f32(y[b, t, n])^2 * bias[n]",
  },
  "a map of its halves": {
    half: true,
    result: "E[B, T, heads * head]",
    body: `return z where z[b, t, n] = E(f32(y[b, t, (n + heads * head / 2) % (heads * head)]) + 3.0 * f32(y[b, t, n]))
  for n in 0 .. heads * head`,
  },
} as const;
export type Reader = keyof typeof readers;
export const names = Object.keys(readers) as readonly Reader[];

export interface Choice {
  readonly reader: Reader;
  readonly schedule: Schedule;
  readonly Y?: "f16" | "f32";
  readonly format?: string;
  readonly sizes?: Readonly<Record<string, number>>;
  readonly product?: string;
  readonly device?: Simulated;
  readonly options?: CompileOptions;
}

export function caseOf(source: string, { schedule, Y = "f16", format, sizes = {} }: Omit<Choice, "reader">): Case {
  const X = schedule === "dot" ? "f32[B, T, K] as A" : "E[B, T, K]";
  const text = source.replaceAll("X[B, T, K]", X).replaceAll(/\bY\b/g, Y === "f16" ? "E" : "f32");
  const bound = { B: 1, T: 1, K: 128, C: 9, heads: 2, head: 16, ...sizes };
  const formats = { A: "int8(64, scale: f32)", F: format ?? (schedule === "dot" ? "int4(32)" : "f16") };
  return graphCase(graphOf(text, "main"), { sizes: bound, formats, dtype: "f16" }, "half", {
    positions: Array.from({ length: bound.B }, (_, at) => at),
    // some pages are nobody's: what is written there is dropped
    pages: Array.from({ length: bound.B * 3 }, (_, at) => (at % 4 === 2 ? -1 : at)),
  });
}

/** The kernels by what they compute, with their schedules, after the results were held to what a program means. */
export function kernels(source: string, choice: Omit<Choice, "reader">): readonly string[] {
  const given = caseOf(source, choice);
  const stages = agreeSimulated(given, expectedOf(given), choice.device ?? large, choice.options);
  return stages.kernels.flat().map(({ name, origin }) => `${name.replace("main_", "")} ${origin.schedule}`);
}

export const program = ({ reader, product: written = product }: Choice): string =>
  main(readers[reader].result, `${written}\n${readers[reader].body}`);

/** Whether the product computes its reader, after the results were held to what they are. */
export function follows(choice: Choice): boolean {
  const found = kernels(program(choice), choice);
  return found.some((each) => /^y_\w+ (dot|lookup|matvec)$/.test(each));
}

/** How a matvec of few rows may be cut. */
export const matvecCut = { kind: "matvec", lanes: 32, teams: 4, rows: 1, unroll: 1, turns: 1 } as const;
