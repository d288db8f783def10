import { counted } from "../../compiler/words.js";
import { existsSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import type { ChatMessage } from "../chat/template.js";
import { openContext, type Context, type GenerateOptions } from "../llama/inference/generate.js";
import { openSession, type Session } from "../llama/inference/session.js";
import { createStopStrings } from "../llama/inference/stop-strings.js";
import { LlamaError } from "../llama/error.js";
import { ModelError } from "../model/error.js";
import type { Tokenizer } from "../model/tokenizer/tokenizer.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { noteFailure } from "./failure.js";
import { openGiven } from "./given.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { samplingOf, type SamplingOptions } from "./sampling.js";
import { turnsOf, type Turns } from "./turns.js";

interface ChatCommandOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions, SamplingOptions {
  readonly model: string;
  readonly system?: string;
}

/** The most characters of a line. */
const longestLine = 2 ** 20;

const help = `/reset          forget what was said
/system TEXT    tell the model TEXT before all, and forget what was said; without TEXT nothing
/save FILE      write the conversation to a new file, JSON
/quit           leave, as Ctrl-D does; Ctrl-C ends an answer
//TEXT          say /TEXT`;

/** What of an answer `--json` tells. */
interface Turn {
  readonly promptTokens: number;
  readonly sharedTokens: number;
  readonly newTokens: number;
  readonly ended: string;
}

/** `espalier chat`: a conversation, turn by turn. */
export async function run(output: Output, options: ChatCommandOptions): Promise<number | void> {
  const model = await openGiven(options.model, output);
  try {
    const turns = await turnsOf(model);
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const session = await openSession(caller, model, {
        ...sessionOptions(options, caller.target),
        activations: options.activations,
      });
      const talk = createTalk(session, await model.tokenizer(), turns, options, output);
      try {
        output.note(`${options.model} on ${device.name}; /help says what else can be done here`);
        const failed = await converse(talk, output);
        if (output.json)
          output.result({ messages: talk.messages(), turns: talk.turns(), device: device.name }, () => "");
        return failed ? 1 : undefined;
      } finally {
        talk.close();
      }
    } finally {
      turns.renderer.close();
      close();
    }
  } finally {
    await model.close();
  }
}

/** Takes lines until there are no more. Whether a turn failed. */
async function converse(talk: Talk, output: Output): Promise<boolean> {
  const terminal = process.stdin.isTTY === true && process.stderr.isTTY === true;
  const lines = createInterface({ input: process.stdin, output: process.stderr, terminal, prompt: "> " });
  let failed = false;
  const interrupt = (): void => {
    if (talk.stop()) return;
    if (!terminal) process.exit(130);
    output.note("\nCtrl-D or /quit leaves");
    lines.prompt();
  };
  lines.on("SIGINT", interrupt);
  if (!terminal) process.on("SIGINT", interrupt);
  try {
    if (terminal) lines.prompt();
    for await (const line of lines) {
      const go = await take(line);
      if (!go) break;
      if (terminal) lines.prompt();
    }
  } finally {
    lines.close();
    process.removeListener("SIGINT", interrupt);
  }
  return failed;

  /** One line; false where it was the last. */
  async function take(line: string): Promise<boolean> {
    const [, command = "", rest = ""] = /^\/(\w+)\s*(.*)$/.exec(line.trim()) ?? [];
    try {
      if (line.length > longestLine)
        throw new LlamaError("bad-option", `A line has at most ${longestLine} characters, this one ${line.length}.`);
      if (command === "quit" || command === "exit") return false;
      if (command === "help") output.note(help);
      else if (command === "reset") talk.reset();
      else if (command === "system") talk.reset(rest);
      else if (command === "save") save(rest, talk.messages(), output);
      else if (command !== "") output.note(`there is no /${command}\n${help}`);
      else if (line.trim() !== "") await talk.say(line.startsWith("//") ? line.slice(1) : line);
    } catch (error) {
      if (!(error instanceof ModelError || error instanceof LlamaError) || error.code === "not-finite") throw error;
      failed = true;
      noteFailure(output, error);
    }
    return true;
  }
}

function save(path: string, messages: readonly ChatMessage[], output: Output): void {
  if (path === "") return output.note("/save wants the name of a file");
  if (existsSync(path)) return output.note(`${path} is there already: give another name`);
  try {
    writeFileSync(path, `${JSON.stringify({ messages }, null, 1)}\n`, { flag: "wx" });
    output.note(`${counted(messages.length, "message")} written to ${path}`);
  } catch (error) {
    output.note(`${path} cannot be written: ${error instanceof Error ? error.message : String(error)}`);
  }
}

interface Talk {
  /** Answers, streaming. What fails is as if it had not been said. */
  say(text: string): Promise<void>;
  /** Ends the answer that is being given; false where there is none. */
  stop(): boolean;
  /** Forgets all but what the model is told first, which is `system` from then on where it is given. */
  reset(system?: string): void;
  messages(): readonly ChatMessage[];
  turns(): readonly Turn[];
  close(): void;
}

function createTalk(
  session: Session,
  tokenizer: Tokenizer,
  { renderer, ends }: Turns,
  options: ChatCommandOptions,
  output: Output,
): Talk {
  const { config } = session;
  const sampling = samplingOf(options);
  const turns: Turn[] = [];
  let first: readonly ChatMessage[] = systemOf(options.system ?? "");
  let messages = first;
  let context: Context | null = null;
  /** Whether an answer is being given, and whether it is to end. */
  let answering: "no" | "yes" | "stop" = "no";

  /** Answers a turn. */
  async function answer(text: string): Promise<void> {
    const asked = [...messages, { role: "user", content: text }];
    const prompt = await tokenizer.encode(await renderer.render(asked), { prefix: false });
    if (prompt.length >= config.contextLength)
      throw new LlamaError(
        "prompt-too-long",
        `The conversation has ${counted(prompt.length, "token")}, but the model's context holds ${config.contextLength}. /reset begins another.`,
      );
    context ??= await openContext(session, config.contextLength);
    const stops = createStopStrings(options.stop);
    const pieces = tokenizer.stream();
    for (const id of prompt) pieces.push(id);
    let told = "";
    const give = (piece: string): void => {
      told += piece;
      output.stream(piece);
    };
    const how: GenerateOptions = {
      ...sampling,
      // another answer to the same question in another turn
      seed: (options.seed + turns.length) % 2 ** 32,
      eosTokens: ends,
      onToken(id) {
        give(stops.push(pieces.push(id)));
        return !stops.found && answering !== "stop";
      },
    };
    const result = await context.generate(prompt, how);
    give(stops.push(pieces.end()));
    give(stops.end());
    output.stream("\n");
    if (result.ended === "length") output.note("(cut at --max-tokens)");
    if (result.ended === "context") output.note("(the model's context is full: /reset begins another)");
    turns.push({
      promptTokens: result.promptTokens,
      sharedTokens: result.sharedTokens,
      newTokens: result.newTokens,
      ended: result.ended,
    });
    messages = [...asked, { role: "assistant", content: told }];
  }

  return {
    async say(text) {
      answering = "yes";
      try {
        await answer(text);
      } finally {
        answering = "no";
      }
    },
    stop() {
      if (answering === "no") return false;
      answering = "stop";
      return true;
    },
    reset(system) {
      if (system !== undefined) first = systemOf(system);
      messages = first;
    },
    messages: () => messages,
    turns: () => turns,
    close: () => context?.close(),
  };
}

function systemOf(text: string): readonly ChatMessage[] {
  return text === "" ? [] : [{ role: "system", content: text }];
}
