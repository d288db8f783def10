import { counted } from "../../compiler/words.js";
import { chatTemplateOf } from "../chat/template.js";
import {
  checkGeneration,
  openContext,
  roomFor,
  type GenerateOptions,
  type Generation,
} from "../llama/inference/generate.js";
import { openSession } from "../llama/inference/session.js";
import type { Speculation } from "../llama/inference/speculate.js";
import { createStopStrings } from "../llama/inference/stop-strings.js";
import { printVerification, verificationFault, verifySession } from "../llama/inference/verify.js";
import type { Model } from "../model/model.js";
import { checkDraft, loadDraft, openDraft, printSpeculation, worthOf } from "./draft.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { UsageError } from "./failure.js";
import { givenModel, openGiven, warn } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, SeveralDevicesOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { promptOf, type PromptOptions } from "./prompt.js";
import { samplingOf, type SamplingOptions } from "./sampling.js";
import { doubledStart } from "./text.js";
import { turnsOf } from "./turns.js";

interface GenerateCommandOptions
  extends DeviceOptions,
    SeveralDevicesOptions,
    DtypeOptions,
    ActivationOptions,
    TunedOptions,
    SamplingOptions,
    PromptOptions {
  readonly model: string;
  readonly chat?: boolean;
  readonly system?: string;
  readonly n: number;
  readonly draft?: string;
  readonly batch?: string;
  readonly out?: string;
  readonly sequences: number;
  readonly verify?: boolean;
}

/** A text as it came out. */
interface Written extends Generation {
  readonly text: string;
  /** Where in it the new text begins, in UTF-16 units. */
  readonly newTextStart: number;
  /** With a draft. */
  readonly speculation: Speculation | null;
}

/** What stands before an end, for a user. */
const endings: { readonly [ended in Generation["ended"]]: string } = {
  eos: "at a token that ends a text",
  length: "at --max-tokens",
  stopped: "at a stop string",
  context: "where the model's context is full",
};

/** `espalier generate`: continues a prompt, streaming the text. */
export async function run(output: Output, options: GenerateCommandOptions): Promise<number | void> {
  const { batch } = options;
  if (batch !== undefined) {
    const { runBatch } = await import("./batch.js");
    const path = await givenModel(options.model, output);
    const model = await openGiven(path, output);
    try {
      return await runBatch(output, model, { ...options, batch, model: path });
    } finally {
      await model.close();
    }
  }
  if (options.devices !== undefined) throw new UsageError("--devices is for --batch: one text is on one device");
  if (options.n > 1 && options.temperature === 0)
    throw new UsageError("with --temperature 0 all samples are the same: give a temperature, or leave --n out");
  if (options.system !== undefined && options.chat !== true)
    throw new UsageError("--system is part of a conversation: give --chat, too");
  if (options.draft !== undefined) checkDraft(options);
  const given = await promptOf(options);
  const model = await openGiven(options.model, output);
  const drafting = options.draft === undefined ? null : await openDraft(options.draft, model, output);
  try {
    const tokenizer = await model.tokenizer();
    const { text, ends } = await asked(model, given, options, output);
    const prompt = await tokenizer.encode(text, { prefix: options.chat !== true });
    const twice = options.chat === true ? null : doubledStart(tokenizer, prompt.subarray(tokenizer.prefix.length));
    if (twice !== null) warn(output, `the prompt ${twice}`);
    const how: GenerateOptions = { ...samplingOf(options), eosTokens: ends };
    checkGeneration(model.config, prompt, how);
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const opened = { ...sessionOptions(options, caller.target), activations: options.activations };
      const session = await openSession(caller, model, opened);
      const draft = drafting === null ? null : await loadDraft(caller, drafting, opened);
      const context = await openContext(session, roomFor(model.config, prompt.length, how.maxNewTokens));
      const samples: Written[] = [];
      for (let at = 0; at < options.n; at++) {
        if (at > 0) output.stream("\n");
        samples.push(await write({ ...how, seed: (options.seed + at) % 2 ** 32 }));
      }
      context.close();
      const [first] = samples;
      if (first === undefined) throw new Error("there is no sample");
      const { promptTokens, newTokens, prefillTokensPerSecond, decodeTokensPerSecond, ended, speculation } = first;
      if (newTokens === 0)
        output.note(
          "note: there is no text to show: the first new token that the model chose is one that ends a text.",
        );
      const ids = [...prompt, ...first.ids];
      const verification = options.verify === true ? await verifySession(session, ids, prompt.length) : null;
      const fault = verification === null ? null : verificationFault(verification);
      if (output.json)
        output.result(
          {
            text: first.text,
            newTextStart: first.newTextStart,
            ids,
            promptTokens,
            newTokens,
            ended,
            prefillTokensPerSecond,
            decodeTokensPerSecond,
            ...(samples.length < 2
              ? {}
              : {
                  samples: samples.map((one) => ({
                    text: one.text,
                    newTextStart: one.newTextStart,
                    ids: [...prompt, ...one.ids],
                    newTokens: one.newTokens,
                    ended: one.ended,
                  })),
                }),
            ...(speculation === null ? {} : { draft: worthOf(speculation) }),
            ...(verification === null ? {} : { verification }),
            device: device.name,
          },
          () => "",
        );
      else
        output.note(
          `${counted(promptTokens, "prompt token")} at ${prefillTokensPerSecond.toFixed(1)}/s, ${counted(newTokens, "new token")}${decodeTokensPerSecond === null ? "" : ` at ${decodeTokensPerSecond.toFixed(1)}/s`} on ${device.name}, ended ${endings[ended]}`,
        );
      if (speculation !== null) output.note(printSpeculation(speculation));
      if (verification !== null) output.note(printVerification(verification));
      if (fault !== null) warn(output, fault);
      return fault === null ? undefined : 1;

      /** One text, streamed: of a conversation the answer alone. */
      async function write(sampling: GenerateOptions): Promise<Written> {
        const stops = createStopStrings(options.stop);
        const pieces = tokenizer.stream();
        let before = "";
        // the text of the first new token depends on those before it
        for (const id of prompt) before += pieces.push(id);
        if (options.chat !== true) output.stream(before);
        let fresh = "";
        const give = (piece: string): void => {
          fresh += piece;
          output.stream(piece);
        };
        const onToken = (id: number): boolean => {
          give(stops.push(pieces.push(id)));
          return !stops.found;
        };
        const drafted = draft === null ? null : await draft.generate(session, prompt, { ...sampling, onToken });
        const result = drafted ?? (await context.generate(prompt, { ...sampling, onToken }));
        give(stops.push(pieces.end()));
        give(stops.end());
        output.stream("\n");
        return { ...result, text: before + fresh, newTextStart: before.length, speculation: drafted };
      }
    } finally {
      close();
    }
  } finally {
    await drafting?.close();
    await model.close();
  }
}

/** What the model is to continue, and what ends it. */
async function asked(
  model: Model,
  given: string,
  options: GenerateCommandOptions,
  output: Output,
): Promise<{ readonly text: string; readonly ends: readonly number[] }> {
  if (options.chat !== true) {
    const { eosTokens } = model.generation;
    if ((await chatTemplateOf(model).catch(() => null)) !== null)
      output.note("note: the model has a chat template, which this prompt is not in: with --chat it is answered.");
    return { text: given, ends: eosTokens };
  }
  const { renderer, ends } = await turnsOf(model);
  try {
    const system = options.system === undefined ? [] : [{ role: "system", content: options.system }];
    return { text: await renderer.render([...system, { role: "user", content: given }]), ends };
  } finally {
    renderer.close();
  }
}
