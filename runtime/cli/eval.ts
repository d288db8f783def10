import type { Command } from "commander";
import { perplexity } from "../llama/evaluate.js";
import { openSession } from "../llama/session.js";
import { openModel } from "../model/model.js";
import { action, integerOption, openMachine, withDevice, type DeviceOptions } from "./context.js";
import { modelDtypes, type DtypeOption } from "./dtype.js";
import { readTokens } from "./text.js";

interface EvalOptions extends DeviceOptions, DtypeOption {
  readonly model: string;
  readonly text: string;
  readonly window: number;
  readonly limit?: number;
}

/** `espalier eval`: perplexity of a text. */
export function addEval(program: Command): void {
  withDevice(program.command("eval").description("perplexity of a text")
    .requiredOption("--model <dir>", "model directory")
    .requiredOption("--text <file>", "text to score")
    .option("--window <n>", "tokens of a window", integerOption("--window", 1), 256)
    .option("--limit <n>", "score the first n windows only", integerOption("--limit", 1))
    .option("--dtype <dtype>", "activations and dense weights: auto, f32 or f16", "auto"))
    .action(action(async (output, options: EvalOptions) => {
      const model = await openModel(options.model);
      const tokenizer = await model.tokenizer();
      const ids = await readTokens(options.text, tokenizer);
      const { device, caller } = await openMachine(options, output);
      try {
        const session = await openSession(caller, model, modelDtypes(options, caller.target));
        const progress = output.progress("scoring windows");
        const result = await perplexity(session, ids, {
          window: options.window, bos: tokenizer.bos, limit: options.limit,
          onProgress: (done, total, value) => progress.update(done, total, `perplexity ${value.toFixed(3)}`),
        });
        progress.end();
        output.result({ ...result, device: device.name }, () =>
          `perplexity ${result.perplexity.toFixed(4)} over ${result.tokens} tokens (${result.windows} windows of ${options.window}${options.limit === undefined ? "" : ", the first only"}) in ${result.seconds.toFixed(1)} s on ${device.name}`);
      } finally {
        device.close();
        await model.close();
      }
    }));
}
