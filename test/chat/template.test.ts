/** Chat templates: where they are found, and that a bad one ends with a word. */
import { mkdtemp, rm, writeFile, cp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createChatRenderer } from "../../runtime/chat/renderer.js";
import { chatTemplateOf, turnEnds, type ChatTemplate } from "../../runtime/chat/template.js";
import { ModelError } from "../../runtime/model/error.js";
import { openModel } from "../../runtime/model/model.js";
import { projectFile } from "../support/project.js";

const test = suite("chat/template");

const chatml =
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

const template = (source: string): ChatTemplate => ({ source, place: "a test", bosToken: "<s>", eosToken: "</s>" });

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (error instanceof ModelError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "nothing";
}

/** The example's model with other files beside it. */
async function withFiles<T>(
  files: { readonly [name: string]: string },
  work: (path: string) => Promise<T>,
): Promise<T> {
  const path = await mkdtemp(join(tmpdir(), "espalier-chat-"));
  try {
    await cp(projectFile("examples/classics-3.7m"), path, { recursive: true });
    for (const [name, text] of Object.entries(files)) await writeFile(join(path, name), text);
    return await work(path);
  } finally {
    await rm(path, { recursive: true, force: true });
  }
}

async function found(files: { readonly [name: string]: string }): Promise<ChatTemplate | null> {
  return withFiles(files, async (path) => {
    const model = await openModel(path);
    try {
      return await chatTemplateOf(model);
    } finally {
      await model.close();
    }
  });
}

test("a conversation in the format of ChatML, and special tokens that the template names", async () => {
  const renderer = createChatRenderer(template(`{{ bos_token }}${chatml}`));
  assert.is(
    await renderer.render([
      { role: "system", content: "Be brief." },
      { role: "user", content: "Capital of {{ bos_token }} France?" },
    ]),
    "<s><|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nCapital of {{ bos_token }} France?<|im_end|>\n<|im_start|>assistant\n",
  );
  renderer.close();
});

test("a template that refuses, does not end, takes all memory or is none; the renderer goes on after it", async () => {
  const refusing = createChatRenderer(template("{{ raise_exception('System role not supported') }}"));
  assert.match(
    await refusal(refusing.render([{ role: "user", content: "a" }])),
    /^M147: .*System role not supported\.$/,
  );
  assert.match(await refusal(refusing.render([])), /^M147: There is no message/);
  refusing.close();
  const nested = "{% for a in range(100000) %}{% for b in range(100000) %}{% set c = a %}{% endfor %}{% endfor %}";
  const endless = createChatRenderer(template(`{% if messages|length > 1 %}${nested}{% endif %}ok`), { limit: 500 });
  const message = { role: "user", content: "a" };
  assert.match(await refusal(endless.render([message, message])), /^M147: .*not come to an end in 0\.5 s/);
  endless.close();
  const again = createChatRenderer(template(`{% if messages|length > 1 %}{{ 1 + }}{% endif %}ok`));
  assert.match(await refusal(again.render([message])), /^M147: /);
  again.close();
});

test("found in tokenizer_config.json, by name in a list, and in chat_template.jinja before it", async () => {
  assert.is(await found({}), null);
  const one = await found({
    "tokenizer_config.json": JSON.stringify({
      chat_template: chatml,
      bos_token: { content: "<s>" },
      eos_token: "</s>",
    }),
  });
  assert.equal(one, { source: chatml, place: "tokenizer_config.json", bosToken: "<s>", eosToken: "</s>" });
  const list = [
    { name: "tool_use", template: "no" },
    { name: "default", template: chatml },
  ];
  assert.is((await found({ "tokenizer_config.json": JSON.stringify({ chat_template: list }) }))?.source, chatml);
  const files = { "tokenizer_config.json": JSON.stringify({ chat_template: "no" }), "chat_template.jinja": chatml };
  assert.is((await found(files))?.source, chatml);
  const wrong = { "tokenizer_config.json": JSON.stringify({ chat_template: [{ name: "rag", template: "no" }] }) };
  assert.match(await refusal(found(wrong)), /^M146: .*none is called `default`/);
  assert.match(await refusal(found({ "tokenizer_config.json": '{"chat_template": 7}' })), /^M146: /);
});

test("an answer ends by what ends texts, and by the special token behind the template's turns", () => {
  const spellings = ["a", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"];
  const tokenizer = { special: new Set([1, 2, 3, 4]), spelling: (id: number) => spellings[id] ?? null };
  assert.equal(turnEnds(template(chatml), tokenizer as never, [1]), [1, 3]);
});

test.run();
