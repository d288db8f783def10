/** How many sequences a scheduler runs, and how many pages it has for them. */
import { counted } from "../../../compiler/words.js";
import { formatBytes } from "../../device/error.js";
import { LlamaError } from "../error.js";
import { pageBytes, pageTokens } from "../inference/pages.js";
import type { Session } from "../inference/session.js";
import { mostSequences, type SchedulerOptions } from "./requests.js";

/** Bytes of pages that are taken without being told. */
const usualMemory = { gpu: 2 ** 32, cpu: 2 ** 28 } as const;

export interface Room {
  readonly sequences: number;
  /** The power of two that has them. */
  readonly rows: number;
  readonly queue: number;
  readonly contextLength: number;
  readonly pages: number;
}

/**
 * Checks options and divides memory.
 * @throws LlamaError bad-option, context-too-large
 */
export function roomFor(session: Pick<Session, "config" | "dtype" | "target">, options: SchedulerOptions): Room {
  const { config, dtype, target } = session;
  const { sequences = 16, queue = 1024, memory, contextLength = config.contextLength } = options;
  const check = (name: string, value: number, most: number): void => {
    if (!Number.isInteger(value) || value < 1 || value > most)
      throw new LlamaError("bad-option", `${name} should be a whole number from 1 to ${most}, found ${value}.`);
  };
  check("sequences", sequences, mostSequences);
  check("queue", queue, 2 ** 20);
  check("contextLength", contextLength, config.contextLength);
  if (memory !== undefined) check("memory", memory, Number.MAX_SAFE_INTEGER);
  const { one, all } = pageBytes(config, dtype);
  const longest = Math.ceil(contextLength / pageTokens);
  const pages = Math.min(
    sequences * longest,
    Math.floor((memory ?? usualMemory[target.kind]) / all),
    Math.floor(target.maxBinding / one),
  );
  if (pages < 1)
    throw new LlamaError(
      "context-too-large",
      `A page of ${counted(pageTokens, "token")} takes ${formatBytes(all)}, and there are ${formatBytes(memory ?? usualMemory[target.kind])} for keys and values.`,
    );
  return {
    sequences,
    rows: 2 ** Math.ceil(Math.log2(sequences)),
    queue,
    contextLength: Math.min(contextLength, pages * pageTokens),
    pages,
  };
}
