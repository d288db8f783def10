import { suite } from "uvu";
import * as assert from "uvu/assert";
import { judge, type Ended } from "./verdict.js";

const test = suite("support/verdict");

const summary = (total: number, passed: number, skipped = 0): string =>
  ` x • ✘   (${passed} / ${total})\n\n  Total:     ${total}\n  Passed:    ${passed}\n  Skipped:   ${skipped}\n  Duration:  1.00ms\n\n`;
const ended = (output: string, extra: Partial<Ended> = {}): Ended => ({
  output,
  code: 0,
  signal: null,
  late: false,
  seconds: 1,
  ...extra,
});
const none = { notRun: [], notRunCount: 0 };
const counts = (one: Ended): readonly [number, number] => [judge(one).passed, judge(one).failed];

test("tests are counted by the last summary", () => {
  assert.equal(judge(ended(summary(5, 5))), { ...none, passed: 5, failed: 0, reasons: [] });
  assert.equal(judge(ended(`   FAIL  "a"\n${summary(5, 4)}`, { code: 1 })), {
    ...none,
    passed: 4,
    failed: 1,
    reasons: [],
  });
  assert.equal(counts(ended(summary(9, 1) + summary(5, 5))), [5, 0]);
  assert.equal(
    counts(ended(summary(2, 2).replace("Passed", "\x1b[32mPassed").replace("2\n  Skip", "2\x1b[39m\n  Skip"))),
    [2, 0],
  );
});

test("what uvu passes over is a failure", () => {
  assert.equal(judge(ended(summary(5, 2))), {
    ...none,
    passed: 2,
    failed: 3,
    reasons: ["3 tests did not run: a hook threw"],
  });
  assert.equal(judge(ended(summary(5, 5, 2))), { ...none, passed: 5, failed: 2, reasons: ["2 skipped"] });
  assert.equal(judge(ended(summary(0, 0))), { ...none, passed: 0, failed: 1, reasons: ["holds no tests"] });
});

test("what is not run on this machine is reported, and has not passed", () => {
  const output = ` x • \nnot run: the device has no timestamps\n• \nnot run, in part: a locked folder: this is root\n`;
  assert.equal(judge(ended(output + summary(5, 5))), {
    passed: 4,
    failed: 0,
    reasons: [],
    notRun: ["the device has no timestamps", "in part: a locked folder: this is root"],
    notRunCount: 1,
  });
});

test("a process that does not end well is a failure", () => {
  assert.equal(judge(ended("", { code: 1 })).reasons, ["ended with code 1 before its tests did"]);
  assert.equal(judge(ended("", { code: 0 })).reasons, ["ended with code 0 before its tests did"]);
  assert.equal(counts(ended(summary(3, 3), { code: null, signal: "SIGSEGV" })), [3, 1]);
  assert.equal(counts(ended(summary(3, 3), { code: 7 })), [3, 1]);
  assert.equal(judge(ended(summary(3, 3), { code: null, signal: "SIGKILL", late: true })).reasons, [
    "all tests ran, but the process did not end: something is still open",
  ]);
  assert.equal(judge(ended("", { code: null, signal: "SIGKILL", late: true })).reasons, ["did not end in time"]);
});

test.run();
