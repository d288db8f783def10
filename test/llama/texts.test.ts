/** Texts as one: mixed by weight, cut into windows, and answers told from prompts. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { givenTexts } from "../../runtime/cli/text.js";
import { splitWindows } from "../../runtime/llama/compression/model-training.js";
import { LlamaError } from "../../runtime/llama/error.js";
import { answeredTokens, mixTexts, packRecords, readPlain, readRecords } from "../../runtime/llama/texts.js";
import { calibrationWindows } from "../../runtime/llama/windows.js";
import { ModelError } from "../../runtime/model/error.js";
import type { TrainSettings } from "../../compiler/recipe/recipe.js";

const test = suite("texts");
const folder = await mkdtemp(join(tmpdir(), "espalier-texts-"));
test.after(() => rm(folder, { recursive: true, force: true }));

/** Tokens of which the hundreds say the text, and what is left the place. */
const some = (name: string, of: number, length: number, weight = 1): Parameters<typeof mixTexts>[0][number] => ({
  name,
  weight,
  answers: null,
  ids: Array.from({ length }, (_, at) => 100 * of + at),
});

async function refusal(run: () => unknown): Promise<string> {
  try {
    await run();
  } catch (error) {
    if (error instanceof ModelError || error instanceof LlamaError) return `${error.code}: ${error.message}`;
    throw error;
  }
  return "nothing is refused";
}

test("one text stays as it is, its last partial window too", () => {
  const text = some("a", 1, 11);
  assert.equal(mixTexts([text], 4), { ids: text.ids, answers: null, origins: null });
});

test("any first part of several texts has them in proportion, in whole windows of one text", () => {
  const { ids, origins } = mixTexts([some("a", 1, 33), some("b", 2, 19)], 4);
  const windows = Array.from({ length: ids.length / 4 }, (_, at) => ids.slice(4 * at, 4 * at + 4));
  assert.is(windows.length, 8 + 4);
  for (const [first = 0, ...more] of windows)
    assert.equal(
      more,
      [1, 2, 3].map((by) => first + by),
    );
  const texts = windows.map(([first = 0]) => Math.floor(first / 100));
  assert.equal(texts.slice(0, 6).filter((of) => of === 2).length, 2);
  assert.is(origins, null);
});

test("a weight repeats windows, or takes a part of them that is spread", () => {
  const { ids, origins } = mixTexts([some("a", 1, 16), some("b", 2, 8, 2.5), some("c", 3, 40, 0.3)], 4);
  const count = (of: number): readonly number[] =>
    ids.filter((id, at) => at % 4 === 0 && Math.floor(id / 100) === of).sort((a, b) => a - b);
  assert.equal(count(1), [100, 104, 108, 112]);
  assert.equal(count(2), [200, 200, 204, 204, 204]);
  assert.equal(count(3), [304, 320, 332]);
  assert.is(origins?.length, 12);
  assert.is(new Set(origins).size, 4 + 2 + 3);
});

test("what is held out is trained on in none of its places", () => {
  const { ids, origins } = mixTexts([some("a", 1, 80, 3)], 4);
  const windows = { ...calibrationWindows(ids, 4, null, 60), scored: null, origins };
  const { train, held } = splitWindows(windows, { batch: 2, held_out: 0.1 } as TrainSettings);
  const watched = new Set(held.map((at) => origins?.[at]));
  assert.ok(held.length >= 6 && train.length > 30);
  assert.ok(train.every((at) => !watched.has(origins?.[at])));
});

test("windows in which nothing counts are neither trained on nor watched; where there are no others it is refused", async () => {
  const scored = new Uint8Array(40 * 4);
  for (let at = 3; at < 40; at += 4) scored[at * 4 + 1] = 1;
  const windows = { count: 40, tokens: 4, ids: new Int32Array(160), scored };
  const settings = { batch: 2, held_out: 0.2 } as TrainSettings;
  const { train, held } = splitWindows(windows, settings);
  assert.equal(held, [11, 31]);
  assert.equal(train, [3, 7, 15, 19, 23, 27, 35, 39]);
  const refused = (more: Partial<TrainSettings>, counts = scored): Promise<string> =>
    refusal(() => splitWindows({ ...windows, scored: counts }, { ...settings, ...more }));
  assert.match(
    await refused({ batch: 9 }),
    /the text has 40, 10 of them with a part of an answer, of which 2 are held/,
  );
  assert.match(await refused({}, new Uint8Array(160)), /in the text's 40 windows of 4 tokens no token is part of one/);
});

test("texts and weights that cannot be taken are refused", async () => {
  assert.match(await refusal(() => mixTexts([some("a", 1, 9), some("b", 2, 3)], 4)), /text-too-short: b has 3 tokens/);
  for (const weight of [0, -1, NaN, 2000])
    assert.match(await refusal(() => mixTexts([some("a", 1, 9, weight)], 4)), /bad-option: The weight of a/);
  assert.equal(givenTexts([join(folder, "a=b.txt"), "x.txt=2.5", "y=z"]), [
    { path: join(folder, "a=b.txt"), weight: 1 },
    { path: "x.txt", weight: 2.5 },
    { path: "y=z", weight: 1 },
  ]);
  for (const weight of ["0", "-2", "1001"])
    assert.throws(() => givenTexts([`x.txt=${weight}`]), /the weight of the text x\.txt should be a number above 0/);
});

test("of prompts and answers the answers count; what does not fit begins the next window", async () => {
  const encode = async (text: string): Promise<number[]> => [...text].map((letter) => letter.charCodeAt(0));
  const records = [
    { prompt: "ab", answer: "c" },
    { prompt: "de", answer: "fg" },
    { prompt: "hi", answer: null },
  ];
  const { ids, answers } = await packRecords(records, encode, [46], 6);
  assert.is(String.fromCharCode(...ids), "abc.dedefg.hi.abc.");
  assert.is([...(answers ?? [])].join(""), "001100001111110000");
  const own = calibrationWindows(ids, 6, null, undefined);
  const scored = answeredTokens(answers, own, 0);
  assert.is([...(scored ?? [])].join(""), "011000011110100000");
  // with a token before each window the text's own begin one later
  const led = calibrationWindows(ids, 7, 0, undefined);
  assert.is([...(answeredTokens(answers, led, 1) ?? [])].slice(0, 7).join(""), "0011000");
});

test("lines are read by their fields, gzip too, and refused by file and number", async () => {
  const path = join(folder, "some.jsonl.gz");
  const lines = [
    { prompt: "p", answer: "a" },
    { question: "q", answer: "a" },
    { text: "t", more: 1 },
  ].map((each) => JSON.stringify(each));
  await writeFile(path, gzipSync(`${lines.join("\n\n")}\n`));
  assert.equal(await readRecords(path), [
    { prompt: "p", answer: "a" },
    { prompt: "Question: q\nAnswer:", answer: " a" },
    { prompt: "t", answer: null },
  ]);
  for (const [line, why] of [
    ["{", /it is not JSON/],
    [`{"prompt": "p"}`, /its fields are not those of a text/],
    [`{"question": "q", "answer": 3}`, /its fields/],
    [`{"prompt": "p", "answer": " "}`, /its answer is empty/],
    ["[]", /its fields/],
    ["null", /its fields/],
  ] as const) {
    const wrong = join(folder, "wrong.jsonl");
    await writeFile(wrong, `${lines[0]}\n${line}\n`);
    const found = await refusal(() => readRecords(wrong));
    assert.match(found, /^M145: `.*wrong\.jsonl`, line 2: /);
    assert.match(found, why);
  }
  await writeFile(path, gzipSync("\n\n"));
  assert.match(await refusal(() => readRecords(path)), /^M143/);
});

test("a text may be compressed; damaged, empty and endless ones are refused", async () => {
  const path = join(folder, "plain.gz");
  const packed = gzipSync("a text");
  await writeFile(path, packed);
  assert.is(await readPlain(path), "a text");
  await writeFile(path, packed.subarray(0, packed.length - 4));
  assert.match(await refusal(() => readPlain(path)), /^M170: .*damaged gzip/);
  await writeFile(path, gzipSync(" "));
  assert.match(await refusal(() => readPlain(path)), /^M143/);
});

test.run();
