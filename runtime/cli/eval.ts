import { counted } from "../../compiler/words.js";
import { perplexity } from "../llama/inference/evaluate.js";
import { chanceWarning, printPerplexity } from "../llama/compression/outcome.js";
import { openSession } from "../llama/inference/session.js";
import { printVerification, verificationFault, verifySession } from "../llama/inference/verify.js";
import { checkContext, scoredWindows, windowsInWords } from "../llama/windows.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { openGiven, warn } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { readTokens } from "./text.js";
import { noteWarnings } from "./warnings.js";

interface EvalOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions {
  readonly model: string;
  readonly text: string;
  readonly window: number;
  readonly limit?: number;
  readonly verify?: boolean;
}

/** `espalier eval`: perplexity of a text. */
export async function run(output: Output, options: EvalOptions): Promise<number | void> {
  const model = await openGiven(options.model, output);
  try {
    const tokenizer = await model.tokenizer();
    const ids = await readTokens(options.text, tokenizer, output);
    // what is wrong with the text is reported before a device is opened
    checkContext(scoredWindows(ids, options.window, tokenizer.bos, options.limit), model.config.contextLength);
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const session = await openSession(caller, model, {
        ...sessionOptions(options, caller.target),
        activations: options.activations,
      });
      const progress = output.progress("scoring windows");
      const result = await perplexity(session, ids, {
        window: options.window,
        bos: tokenizer.bos,
        limit: options.limit,
        onProgress: (done, total, value) => progress.update(done, total, `perplexity ${printPerplexity(value)}`),
      });
      progress.end();
      const { tokens, windows, seconds } = result;
      const found = chanceWarning(result.perplexity, model.config.vocabSize, "the model", "given");
      const verification = options.verify === true ? await verifySession(session, ids, options.window) : null;
      const fault = verification === null ? null : verificationFault(verification);
      const warnings = found === null ? [] : [found];
      output.result(
        {
          perplexity: result.perplexity,
          tokens,
          windows,
          seconds,
          ...(verification === null ? {} : { verification }),
          warnings,
          device: device.name,
        },
        () =>
          `perplexity ${output.paint.bold(shown(result.perplexity))} over ${counted(tokens, "token")} (${options.limit === undefined ? counted(windows, "window") : windowsInWords(windows, true)} of ${options.window}) in ${seconds.toFixed(1)} s on ${device.name}`,
      );
      if (verification !== null) output.note(printVerification(verification));
      noteWarnings(output, warnings, 0);
      if (fault !== null) warn(output, fault);
      return fault === null ? undefined : 1;
    } finally {
      close();
    }
  } finally {
    await model.close();
  }
}

function shown(perplexity: number): string {
  return perplexity < 1e6 ? perplexity.toFixed(4) : printPerplexity(perplexity);
}
