import { reportFailure } from "./failure.js";
import { createOutput, type Output } from "./output.js";
import { claimStdout } from "./stdout.js";

/** What a command does; the exit code is 0 where it gives none. */
export type Work<Args extends readonly unknown[]> = (output: Output, ...args: Args) => Promise<number | void>;

/**
 * Runs a command: what it is made of is loaded when it is called, and its failure becomes words and an exit code. The
 * process ends by itself. Where no device is opened, nothing prints on stdout but the command, and stdout stays as it
 * is.
 */
export function action<Args extends readonly unknown[]>(
  load: () => Promise<Work<Args>>,
  opensDevice: (...args: Args) => boolean,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    const output = createOutput(args.some(wantsJson), opensDevice(...args) ? await claimStdout() : undefined);
    try {
      const work = await load();
      process.exitCode = (await work(output, ...args)) ?? 0;
    } catch (error) {
      process.exitCode = reportFailure(output, error);
    }
  };
}

function wantsJson(arg: unknown): boolean {
  return typeof arg === "object" && arg !== null && "json" in arg && arg.json === true;
}
