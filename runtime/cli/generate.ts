import { counted } from "../../compiler/words.js";
import { checkGeneration, generate, type GenerateOptions } from "../llama/inference/generate.js";
import { openSession } from "../llama/inference/session.js";
import { printVerification, verificationFault, verifySession } from "../llama/inference/verify.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { UsageError } from "./failure.js";
import { openGiven, warn } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { doubledStart } from "./text.js";

interface GenerateCommandOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions {
  readonly model: string;
  readonly prompt?: string;
  readonly batch?: string;
  readonly out?: string;
  readonly sequences: number;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed: number;
  readonly verify?: boolean;
}

/** `espalier generate`: continues a prompt, streaming the text. */
export async function run(output: Output, options: GenerateCommandOptions): Promise<number | void> {
  const { prompt: given, batch } = options;
  if ((given === undefined) === (batch === undefined))
    throw new UsageError("--prompt TEXT or --batch FILE says what is continued, one of the two");
  const model = await openGiven(options.model, output);
  try {
    if (batch !== undefined) return await (await import("./batch.js")).runBatch(output, model, { ...options, batch });
    const tokenizer = await model.tokenizer();
    const prompt = await tokenizer.encode(given ?? "", { prefix: true });
    const twice = doubledStart(tokenizer, prompt.subarray(tokenizer.prefix.length));
    if (twice !== null) warn(output, `the prompt ${twice}`);
    const stream = tokenizer.stream();
    const how: GenerateOptions = {
      maxNewTokens: options.maxTokens,
      temperature: options.temperature,
      topK: options.topK,
      topP: options.topP,
      seed: options.seed,
      eosTokens: model.generation.eosTokens,
      onToken: (id) => output.stream(stream.push(id)),
    };
    checkGeneration(model.config, prompt, how);
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const session = await openSession(caller, model, {
        ...sessionOptions(options, caller.target),
        activations: options.activations,
      });
      // the text of the first new token depends on those before it
      for (const id of prompt) output.stream(stream.push(id));
      const result = await generate(session, prompt, how);
      output.stream(`${stream.end()}\n`);
      const ids = [...prompt, ...result.ids];
      const { promptTokens, newTokens, prefillTokensPerSecond, decodeTokensPerSecond, ended } = result;
      if (newTokens === 0)
        output.note(
          "note: there is no text to show: the first new token that the model chose is one that ends a text.",
        );
      const verification = options.verify === true ? await verifySession(session, ids, prompt.length) : null;
      const fault = verification === null ? null : verificationFault(verification);
      if (output.json)
        output.result(
          {
            text: tokenizer.decode(ids),
            ids,
            promptTokens,
            newTokens,
            ended,
            prefillTokensPerSecond,
            decodeTokensPerSecond,
            ...(verification === null ? {} : { verification }),
            device: device.name,
          },
          () => "",
        );
      else
        output.note(
          `${counted(promptTokens, "prompt token")} at ${prefillTokensPerSecond.toFixed(1)}/s, ${counted(newTokens, "new token")}${decodeTokensPerSecond === null ? "" : ` at ${decodeTokensPerSecond.toFixed(1)}/s`} on ${device.name}`,
        );
      if (verification !== null) output.note(printVerification(verification));
      if (fault !== null) warn(output, fault);
      return fault === null ? undefined : 1;
    } finally {
      close();
    }
  } finally {
    await model.close();
  }
}
