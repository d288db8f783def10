/** The files of `generate --batch`: prompts, a line each, and what came of those that are done. */
import { readFileSync, truncateSync } from "node:fs";
import { readPlain } from "../llama/texts.js";
import { quoted } from "../model/error.js";
import { UsageError } from "./failure.js";

/** A line of the file of prompts. */
export interface BatchLine {
  /** In the file, from 1 on. */
  readonly line: number;
  readonly prompt: string;
  /** What the command says is for those that do not. */
  readonly maxTokens?: number | undefined;
  readonly temperature?: number | undefined;
  readonly seed?: number | undefined;
  readonly stop: readonly string[];
}

/** A line that is written. */
export interface BatchResult {
  readonly line: number;
  readonly prompt: string;
  /** The new text alone. */
  readonly text: string;
  readonly ended: "stop" | "length";
  readonly promptTokens: number;
  readonly newTokens: number;
}

/** Mistakes of one file that are told; more are counted. */
const mostFaults = 10;

/** The most stop strings of a line, and the longest. */
const mostStops = { count: 16, length: 1024 } as const;

/**
 * Reads all prompts, and finds all that is wrong with them.
 * @throws UsageError with the numbers of lines; ModelError M100 to M104, M143, M170
 */
export async function readBatch(path: string): Promise<readonly BatchLine[]> {
  const lines = (await readPlain(path)).split("\n");
  const found: BatchLine[] = [];
  const faults: string[] = [];
  for (const [at, text] of lines.entries()) {
    if (text.trim() === "") continue;
    const parsed = parseLine(text, at + 1);
    if (typeof parsed === "string") faults.push(`line ${at + 1} of ${quoted(path)} ${parsed}`);
    else found.push(parsed);
  }
  refuse(faults);
  return found;
}

/** @throws UsageError where there are faults */
function refuse(faults: readonly string[]): void {
  if (faults.length === 0) return;
  const more = faults.length - mostFaults;
  throw new UsageError([...faults.slice(0, mostFaults), ...(more > 0 ? [`and ${more} more`] : [])].join("\n"));
}

/** A line, or what is wrong with it. */
function parseLine(text: string, line: number): BatchLine | string {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return `is not JSON: ${JSON.stringify(text.slice(0, 40))}`;
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "should be an object";
  const { prompt, max_tokens: maxTokens, temperature, seed, stop = [], ...others } = value as Record<string, unknown>;
  const [other] = Object.keys(others);
  if (other !== undefined)
    return `has ${JSON.stringify(other)}; known are prompt, max_tokens, temperature, seed and stop`;
  if (typeof prompt !== "string") return "should have a prompt, a text";
  const stops: readonly unknown[] = Array.isArray(stop) ? stop : [stop];
  if (stops.length > mostStops.count) return `has ${stops.length} stop strings; at most ${mostStops.count} are taken`;
  if (!stops.every((each) => typeof each === "string" && each !== "" && each.length <= mostStops.length))
    return `should have for stop a text of 1 to ${mostStops.length} characters, or a list of them`;
  const faults = [
    numberFault("max_tokens", maxTokens, (n) => Number.isInteger(n) && n >= 1, "a whole number, 1 or more"),
    numberFault("temperature", temperature, (t) => t >= 0 && t <= 100, "from 0 to 100"),
    numberFault("seed", seed, (s) => Number.isInteger(s) && s >= 0 && s < 2 ** 32, "a whole number below 4294967296"),
  ].filter((fault) => fault !== null);
  const [fault] = faults;
  if (fault !== undefined) return fault;
  return {
    line,
    prompt,
    maxTokens: maxTokens as number | undefined,
    temperature: temperature as number | undefined,
    seed: seed as number | undefined,
    stop: stops as readonly string[],
  };
}

function numberFault(name: string, value: unknown, holds: (n: number) => boolean, expected: string): string | null {
  if (value === undefined || (typeof value === "number" && holds(value))) return null;
  return `should have for ${name} ${expected}, found ${JSON.stringify(value)}`;
}

/**
 * How many of the prompts are done: the lines of the file of results, which are theirs in order. A last line that was
 * not written whole is cut off.
 * @throws UsageError where a line is another prompt's
 */
export function doneOf(path: string, lines: readonly BatchLine[]): number {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return 0;
    throw error;
  }
  const end = bytes.lastIndexOf(10) + 1;
  const kept = bytes.subarray(0, end).toString("utf8").split("\n").slice(0, -1);
  if (kept.length > lines.length)
    throw new UsageError(
      `${quoted(path)} has ${kept.length} results, and there are ${lines.length} prompts: it is of another batch; name another file for --out, or remove it`,
    );
  for (const [at, text] of kept.entries()) {
    const wanted = lines[at]!;
    if (!isResultOf(wanted, text))
      throw new UsageError(
        `line ${at + 1} of ${quoted(path)} is not the result of the prompt in line ${wanted.line}: it is of another batch; name another file for --out, or remove it`,
      );
  }
  if (end < bytes.length) truncateSync(path, end);
  return kept.length;
}

function isResultOf({ line, prompt }: BatchLine, text: string): boolean {
  try {
    const value = JSON.parse(text) as { readonly line?: unknown; readonly prompt?: unknown } | null;
    return value?.line === line && value.prompt === prompt;
  } catch {
    return false;
  }
}
