import type { Command } from "commander";
import { checkGeneration, generate, type GenerateOptions } from "../llama/generate.js";
import { openSession } from "../llama/session.js";
import { action, integer, number, openGiven, openMachine, warn, withDevice, type DeviceOptions } from "./context.js";
import { sessionOptions, withDtype, type DtypeOptions } from "./dtype.js";
import { doubledStart } from "./text.js";

interface GenerateCommandOptions extends DeviceOptions, DtypeOptions {
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
  withDevice(
    withDtype(
      program
        .command("generate")
        .description("continue a prompt; the text is streamed")
        .requiredOption("--model <path>", "model directory or GGUF file")
        .requiredOption("--prompt <text>", "text to continue")
        .option("--max-tokens <n>", "new tokens at most", integer(1), 48)
        .option(
          "--temperature <t>",
          "0 takes the likeliest token",
          number((t) => t >= 0 && t <= 100, "from 0 to 100"),
          0,
        )
        .option("--top-k <k>", "sample from the k likeliest tokens", integer(1))
        .option(
          "--top-p <p>",
          "sample from the likeliest tokens that have this probability together",
          number((p) => p > 0 && p <= 1, "above 0, at most 1"),
        )
        .option("--seed <s>", "seed of the random numbers", integer(0, 2 ** 32 - 1), 0),
    ),
  ).action(
    action(async (output, options: GenerateCommandOptions) => {
      const model = await openGiven(options.model, output);
      try {
        const tokenizer = await model.tokenizer();
        const prompt = tokenizer.encode(options.prompt, { prefix: true });
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
        const { device, caller, close } = await openMachine(options.device, output.note);
        try {
          const session = await openSession(caller, model, sessionOptions(options, caller.target));
          // the text of the first new token depends on those before it
          for (const id of prompt) output.stream(stream.push(id));
          const result = await generate(session, prompt, how);
          output.stream(`${stream.end()}\n`);
          const ids = [...prompt, ...result.ids];
          const { promptTokens, newTokens, prefillTokensPerSecond, decodeTokensPerSecond } = result;
          if (output.json)
            output.result(
              {
                text: tokenizer.decode(ids),
                ids,
                promptTokens,
                newTokens,
                prefillTokensPerSecond,
                decodeTokensPerSecond,
                device: device.name,
              },
              () => "",
            );
          else
            output.note(
              `${promptTokens} prompt ${promptTokens === 1 ? "token" : "tokens"} at ${prefillTokensPerSecond.toFixed(1)}/s, ${newTokens} new ${newTokens === 1 ? "token" : "tokens"}${decodeTokensPerSecond === null ? "" : ` at ${decodeTokensPerSecond.toFixed(1)}/s`} on ${device.name}`,
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
