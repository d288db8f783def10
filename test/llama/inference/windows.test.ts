import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LlamaError } from "../../../runtime/llama/error.js";
import { ropeFrequencies } from "../../../runtime/llama/inference/rope.js";
import { calibrationWindows, scoredWindows } from "../../../runtime/llama/windows.js";

const test = suite("windows and rope");
const text = Array.from({ length: 11 }, (_, at) => at + 10);

test("with a first token every token of a window is scored", () => {
  const windows = scoredWindows(text, 4, 1);
  assert.is(windows.count, 2);
  assert.equal([...windows.ids], [1, 10, 11, 12, 1, 14, 15, 16]);
  assert.equal([...windows.targets], [10, 11, 12, 13, 14, 15, 16, 17]);
});

test("without one all but the first are scored", () => {
  const windows = scoredWindows(text, 4, null, 1);
  assert.equal([windows.count, windows.tokens], [1, 3]);
  assert.equal([...windows.ids], [10, 11, 12]);
  assert.equal([...windows.targets], [11, 12, 13]);
});

test("calibration windows hold the first token and the text after it", () => {
  assert.equal([...calibrationWindows(text, 4, 1, 2).ids], [1, 10, 11, 12, 1, 13, 14, 15]);
  assert.equal([...calibrationWindows(text, 4, null, undefined).ids], [10, 11, 12, 13, 14, 15, 16, 17]);
});

test("a text with fewer windows than are asked for is refused with how many tokens are needed", () => {
  assert.throws(
    () => calibrationWindows(text, 4, null, 9),
    (error: unknown) =>
      error instanceof LlamaError &&
      error.code === "text-too-short" &&
      error.message.includes("11 tokens") &&
      error.message.includes("need 36") &&
      error.message.includes("enough for 2"),
  );
  assert.throws(
    () => calibrationWindows(text, 40, 1, undefined),
    (error: unknown) => error instanceof LlamaError && error.message.includes("needs 39"),
  );
});

test("a text shorter than a window is refused", () => {
  assert.throws(
    () => scoredWindows(text, 12, null),
    (error: unknown) => error instanceof LlamaError && error.code === "text-too-short",
  );
  assert.throws(
    () => scoredWindows([], 1, 0),
    (error: unknown) => error instanceof LlamaError && error.code === "text-too-short",
  );
  assert.throws(
    () => scoredWindows(text, 1, null),
    (error: unknown) => error instanceof LlamaError && error.code === "bad-window",
  );
});

test("default frequencies fall from 1 by equal factors", () => {
  assert.equal(
    [...ropeFrequencies(8, { kind: "default", theta: 10000 })].map((f) => f.toFixed(6)),
    ["1.000000", "0.100000", "0.010000", "0.001000"],
  );
});

test("Llama 3 scaling keeps short wavelengths, stretches long ones, and blends between", () => {
  const plain = ropeFrequencies(128, { kind: "default", theta: 500000 });
  const scaled = ropeFrequencies(128, {
    kind: "llama3",
    theta: 500000,
    factor: 8,
    lowFrequencyFactor: 1,
    highFrequencyFactor: 4,
    originalContext: 8192,
  });
  assert.is(scaled[0], plain[0]);
  assert.is(scaled[28], plain[28]);
  assert.ok(Math.abs(scaled[63]! * 8 - plain[63]!) < 1e-12);
  const between = [...scaled].filter((value, pair) => value < plain[pair]! * 0.999 && value > plain[pair]! * 0.126);
  assert.ok(between.length > 0 && between.length < 12);
  // the longer the wavelength, the more it is stretched
  const stretched = [...scaled].map((value, pair) => plain[pair]! / value);
  assert.ok(stretched.every((factor, pair) => pair === 0 || factor > stretched[pair - 1]! * (1 - 1e-6)));
});

test.run();
