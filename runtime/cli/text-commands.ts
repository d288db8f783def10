/** The commands that write text: to continue a prompt, and to talk. */
import type { Command } from "commander";
import { action } from "./action.js";
import { withActivations, withDtype } from "./dtype.js";
import { integer, pathOf, withDevice, withDevices, withTuned } from "./options.js";
import { withSampling } from "./sampling.js";

/** Adds `generate` and `chat`. */
export function addTextCommands(program: Command): void {
  addGenerate(program);
  addChat(program);
}

/** What every command has that runs a model for its text. */
function withModel(command: Command, { maxTokens }: { readonly maxTokens: number }): Command {
  command.requiredOption("--model <path>", "model directory or GGUF file");
  return withTuned(withDevice(withDtype(withActivations(withSampling(command, { maxTokens })))));
}

function addGenerate(program: Command): void {
  const command = withModel(
    program
      .command("generate")
      .description("continue a prompt, or with --chat answer it; the text is streamed")
      .option("--prompt <text>", "text to continue; - reads it from stdin")
      .option("--prompt-file <file>", "the same from a file", pathOf)
      .option("--chat", "take the prompt as a question, put as the model's chat template says")
      .option("--system <text>", "with --chat: what the model is told before the question")
      .option("--n <n>", "samples, each with a seed of its own from --seed on", integer(1, 1000), 1)
      .option("--draft <path>", "a smaller model of the same tokenizer, which proposes tokens; the text stays the same")
      .option("--batch <file>", "texts to continue instead, several at once: a line each, JSON", pathOf)
      .option("--out <file>", "with --batch: the results, a line each; what is there is kept", pathOf)
      .option("--sequences <n>", "with --batch: texts that are given tokens at once", integer(1, 64), 16)
      .option("--verify", "also compare logits with those of plain schedules: each element by itself, nothing fused"),
    { maxTokens: 48 },
  );
  withDevices(command, "with --batch, a process each")
    .addHelpText(
      "after",
      `
A line of --batch: {"prompt": "...", "max_tokens": 64, "temperature": 0.7, "seed": 1, "stop": ["\\n\\n"]}; all but the
prompt may be left out. Results come in the order of the prompts; a run that was stopped goes on when it is started again
with the same files.`,
    )
    .action(action(async () => (await import("./generate.js")).run, always));
}

function addChat(program: Command): void {
  withModel(
    program
      .command("chat")
      .description("talk to an instruct model, turn by turn; /help says what else")
      .option("--system <text>", "what the model is told before all"),
    { maxTokens: 1024 },
  )
    .addHelpText(
      "after",
      `
The conversation is put as the model's chat template says, and what has been said is not computed again. Ctrl-C ends an
answer, Ctrl-D or /quit the command. Lines may come from a pipe, too: each is a turn. With --json all turns are printed at
the end.`,
    )
    .action(action(async () => (await import("./chat.js")).run, always));
}

/** Both compute whatever they are given. */
const always = (): boolean => true;
