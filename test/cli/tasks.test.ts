/** Tasks on the command line: what is printed, and what is wrong before a device is opened. */
import { cpSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { line, lines } from "../llama/tasks/requests.js";
import { espalier, temporaryFolder, toyModel } from "./support.js";

const test = suite("cli: tasks");
const folder = temporaryFolder();
test.after(() => folder.remove());
const toy = await toyModel(test);

const question = (document: number, label: number, context: string, ...continuations: readonly string[]): string =>
  lines(continuations.map((continuation, index) => line(document, index, label, context, continuation)));

const first = folder.write(
  "first.jsonl",
  question(0, 0, "He was", " there", " and", " not") +
    question(1, 1, "It is", " a", " so") +
    question(2, 1, "I", " am", " had"),
);
const second = folder.write("second.jsonl", question(0, 1, "She said", " no", " yes"));

interface Document {
  readonly tasks: readonly Readonly<Record<string, number | string>>[];
  readonly mean: Readonly<Record<string, number>>;
  readonly perplexity?: number;
  readonly seconds: number;
  readonly device: string;
}

test("eval --tasks: accuracies, standard errors, how many of how many; --text beside them", async () => {
  const text = folder.write("text.txt", "He was not there and so it was said that she had been there. ".repeat(20));
  const args = ["eval", "--model", toy, "--tasks", first, second, "--limit", "2", "--device", "cpu"];
  const { code, stdout, stderr } = await espalier(...args, "--text", text, "--window", "16", "--json");
  assert.is(code, 0, stderr);
  const { tasks, mean, perplexity, seconds, device } = JSON.parse(stdout) as Document;
  assert.equal(
    tasks.map(({ name, questions, available, truncated }) => [name, questions, available, truncated]),
    [
      ["first", 2, 3, 0],
      ["second", 1, 1, 0],
    ],
  );
  for (const { questions, accuracy, standardError, accuracyByLength, standardErrorByLength } of tasks)
    for (const [share, error] of [
      [accuracy, standardError],
      [accuracyByLength, standardErrorByLength],
    ] as const) {
      const p = Number(share);
      assert.ok(Number.isInteger(p * Number(questions)));
      // of one question there is none
      assert.is(error, questions === 1 ? null : Math.sqrt((p * (1 - p)) / (Number(questions) - 1)));
    }
  assert.is(mean["questions"], 3);
  assert.ok((perplexity ?? 0) > 1 && seconds > 0 && /CPU/.test(device));
  const words = await espalier(...args);
  assert.is(words.code, 0, words.stderr);
  assert.match(words.stdout, /^first +2 of 3 +\d/m);
  assert.match(words.stdout, /^second +1 +\d+\.00 +- /m);
  assert.match(words.stdout, /^mean +3 /m);
  assert.not.match(words.stdout, /perplexity/);
});

test("what is wrong with a file is said with its line, before a device is opened", async () => {
  const broken = folder.write("broken.jsonl", question(0, 0, "a", " b", " c") + question(1, 2, "a", " b", " c"));
  const far = folder.write("far.jsonl", question(0, 0, "a", ` ${"b ".repeat(600)}`, " c"));
  for (const [path, message] of [
    [broken, /error\[M172\]: .*broken\.jsonl`, line 3: question 1 has the label 2/],
    [far, /error\[M174\]: .*far\.jsonl`, line 1: the continuation has \d+ tokens, which the model's context of 512/],
  ] as const) {
    const { code, stderr } = await espalier("eval", "--model", toy, "--tasks", path, "--device", "99");
    assert.is(code, 1);
    assert.match(stderr, message);
  }
  const long = folder.write("long.jsonl", question(0, 0, "a ".repeat(600), " b", " c"));
  const cut = await espalier("eval", "--model", toy, "--tasks", long, "--device", "99");
  assert.match(cut.stderr, /warning: long: 2 choices of 2 have more tokens than the model's context of 512/);
});

interface Compared {
  readonly models: readonly [string, string];
  readonly tasks: readonly {
    readonly name: string;
    readonly plain: { readonly accuracies: readonly [number, number] };
  }[];
  readonly mean: { readonly plain: { readonly recovery: { readonly value: number | null } } };
  readonly text: {
    readonly perplexities: readonly [number, number];
    readonly divergence: number;
    readonly sameNext: number;
  };
  readonly report: string;
}

test("compare: both models on the same tokens, with a page", async () => {
  // the same model but for some weights of its last tensor
  const smaller = join(folder.path, "smaller");
  cpSync(toy, smaller, { recursive: true });
  const weights = join(smaller, "model.safetensors");
  const bytes = readFileSync(weights);
  writeFileSync(weights, bytes.fill(0, bytes.length - 20_000));
  const text = folder.write("compared.txt", "He was not there and so it was said that she had been there. ".repeat(20));
  const page = join(folder.path, "page.html");
  const args = ["--tasks", first, second, "--text", text, "--window", "16", "--limit", "4", "--device", "cpu"];
  const { code, stdout, stderr } = await espalier("compare", toy, smaller, ...args, "--report", page, "--json");
  assert.is(code, 0, stderr);
  const document = JSON.parse(stdout) as Compared;
  assert.equal(document.models, [toy, smaller]);
  assert.equal([document.tasks.map(({ name }) => name), document.report], [["first", "second"], page]);
  assert.ok(document.text.divergence > 0 && document.text.sameNext <= 1);
  const html = readFileSync(page, "utf8");
  for (const words of ["smaller beside toy", "Recovery, by length", "Divergence along the text", "only second"])
    assert.ok(html.includes(words), words);
});

test("answers of prompts are what every command scores of a .jsonl", async () => {
  const line = (question: string, answer: string): string => `${JSON.stringify({ question, answer })}\n`;
  const text = folder.write("answers.jsonl", line("What was it?", "It was a house.").repeat(6) + line("Who?", "He."));
  const plain = ["--text", text, "--window", "32", "--limit", "3", "--device", "cpu", "--json"];
  const run = async (...args: readonly string[]): Promise<Record<string, unknown>> => {
    const { code, stdout, stderr } = await espalier(...args);
    assert.is(code, 0, stderr);
    return JSON.parse(stdout) as Record<string, unknown>;
  };
  const scored = (await run("eval", "--model", toy, ...plain)) as { perplexity: number; tokens: number };
  assert.ok(scored.tokens > 0 && scored.tokens < 3 * 31, `${scored.tokens} tokens`);
  const near = (value: unknown): boolean => Math.abs(Number(value) / scored.perplexity - 1) < 1e-4;
  const compared = (await run("compare", toy, toy, ...plain)) as { text: { perplexities: number[]; tokens: number } };
  assert.ok(compared.text.perplexities.every(near), compared.text.perplexities.join());
  assert.is(compared.text.tokens, scored.tokens);
  const treated = ["--treatments", "int8", "--by", "block", "--windows", "1"];
  const minded = await run("sensitivity", "--model", toy, ...treated, ...plain, "--calibration", text);
  assert.ok(near(minded["perplexity"]), String(minded["perplexity"]));
  assert.is(minded["tokens"], scored.tokens);
  const out = join(folder.path, "int8");
  const page = ["--window", "32", "--device", "cpu", "--json", "--eval", text, "--limit", "3"];
  const report = (await run("compress", "int8", "--model", toy, "--out", out, ...page)) as {
    perplexities: { of: string; value: number }[];
  };
  assert.ok(near(report.perplexities.find(({ of }) => of === "given")?.value), JSON.stringify(report.perplexities));
});

test("compare refuses models of other tokens: M144, and what would be replaced", async () => {
  const other = join(folder.path, "other");
  cpSync(toy, other, { recursive: true });
  const path = join(other, "tokenizer.json");
  // two tokens change places
  writeFileSync(path, readFileSync(path, "utf8").replace('"!": 2,', '"!": 4,').replace('"#": 4,', '"#": 2,'));
  const args = ["--tasks", first, "--device", "99"];
  const refused = await espalier("compare", toy, other, ...args);
  assert.is(refused.code, 1);
  assert.match(
    refused.stderr,
    /error\[M144\]: .*have different tokenizers: the token 2 is `!` in one and `#` in the other/,
  );
  const page = await espalier("compare", toy, toy, ...args, "--report", join(toy, "page.html"));
  assert.match(page.stderr, /error\[M152\]/);
});

test.run();
