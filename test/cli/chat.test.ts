/** Talking to a model through a pipe, and the prompts of `generate`: the toy model, which says nothing of worth. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { command, ended, start, temporaryFolder, toyModel, type Ended } from "./support.js";

const chat = suite("chat");
const folder = temporaryFolder();
chat.after(() => folder.remove());
const toy = await toyModel(chat, 64);

const template =
  "{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system comes first') }}{% endif %}{{ m.role }} {{ m.content }} {% endfor %}assistant ";
const espalier = (stdin: string | Buffer, ...args: readonly string[]): Promise<Ended> =>
  ended(start(command, [...args, "--device", "cpu"], {}, stdin));

interface Talked {
  readonly messages: readonly { readonly role: string; readonly content: string }[];
  readonly turns: readonly {
    readonly promptTokens: number;
    readonly sharedTokens: number;
    readonly newTokens: number;
  }[];
}

chat(
  "a model without a template is refused, with one an advice is given, and a line says why a text ended",
  async () => {
    const refused = await espalier("hello\n", "chat", "--model", toy, "--json");
    assert.is(refused.code, 1);
    assert.match(refused.stderr, /error\[M146\]: .* has no chat template/);
    writeFileSync(join(toy, "chat_template.jinja"), template);
    const advised = await espalier("", "generate", "--model", toy, "--prompt", "the", "--max-tokens", "2");
    assert.match(advised.stderr, /note: the model has a chat template, .* with --chat it is answered/);
    assert.match(advised.stderr, /2 new tokens .*, ended at --max-tokens/);
  },
);

chat("turns from a pipe: what was said is not computed again, commands do what they say", async () => {
  const saved = join(folder.path, "talk.json");
  const { code, stdout, stderr } = await espalier(
    `the man\nand the\n/save ${saved}\n/save ${saved}\n/nonsense\n/system be good\nsee\n/quit\nnever`,
    ...["chat", "--model", toy, "--max-tokens", "3", "--json"],
  );
  assert.is(code, 0, stderr);
  const { messages, turns } = JSON.parse(stdout) as Talked;
  assert.is(turns.length, 3);
  assert.ok(turns.every(({ newTokens }) => newTokens <= 3));
  assert.is(turns[0]?.sharedTokens, 0);
  assert.ok((turns[1]?.sharedTokens ?? 0) >= 3, "the first turn is kept");
  assert.equal(
    messages.map(({ role, content }) => (role === "assistant" ? role : `${role}: ${content}`)),
    ["system: be good", "user: see", "assistant"],
  );
  const { messages: before } = JSON.parse(readFileSync(saved, "utf8")) as Talked;
  assert.equal(
    before.map(({ role }) => role),
    ["user", "assistant", "user", "assistant"],
  );
  assert.match(stderr, /talk\.json is there already/);
  assert.match(stderr, /there is no \/nonsense/);
});

chat("Ctrl-C ends an answer and not the program and /reset forgets", async () => {
  const { eos_token_id: end } = JSON.parse(readFileSync(join(toy, "generation_config.json"), "utf8")) as {
    readonly eos_token_id: number;
  };
  // what ends a text is never taken: but for the interruption it would fill the context
  const args = ["chat", "--model", toy, "--max-tokens", "100000", "--logit-bias", `${end}=-100`, "--device", "cpu"];
  const child = start(command, args, {}, { open: true });
  const over = ended(child);
  const begun = new Promise((resolve) => child.stdout!.once("data", resolve));
  child.stdin!.write("the man\n");
  await begun;
  child.kill("SIGINT");
  const [said, forgotten] = [join(folder.path, "said.json"), join(folder.path, "forgotten.json")];
  child.stdin!.end(`/save ${said}\n/reset\n/save ${forgotten}\n`);
  const { code, stderr } = await over;
  assert.is(code, 0, stderr);
  assert.not.match(stderr, /context is full/);
  const messages = (file: string): number => (JSON.parse(readFileSync(file, "utf8")) as Talked).messages.length;
  assert.equal([messages(said), messages(forgotten)], [2, 0]);
});

chat("a turn that does not fit is told, and the conversation goes on without it", async () => {
  const { code, stdout, stderr } = await espalier(
    `${"the man and ".repeat(400)}\nthe\n`,
    ...["chat", "--model", toy, "--max-tokens", "2", "--json"],
  );
  assert.is(code, 1);
  assert.match(stderr, /error\[prompt-too-long\]: The conversation has \d+ tokens, .* \/reset begins another/);
  assert.is((JSON.parse(stdout) as Talked).turns.length, 1);
});

chat("generate: a prompt from a file and from stdin, samples of their own, a text that ends at a string", async () => {
  const file = folder.write("prompt.txt", "the man");
  const asked = ["generate", "--model", toy, "--max-tokens", "4", "--json"] as const;
  const fromFile = await espalier("", ...asked, "--prompt-file", file);
  interface Text {
    readonly text: string;
    readonly newTextStart: number;
    readonly ended: string;
    readonly ids: readonly number[];
    readonly samples: readonly { readonly ids: readonly number[] }[];
  }
  const text = JSON.parse(fromFile.stdout) as Text;
  const fresh = text.text.slice(text.newTextStart);
  assert.ok(fresh.length > 1);
  const end = fresh.slice(1, 3);
  const cut = JSON.parse((await espalier("the man", ...asked, "--prompt", "-", "--stop", end)).stdout) as Text;
  assert.equal([cut.ended, cut.text], ["stopped", text.text.slice(0, text.newTextStart + fresh.indexOf(end))]);
  const drawn = await espalier("the man", ...asked, "--prompt", "-", "--n", "2", "--temperature", "3");
  const { samples, ids } = JSON.parse(drawn.stdout) as Text;
  assert.equal([samples.length, samples[0]?.ids], [2, ids]);
  assert.not.equal(samples[1]?.ids, ids);
  const bad = await espalier(Buffer.from([0xff, 0xfe]), ...asked, "--prompt", "-");
  assert.is(bad.code, 1);
  assert.match(bad.stderr, /error\[M104\]: stdin is not text in UTF-8/);
});

chat.run();
