import type { Command } from "commander";
import { generate } from "../llama/generate.js";
import { openSession } from "../llama/session.js";
import { openModel } from "../model/model.js";
import { action, integerOption, numberOption, openMachine, withDevice, type DeviceOptions } from "./context.js";
import { modelDtypes, type DtypeOption } from "./dtype.js";

interface GenerateCommandOptions extends DeviceOptions, DtypeOption {
  readonly model: string;
  readonly prompt: string;
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topK?: number;
  readonly topP?: number;
  readonly seed: number;
}

/** `espalier generate`: continues a prompt, streaming the text. */
export function addGenerate(program: Command): void {
  withDevice(program.command("generate").description("continue a prompt")
    .requiredOption("--model <dir>", "model directory")
    .requiredOption("--prompt <text>", "text to continue")
    .option("--max-tokens <n>", "new tokens at most", integerOption("--max-tokens", 1), 48)
    .option("--temperature <t>", "0 takes the likeliest token", numberOption("--temperature", 0, 100), 0)
    .option("--top-k <k>", "sample from the k likeliest tokens", integerOption("--top-k", 1))
    .option("--top-p <p>", "sample from the likeliest tokens of this probability", numberOption("--top-p", 0, 1))
    .option("--seed <s>", "of the random numbers", integerOption("--seed", 0), 0)
    .option("--dtype <dtype>", "activations and dense weights: auto, f32 or f16", "auto"))
    .action(action(async (output, options: GenerateCommandOptions) => {
      const model = await openModel(options.model);
      const tokenizer = await model.tokenizer();
      const prompt = tokenizer.encode(options.prompt, { prefix: true });
      const { device, caller } = await openMachine(options, output);
      try {
        const session = await openSession(caller, model, modelDtypes(options, caller.target));
        const stream = tokenizer.stream();
        output.stream(options.prompt);
        const result = await generate(session, prompt, {
          maxNewTokens: options.maxTokens, temperature: options.temperature, topK: options.topK, topP: options.topP, seed: options.seed,
          eosTokens: model.generation.eosTokens,
          onToken: (id) => output.stream(stream.push(id)),
        });
        output.stream(`${stream.end()}\n`);
        const ids = [...prompt, ...result.ids];
        const { promptTokens, newTokens, prefillTokensPerSecond, decodeTokensPerSecond } = result;
        if (output.json) output.result({ text: tokenizer.decode(ids), ids, promptTokens, newTokens, prefillTokensPerSecond, decodeTokensPerSecond, device: device.name }, () => "");
        else output.note(`${promptTokens} prompt tokens at ${prefillTokensPerSecond.toFixed(1)}/s, ${newTokens} new at ${(decodeTokensPerSecond ?? 0).toFixed(1)}/s on ${device.name}`);
      } finally {
        device.close();
        await model.close();
      }
    }));
}
