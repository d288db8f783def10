/** The command that serves a model. */
import type { Command } from "commander";
import { action } from "./action.js";
import { withActivations, withDtype } from "./dtype.js";
import { byteCount, integer, withDevice, withDevices, withTuned } from "./options.js";

/** Adds `serve`. */
export function addServingCommands(program: Command): void {
  const command = withTuned(
    withDevice(
      withDtype(
        withActivations(
          program
            .command("serve")
            .description("serve a model to many at once, by the OpenAI interface over HTTP")
            .requiredOption("--model <path>", "model directory or GGUF file")
            .option("--name <name>", "what requests call the model (default: the name of its directory or file)")
            .option("--port <port>", "port; 0 for one that is free", integer(0, 65535), 8080)
            .option("--host <address>", "address to listen on; 0.0.0.0 for all of this machine's", "127.0.0.1")
            .option("--sequences <n>", "texts that are given tokens at once; others wait", integer(1, 64), 16)
            .option("--queue <n>", "texts that may wait; more are refused with 429", integer(0, 2 ** 20), 1024)
            .option("--context <n>", "tokens of a text at most (default: the model's context)", integer(1))
            .option("--cache-memory <bytes>", "memory for keys and values, as 2GiB", byteCount)
            .option("--api-key <key>", "key that requests must carry (default: ESPALIER_API_KEY)")
            .option("--cors <origin>", "an origin whose pages may use the server, or *; none by default"),
        ),
      ),
    ),
  );
  withDevices(command, "a process each, behind one address, and requests to the one with the least under way")
    .addHelpText(
      "after",
      `
  POST /v1/completions         prompt: text, texts or token ids; echo and logprobs, also of the prompt's tokens
  POST /v1/chat/completions    for a model with a chat template
  GET  /v1/models  /health  /metrics (Prometheus)

Both answer whole or, with "stream": true, in server-sent events. max_tokens, temperature, top_p, top_k, min_p, seed, n,
repetition_penalty, presence_penalty, frequency_penalty, logit_bias, stop and logprobs are taken; a field that is not
known is refused by name. A client that goes away frees its place.

SIGTERM and Ctrl-C end the server when all requests have their answers, after 60 s in any case; the second one at once.

With --devices a process that dies is started again, once. A request that it had is asked of another process unless a part
of its answer is sent already: then the stream ends with an error.`,
    )
    .action(
      action(
        async () => (await import("./serve.js")).run,
        () => true,
      ),
    );
}
