/** `generate --batch`: what a line may say, results in order, a run that goes on, and what is told before anything runs. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { doneOf, readBatch } from "../../runtime/cli/batch-lines.js";
import { command, ended, start, toyModel, type Ended } from "./support.js";

const test = suite("batch");
const folder = await mkdtemp(join(tmpdir(), "espalier-batch-"));
const [given, out] = [join(folder, "in.jsonl"), join(folder, "out.jsonl")];
const toy = await toyModel(test);
test.after(() => rm(folder, { recursive: true }));

const espalier = (...args: readonly string[]): Promise<Ended> => ended(start(command, args));

function documentOf<T>({ code, stdout, stderr }: Ended): T {
  assert.is(code, 0, stderr);
  return JSON.parse(stdout) as T;
}

const results = async (): Promise<
  readonly { readonly line: number; readonly text: string; readonly ended: string }[]
> =>
  (await readFile(out, "utf8"))
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { line: number; text: string; ended: string });

test("all bad lines are told with their numbers", async () => {
  const bad: readonly (readonly [string, RegExp])[] = [
    ["nonsense", /is not JSON: "nonsense"/],
    ["[1]", /should be an object/],
    ["{}", /should have a prompt, a text/],
    ['{"prompt": "a", "top": 1}', /has "top"; known are prompt, max_tokens/],
    ['{"prompt": "a", "max_tokens": 0}', /should have for max_tokens a whole number, 1 or more, found 0/],
    ['{"prompt": "a", "seed": -1}', /should have for seed a whole number/],
    ['{"prompt": "a", "temperature": "hot"}', /should have for temperature from 0 to 100, found "hot"/],
    ['{"prompt": "a", "stop": [""]}', /should have for stop a text of 1 to 1024 characters/],
  ];
  await writeFile(given, ['{"prompt": "fine"}', "", ...bad.map(([line]) => line)].join("\n"));
  const error = await readBatch(given).catch((thrown: unknown) => thrown as Error);
  assert.instance(error, Error);
  const told = (error as Error).message.split("\n");
  assert.is(told.length, bad.length);
  bad.forEach(([, message], at) => {
    assert.match(told[at]!, new RegExp(`^line ${at + 3} of `));
    assert.match(told[at]!, message);
  });
});

test("results are in order, as each prompt has them alone, and a run that was stopped goes on", async () => {
  const lines = [
    { prompt: "the", max_tokens: 6 },
    { prompt: "a of the", max_tokens: 2 },
    { prompt: "the", max_tokens: 5, temperature: 1, seed: 3 },
  ];
  await writeFile(given, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const run = (): Promise<Ended> =>
    espalier(
      "generate",
      "--model",
      toy,
      "--batch",
      given,
      "--out",
      out,
      "--sequences",
      "4",
      "--device",
      "cpu",
      "--json",
    );
  const whole = documentOf<Record<string, unknown>>(await run());
  assert.equal([whole["prompts"], whole["kept"], whole["newTokens"]], [3, 0, 13]);
  const found = await results();
  assert.equal(
    found.map(({ line, ended }) => [line, ended]),
    [
      [1, "length"],
      [2, "length"],
      [3, "length"],
    ],
  );
  const alone = documentOf<{ readonly text: string }>(
    await espalier("generate", "--model", toy, "--prompt", "the", "--max-tokens", "6", "--device", "cpu", "--json"),
  );
  assert.is(`the${found[0]!.text}`, alone.text);
  // the second line is not whole: it is made again, and the third
  const text = await readFile(out, "utf8");
  await writeFile(out, text.slice(0, text.indexOf("\n") + 9));
  const rest = documentOf<Record<string, unknown>>(await run());
  assert.equal([rest["kept"], rest["newTokens"]], [1, 7]);
  assert.is(await readFile(out, "utf8"), text);
  // other prompts are not gone on with
  const read = await readBatch(given);
  assert.throws(
    () => doneOf(out, [read[1]!, ...read.slice(1)]),
    /line 1 of .* is not the result of the prompt in line 2/,
  );
  assert.throws(() => doneOf(out, read.slice(0, 2)), /has 3 results, and there are 2 prompts/);
});

test("what a batch does not have is refused, and not passed over", async () => {
  for (const [args, message] of [
    [["--prompt", "x", "--out", out], /--batch does not go with --prompt/],
    [["--n", "2", "--out", out], /--batch does not go with --n/],
    [[], /--batch needs --out FILE/],
  ] as const) {
    const { code, stderr } = await espalier("generate", "--model", toy, "--batch", given, ...args);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test.run();
