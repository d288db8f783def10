/**
 * Examples of functions. A sentence of a doc comment is one, and is run when the reference is written:
 * `wanda(w: [[3, -1], [0.5, 2]], x2: [1, 4])` is `[[3, 2], [0.5, 4]]`. Inputs that it does not give are made up of the
 * sizes that it gives. Results are the evaluator's.
 */
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { tensorValue } from "../../../compiler/graph/evaluate.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import type { Dtype } from "../../../compiler/types/dtype.js";
import { elementCount } from "../../../compiler/types/shape.js";
import { printSize } from "../../../compiler/types/size.js";
import { evaluateGiven } from "../run/run.js";
import { nested, printResult } from "../run/show.js";

/** A function that is run. */
export interface Example {
  /** What `espalier run` is given: `w=[[3, -1], [0.5, 2]]`. */
  readonly arg: readonly string[];
  readonly size: readonly string[];
  /** What it prints. */
  readonly printed: string;
  /** Each as JSON. */
  readonly results: readonly string[];
}

/** An example as a comment has it. */
interface Written {
  readonly args: ReadonlyMap<string, string>;
  /** The results that it shows, as JSON, in order. */
  readonly results: readonly string[];
}

const sentence = /\s*`(\w+)\(([^`]*)\)`\s+is\s+((?:`[^`]*`(?:,|\sand)?\s*)+)\./;

/** A comment without its example, and the example; null where it has none. */
export function splitComment(comment: string): { readonly words: string; readonly example: string | null } {
  const found = sentence.exec(comment);
  if (found === null) return { words: comment, example: null };
  return {
    words: `${comment.slice(0, found.index)}${comment.slice(found.index + found[0].length)}`.trim(),
    example: found[0].trim(),
  };
}

/** Runs the example of a comment. A text says what is wrong with it: that it cannot be read, or shows other results. */
export function runWritten(graph: SymbolicGraph, text: string, sources: ReadonlyMap<string, string>): Example | string {
  const written = readExample(graph.name, text);
  if (typeof written === "string") return written;
  const { sizes } = graph.parameters;
  const inputs = graph.inputs.map(({ name }) => name);
  const strange = [...written.args.keys()].find((name) => !sizes.includes(name) && !inputs.includes(name));
  if (strange !== undefined) return `the example of \`${graph.name}\` gives \`${strange}\`, which it does not take`;
  let example: Example;
  try {
    const size = [...written.args].filter(([name]) => sizes.includes(name)).map(([name, value]) => `${name}=${value}`);
    const arg = argumentsOf(graph, written.args).map(([name, value]) => `${name}=${value}`);
    // a size that arguments show is not given again
    const shown = new Set(graph.inputs.flatMap(({ value }) => graph.values[value]?.type.shape ?? []).map(printSize));
    const results = evaluateGiven(graph, { arg, size }, sources);
    example = {
      arg,
      size: size.filter((each) => !shown.has(each.split("=", 1)[0] ?? "")),
      printed: results.map(printResult).join("\n"),
      results: results.map((each) => spaced(nested(each))),
    };
  } catch (error) {
    return `the example of \`${graph.name}\` does not run: ${error instanceof Error ? error.message : String(error)}`;
  }
  const plain = (each: string): string => each.replaceAll(/\s/g, "");
  return example.results.map(plain).join() === written.results.map(plain).join()
    ? example
    : `the example of \`${graph.name}\` is ${example.results.map((each) => `\`${each}\``).join(", ")}, and its comment says ${written.results.map((each) => `\`${each}\``).join(", ")}`;
}

/** What is given, and for inputs without a value numbers that are made up, once the sizes are known. */
function argumentsOf(graph: SymbolicGraph, given: ReadonlyMap<string, string>): readonly (readonly [string, string])[] {
  const missing = graph.inputs.filter(({ name }) => !given.has(name));
  if (missing.length === 0) return graph.inputs.map(({ name }) => [name, given.get(name) ?? ""]);
  const sizes = new Map(graph.parameters.sizes.map((name) => [name, Number(given.get(name) ?? NaN)]));
  const unknown = [...sizes].filter(([, size]) => !Number.isInteger(size)).map(([name]) => name);
  if (unknown.length > 0)
    throw new Error(
      `give a value for ${missing.map(({ name }) => name).join(", ")}, or all sizes for made-up ones: ${unknown.join(", ")} is missing`,
    );
  const bound = specialize(
    graph,
    {
      sizes,
      dtypes: new Map(graph.parameters.dtypes.map((name) => [name, "f32" as const])),
      formats: new Map(graph.parameters.formats.map((name) => [name, null])),
    },
    { f16: true },
  );
  if (!("graph" in bound)) throw new Error(bound.map(({ message }) => message).join("; "));
  const { inputs, values } = bound.graph;
  return inputs.map(({ name, value }) => {
    const type = values[value]?.type;
    const made = type === undefined ? "0" : spaced(nested(tensorValue(type.dtype, type.shape, numbersFor(type))));
    return [name, given.get(name) ?? made];
  });
}

/** Numbers of a type, none of them large. */
function numbersFor({ dtype, shape }: { readonly dtype: Dtype; readonly shape: readonly number[] }): readonly number[] {
  const number = (at: number): number => {
    if (dtype === "f32" || dtype === "f16") return shape.length === 0 ? 0 : ((at * 3 + 2) % 5) - 2;
    return dtype === "bool" ? (at + 1) % 2 : 0;
  };
  return Array.from({ length: elementCount(shape) }, (_, at) => number(at));
}

function spaced(value: unknown): string {
  return JSON.stringify(value).replaceAll(",", ", ");
}

function readExample(name: string, text: string): Written | string {
  const found = sentence.exec(text);
  const wanted = `\`${name}(argument: value, ...)\` is \`result\`, and a result for each`;
  if (found === null || found[1] !== name) return `the example of \`${name}\` should be ${wanted}`;
  const args = new Map<string, string>();
  for (const part of parted(found[2] ?? "")) {
    const [, key, value] = /^\s*(\w+)\s*:\s*([\s\S]+?)\s*$/.exec(part) ?? [];
    if (key === undefined || value === undefined)
      return `\`${part.trim()}\` in the example of \`${name}\`: write ${wanted}`;
    args.set(key, value.replaceAll(/\s*\n\s*/g, " "));
  }
  return { args, results: [...(found[3] ?? "").matchAll(/`([^`]*)`/g)].map(([, each = ""]) => each) };
}

/** A text at its commas that stand in no bracket. */
function parted(text: string): readonly string[] {
  const parts: string[] = [];
  let [depth, start] = [0, 0];
  for (let at = 0; at <= text.length; at += 1) {
    const character = text[at];
    if (character === "[") depth += 1;
    if (character === "]") depth -= 1;
    if (character !== undefined && (character !== "," || depth > 0)) continue;
    if (text.slice(start, at).trim() !== "") parts.push(text.slice(start, at));
    start = at + 1;
  }
  return parts;
}
