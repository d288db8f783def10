/** Problems solved by greedy decoding, several at once. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generateBatch } from "../../../runtime/llama/inference/generate-batch.js";
import { generate } from "../../../runtime/llama/inference/generate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import {
  finalNumber,
  readProblems,
  solveProblems,
  tokenizeProblems,
} from "../../../runtime/llama/tasks/exact-match.js";
import { espalier } from "../../cli/support.js";
import { openToyWorkshop } from "../machine.js";

const test = suite("exact match");
const { caller, model, folder } = await openToyWorkshop(test, "exact-match", 32);

test("the number is that behind ####, without commas, signs of money and a full stop", () => {
  assert.equal(
    ["#### 18", "so 5.\n#### 1,234", "#### $-7.50 and 3", "#### 12.\n#### 13", "18", "#### none", "#### ,"].map(
      finalNumber,
    ),
    ["18", "1234", "-7.50", "12", null, null, null],
  );
});

test("several prompts at once give what each gives alone, whatever their lengths", async () => {
  const session = await openSession(caller, model, { dtype: "f32" });
  const prompts = [1, 3, 70].map((length) => Int32Array.from({ length }, (_, at) => 5 + ((at * 37 + length) % 900)));
  const alone: (readonly number[])[] = [];
  const options = { maxNewTokens: 12, temperature: 0 };
  for (const prompt of prompts) alone.push((await generate(session, prompt, { ...options, eosTokens: [] })).ids);
  assert.equal(await generateBatch(session, prompts, { ...options, eosTokens: [] }), alone);
  // a token that ends one text, and being done, end no other
  const end = alone[2]![4]!;
  const ended = await generateBatch(session, prompts, {
    maxNewTokens: 12,
    eosTokens: [end],
    isDone: (ids) => ids[0] === alone[0]![0],
  });
  const until = (ids: readonly number[]): readonly number[] =>
    ids.includes(end) ? ids.slice(0, ids.indexOf(end)) : ids;
  assert.equal(ended[2], until(alone[2]!).slice(0, alone[2]![0] === alone[0]![0] ? 8 : 12));
  assert.equal(ended[0], until(alone[0]!.slice(0, 8)));
  session.release();
});

test("solutions are told right by their numbers, in the order of the problems", async () => {
  const session = await openSession(caller, model, { dtype: "f32" });
  const path = join(folder, "problems.jsonl");
  const line = (question: string, number: string): string =>
    JSON.stringify({ question, answer: `It is\n#### ${number}` });
  await writeFile(
    path,
    `${line("What is a very long question about many different things?", "1,000")}\n\n${line("And?", "7")}\n${line("Left out", "8")}\n`,
  );
  const problems = await readProblems(path, 2);
  assert.equal([problems.available, problems.problems.map(({ number }) => number)], [3, ["1000", "7"]]);
  const tokenizer = await model.tokenizer();
  const prompts = await tokenizeProblems(problems, tokenizer, model.config.contextLength);
  const solutions: number[] = [];
  const match = await solveProblems(session, problems, prompts, {
    tokenizer: { decode: () => "so\n#### 1000" },
    eosTokens: [],
    maxNewTokens: 2,
    onSolution: (at) => solutions.push(at),
  });
  assert.equal([match.right, match.correct, match.accuracy, match.withoutNumber], [[true, false], 1, 0.5, 0]);
  assert.is(match.standardError, Math.sqrt(0.25));
  assert.equal(solutions, [1, 0], "the shorter one is asked first");
  session.release();
});

test("eval --exact-match: the share, and what the model answered; lines without a number are refused", async () => {
  const path = join(folder, "two.jsonl");
  const written = join(folder, "solutions.jsonl");
  await writeFile(path, '{"question": "1 + 1", "answer": "#### 2"}\n{"prompt": "2 + 1 =", "answer": " 3\\n#### 3"}\n');
  const args = ["eval", "--model", model.directory, "--exact-match", path, "--max-tokens", "4", "--device", "cpu"];
  const { code, stdout, stderr } = await espalier(...args, "--solutions", written, "--json");
  assert.is(code, 0, stderr);
  const { exactMatch } = JSON.parse(stdout) as { exactMatch: Record<string, unknown> };
  assert.equal([exactMatch["problems"], exactMatch["available"]], [2, 2]);
  assert.is((exactMatch["right"] as unknown[]).length, 2);
  const bad = join(folder, "bad.jsonl");
  await writeFile(bad, '{"question": "1 + 1", "answer": "#### 2"}\n{"question": "2 + 1", "answer": "three"}\n');
  const refused = await espalier("eval", "--model", model.directory, "--exact-match", bad, "--device", "99");
  assert.is(refused.code, 1);
  assert.match(refused.stderr, /error\[M145\]: .*bad\.jsonl`, line 2: there is no number/);
});

test.run();
