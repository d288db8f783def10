/** A model behind the OpenAI interface, from the command to its end. */
import { readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import OpenAI from "openai";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectFile } from "../support/project.js";
import { command, ended, espalier, printed, start, toyModel } from "./support.js";

const serve = suite("serve");
const toy = await toyModel(serve);
const settings = join(toy, "tokenizer_config.json");
await writeFile(
  settings,
  JSON.stringify({
    ...(JSON.parse(readFileSync(settings, "utf8")) as object),
    chat_template:
      "{{ bos_token }}{% for m in messages %}{% if m.role == 'loop' %}{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}{% endif %}{{ m.role }}: {{ m.content }}\n{% endfor %}assistant:",
  }),
);

serve("a model answers the client, alone and among others alike, and SIGTERM ends it when all is said", async () => {
  const small = ["--device", "cpu", "--sequences", "4", "--context", "64"];
  const child = start(command, ["serve", "--model", toy, "--port", "0", "--json", ...small]);
  let document = "";
  child.stdout?.on("data", (chunk: Buffer) => (document += chunk.toString("utf8")));
  const over = ended(child);
  await printed(child, '"device"');
  while (!document.trimEnd().endsWith("}")) await new Promise((resolve) => setTimeout(resolve, 5));
  const { url, model, port } = JSON.parse(document) as { url: string; model: string; port: number };
  assert.is(model, "toy");
  const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });

  const ask = { model, prompt: "It was a dark night", max_tokens: 6, temperature: 0 };
  const alone = await client.completions.create(ask);
  const many = await Promise.all([1, 2, 3, 4, 5].map(() => client.completions.create(ask)));
  for (const other of many) assert.is(other.choices[0]?.text, alone.choices[0]?.text);
  let streamed = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true }))
    streamed += chunk.choices[0]?.text ?? "";
  assert.is(streamed, alone.choices[0]?.text);

  // as a harness scores a continuation: what follows the context, and of what was new nothing
  const scored = await client.completions.create({ ...ask, max_tokens: 1, echo: true, logprobs: 1 });
  const { token_logprobs: own = [], top_logprobs: top = [] } = scored.choices[0]?.logprobs ?? {};
  assert.is(own.length, scored.usage!.prompt_tokens + 1);
  assert.is(own[0], null);
  for (const [at, logprob] of own.entries())
    if (at > 0) assert.ok(logprob < 0 && logprob <= Math.max(...Object.values(top[at] ?? {})));

  const messages = [{ role: "user" as const, content: "Who is there?" }];
  const answer = await client.chat.completions.create({ model, messages, max_tokens: 4, temperature: 0 });
  assert.is(answer.usage?.completion_tokens, 4);
  assert.type(answer.choices[0]?.message.content, "string");

  const taken = await espalier("serve", "--model", toy, "--port", String(port), "--json");
  assert.is(taken.code, 2);
  assert.match(taken.stderr, /port \d+ of 127\.0\.0\.1 is in use: give another with --port/);

  const last = await client.completions.create({
    ...ask,
    max_tokens: 40,
    stream: true,
    stream_options: { include_usage: true },
  });
  let used: number | undefined;
  let began = false;
  for await (const { usage } of last) {
    // the request is under way: a busy machine may take long to come so far
    if (!began) child.kill("SIGTERM");
    began = true;
    used = usage?.completion_tokens ?? used;
  }
  assert.is(used, 40);
  const { code, stderr } = await over;
  assert.is(code, 0, stderr);
  assert.match(stderr, /stopping: requests that are under way/);
});

serve(
  "a device that is lost ends the server, with a message and a code, and the request that was under way",
  async () => {
    // imported before the command: its device is lost when the process gets SIGUSR2
    const loss = join(toy, "lose-device.mjs");
    await writeFile(
      loss,
      `const { globals } = await import(${JSON.stringify(pathToFileURL(projectFile("node_modules/webgpu/index.js")).href)});
const { prototype } = globals.GPUAdapter;
const own = prototype.requestDevice;
prototype.requestDevice = async function (...given) {
  const device = await own.apply(this, given);
  process.once("SIGUSR2", () => device.destroy());
  return device;
};`,
    );
    const injected = { NODE_OPTIONS: `--import=${pathToFileURL(loss).href}` };
    const small = ["--device", "cpu", "--sequences", "2", "--context", "512", "--port", "0"];
    const child = start(command, ["serve", "--model", toy, "--name", "toy", ...small], injected);
    const over = ended(child);
    let told = "";
    child.stderr?.on("data", (chunk: Buffer) => (told += chunk.toString("utf8")));
    await printed(child, "texts at once");
    const baseURL = /http:\/\/\S+\/v1/.exec(told)![0];
    const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
    const asked = { model: "toy", prompt: "It was", max_tokens: 400, temperature: 0, stream: true } as const;
    let seen = 0;
    const error = await (async () => {
      for await (const _ of await client.completions.create(asked)) if (++seen === 3) child.kill("SIGUSR2");
    })().catch((thrown: unknown) => thrown);
    assert.instance(error, Error);
    assert.ok(seen < 400);
    const { code, stderr } = await over;
    assert.is(code, 1, stderr);
    assert.is(stderr.match(/error\[device-lost\]: .* was lost: /g)?.length, 1, stderr);
  },
);

serve.run();
