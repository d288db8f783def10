import type { Command } from "commander";
import { perplexity } from "../llama/evaluate.js";
import { openSession } from "../llama/session.js";
import { checkContext, scoredWindows } from "../llama/windows.js";
import { action, integer, openGiven, openMachine, withDevice, type DeviceOptions } from "./context.js";
import { sessionOptions, withDtype, type DtypeOptions } from "./dtype.js";
import { readTokens } from "./text.js";

interface EvalOptions extends DeviceOptions, DtypeOptions {
  readonly model: string;
  readonly text: string;
  readonly window: number;
  readonly limit?: number;
}

/** `espalier eval`: perplexity of a text. */
export function addEval(program: Command): void {
  withDevice(
    withDtype(
      program
        .command("eval")
        .description("score a text: the perplexity of a model, over windows that stand alone")
        .requiredOption("--model <path>", "model directory or GGUF file")
        .requiredOption("--text <file>", "text to score, UTF-8")
        .option("--window <n>", "tokens of a window", integer(1), 256)
        .option("--limit <n>", "score the first n windows only", integer(1)),
    ),
  )
    .addHelpText(
      "after",
      `
The text is tokenised whole and cut in windows; a last partial window is dropped. A tokenizer that puts a token before
each text puts it before each window, and all tokens of the window are scored; else all but the first are.`,
    )
    .action(
      action(async (output, options: EvalOptions) => {
        const model = await openGiven(options.model, output);
        try {
          const tokenizer = await model.tokenizer();
          const ids = await readTokens(options.text, tokenizer, output);
          // what is wrong with the text is told before a device is opened
          checkContext(scoredWindows(ids, options.window, tokenizer.bos, options.limit), model.config.contextLength);
          const { device, caller, close } = await openMachine(options.device, output.note);
          try {
            const session = await openSession(caller, model, sessionOptions(options, caller.target));
            const progress = output.progress("scoring windows");
            const result = await perplexity(session, ids, {
              window: options.window,
              bos: tokenizer.bos,
              limit: options.limit,
              onProgress: (done, total, value) => progress.update(done, total, `perplexity ${value.toFixed(3)}`),
            });
            progress.end();
            const { tokens, windows, seconds } = result;
            output.result(
              { perplexity: result.perplexity, tokens, windows, seconds, device: device.name },
              () =>
                `perplexity ${output.paint.bold(result.perplexity.toFixed(4))} over ${tokens} tokens (${options.limit === undefined ? "" : "the first "}${windows} windows of ${options.window}) in ${seconds.toFixed(1)} s on ${device.name}`,
            );
          } finally {
            close();
          }
        } finally {
          await model.close();
        }
      }),
    );
}
