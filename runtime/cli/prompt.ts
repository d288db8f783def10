/** The prompt of a command: given as it is, in a file, or on stdin. */
import { readFileSync } from "node:fs";
import { ModelError, quoted } from "../model/error.js";
import { readBounded } from "../model/files.js";
import { UsageError } from "./failure.js";

export interface PromptOptions {
  readonly prompt?: string;
  readonly promptFile?: string;
}

/** The most bytes of a prompt. */
const largestPrompt = 64 * 2 ** 20;

/**
 * The prompt that was given; `-` stands for stdin in either option. A line break at the end of a file is part of it.
 * @throws UsageError none or both are given; ModelError M100 to M102 (the file), M104 (not UTF-8)
 */
export async function promptOf({ prompt, promptFile }: PromptOptions): Promise<string> {
  if ((prompt === undefined) === (promptFile === undefined))
    throw new UsageError(
      prompt === undefined
        ? "a prompt is wanted: --prompt TEXT, --prompt-file FILE, or --prompt - to read it from stdin"
        : "a prompt is given twice: leave --prompt or --prompt-file out",
    );
  if (prompt !== undefined && prompt !== "-") return prompt;
  const path = promptFile === undefined || promptFile === "-" ? null : promptFile;
  const bytes = path === null ? readFileSync(0) : await readBounded(path, largestPrompt);
  const name = path === null ? "stdin" : quoted(path);
  if (bytes.length > largestPrompt)
    throw new ModelError("M102", `${name} has ${bytes.length} bytes; at most ${largestPrompt} are a prompt.`);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new ModelError("M104", `${name} is not text in UTF-8.`, "give a plain text file");
  }
}
