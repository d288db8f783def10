/** Files of requests: what is read of them, and what is wrong with them, by line. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readTask, taskLimits, taskName } from "../../../runtime/llama/tasks/questions.js";
import type { ModelErrorCode } from "../../../runtime/model/error.js";
import { failure, inDirectory } from "../../model/support.js";
import { line, lines } from "./requests.js";

const test = suite("tasks: questions");

test("choices are put together by document and sorted, other documents passed over", async () => {
  const text = lines([
    line(7, 1, 1, "Is it?", " no"),
    line(8, 0, 0, "And?", " yes"),
    line(1_000_007, 0, 1, "Answer:", " yes"),
    line(7, 0, 1, "Is it?", " yes"),
    line(8, 1, 0, "And?", " no"),
    line(8, 2, 0, "Or?", " so"),
  ]);
  const expected = [
    {
      label: 1,
      choices: [
        { context: "Is it?", continuation: " yes", line: 4 },
        { context: "Is it?", continuation: " no", line: 1 },
      ],
    },
    {
      label: 0,
      choices: [
        { context: "And?", continuation: " yes", line: 2 },
        { context: "And?", continuation: " no", line: 5 },
        { context: "Or?", continuation: " so", line: 6 },
      ],
    },
  ];
  await inDirectory(async (directory) => {
    const [plain, packed] = [join(directory, "two.jsonl"), join(directory, "two.jsonl.gz")];
    await writeFile(plain, text);
    // a file may be several gzip files in a row
    await writeFile(packed, Buffer.concat([gzipSync(text.slice(0, 70)), gzipSync(text.slice(70))]));
    for (const path of [plain, packed]) {
      assert.equal(await readTask(path), { name: "two", path, questions: expected, available: 2 });
      const one = await readTask(path, { limit: 1 });
      assert.equal([one.questions, one.available], [expected.slice(0, 1), 2]);
    }
  });
});

test("a file goes by its name, or by its folders where that says nothing", () => {
  for (const [path, name] of [
    ["tasks/piqa/rc_0shot/requests.jsonl.gz", "piqa/rc_0shot"],
    ["piqa/requests.jsonl", "piqa"],
    ["requests.jsonl.gz", "requests"],
    ["tasks/arc_easy.jsonl.gz", "arc_easy"],
    ["a.b.jsonl", "a.b"],
  ] as const)
    assert.is(taskName(path), name);
});

const good = line(0, 0, 1, "c", " a");
const refused: readonly (readonly [string, ModelErrorCode, string, RegExp])[] = [
  ["no JSON", "M171", `${good}\n{"request"`, /line 2 is not JSON/],
  ["no object", "M171", `[1]`, /line 1: expected an object, found the list \[1\]/],
  ["no request", "M171", `${good}\n{"doc_id": 1}`, /line 2: expected `request` to be an object .*, found nothing/],
  ["no context", "M171", `{"request": {"continuation": " a"}}`, /`request\.context` to be a string, found nothing/],
  [
    "an inherited field",
    "M171",
    `{"request": {"__proto__": {"context": "c"}, "continuation": " a"}}`,
    /`request\.context`/,
  ],
  [
    "a continuation that is a list",
    "M171",
    `{"request": {"context": "", "continuation": [1]}}`,
    /found the list \[1\]/,
  ],
  ["no document", "M171", `{"request": {"context": "c", "continuation": " a"}, "idx": 0}`, /`doc_id` to be a whole/],
  ["a negative index", "M171", line(0, -1, 0, "c", " a"), /`idx` to be the number of the choice, from 0 on, found -1/],
  ["nothing to score", "M171", `${good}\n${line(0, 1, 1, "c", "")}`, /line 2: `request\.continuation` is empty/],
  [
    "labels that differ",
    "M172",
    `${good}\n${line(0, 1, 0, "c", " b")}`,
    /line 2: the label of question 0 is 0 here and 1 in line 1/,
  ],
  [
    "a label out of range",
    "M172",
    lines([line(0, 0, 2, "c", " a"), line(0, 1, 2, "c", " b")]),
    /question 0 has the label 2, but its choices are 0 to 1/,
  ],
  ["a choice that is missing", "M172", `${good}\n${line(0, 2, 1, "c", " b")}`, /question 0 lacks the choice 1/],
  [
    "a choice twice",
    "M172",
    `${good}\n${line(0, 1, 1, "c", " b")}\n${line(0, 1, 1, "c", " d")}`,
    /the choice 1 twice, in lines 2 and 3/,
  ],
  [
    "a question cut short",
    "M172",
    `${good}\n${line(0, 1, 1, "c", " b")}\n${line(1, 0, 0, "c", " a")}`,
    /line 3: question 1 has one choice only/,
  ],
  ["no question", "M172", `\n${line(1_000_000, 0, 1, "c", " a")}\n`, /has no question/],
  [
    "one continuation each",
    "M173",
    `${good}\n${line(1, 0, 0, "c", " a")}`,
    /not multiple choice: each question has one/,
  ],
  [
    "answers for labels",
    "M173",
    `{"request": {"context": "c", "continuation": " a"}, "doc_id": 0, "idx": 0, "label": ["a"]}`,
    /not multiple choice: the label in line 1 is the list \["a"\]/,
  ],
];

for (const [what, code, text, message] of refused)
  test(`${what}: ${code}`, () =>
    inDirectory(async (directory) => {
      const path = join(directory, "task.jsonl");
      await writeFile(path, text);
      const error = await failure(code, readTask(path));
      assert.match(error.message, message);
      assert.match(error.message, "task.jsonl");
    }));

test("damaged and oversized files: M170, with the line", () =>
  inDirectory(async (directory) => {
    const path = join(directory, "task.jsonl.gz");
    const whole = gzipSync(lines(Array.from({ length: 2000 }, (_, at) => line(at, 0, 0, `question ${at * at}`, " a"))));
    const cases: readonly (readonly [Uint8Array | string, Partial<typeof taskLimits>, RegExp])[] = [
      [whole.subarray(0, whole.length - 400), {}, /line \d{2,}: the compressed file ends here/],
      // its checksum
      [
        Buffer.concat([whole.subarray(0, -8), Buffer.alloc(8, 0xff)]),
        {},
        /line \d+: the compressed file is damaged here/,
      ],
      [Buffer.from([...Buffer.from(`${good}\n`), 0xff, 0xfe]), {}, /line 2: it is not text in UTF-8/],
      [`${good}\n${line(0, 1, 1, "c".repeat(1000), " b")}`, { line: 1000 }, /line 2: the line has more than 1000 B/],
      // a small file that becomes a large one
      [gzipSync("\n".repeat(100_000)), { file: 5000 }, /the file has more than 4.88 KiB of text/],
      [`${good}\n${good}\n${good}`, { requests: 2 }, /line 3: the file has more than 2 lines/],
      [
        lines([line(0, 0, 0, "abc", "d"), line(0, 1, 0, "abc", "e"), line(1, 0, 0, "f", "g")]),
        { kept: 6 },
        /line 3: .* more than 6 characters/,
      ],
    ];
    for (const [bytes, limits, message] of cases) {
      await writeFile(path, bytes);
      assert.match((await failure("M170", readTask(path, { limits: { ...taskLimits, ...limits } }))).message, message);
    }
    await failure("M100", readTask(join(directory, "none.jsonl")));
    await failure("M101", readTask(directory));
  }));

test.run();
