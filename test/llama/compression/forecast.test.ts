import { suite } from "uvu";
import * as assert from "uvu/assert";
import { createForecast } from "../../../runtime/llama/compression/forecast.js";

const test = suite("forecast");

/** A clock that is set by hand, in milliseconds. */
function clock(): { now: number; read(): number } {
  return {
    now: 0,
    read() {
      return this.now;
    },
  };
}

test("a kind of work keeps its pace, and one not yet met is as fast as all was", () => {
  const time = clock();
  const forecast = createForecast({ slow: 10, fast: 100 }, () => time.read());
  assert.equal(forecast.now(), { share: 0, secondsLeft: null });
  time.now = 20_000;
  forecast.done("slow", 5);
  assert.equal(forecast.now(), { share: 20 / 440, secondsLeft: 420 });
  time.now = 30_000;
  forecast.done("fast", 50);
  assert.equal(forecast.now(), { share: 0.5, secondsLeft: 30 });
  time.now = 60_000;
  forecast.done("slow", 5);
  forecast.done("fast", 50);
  assert.equal(forecast.now(), { share: 1, secondsLeft: 0 });
});

test("the share never falls, and more work than was announced is harmless", () => {
  const time = clock();
  const forecast = createForecast({ a: 10, b: 10 }, () => time.read());
  let last = 0;
  for (const [milliseconds, kind, work] of [
    [10, "a", 5],
    [500, "a", 5],
    [100, "b", 1],
    [5000, "b", 4],
    [10, "b", 50],
  ] as const) {
    time.now += milliseconds;
    forecast.done(kind, work);
    const { share } = forecast.now();
    assert.ok(share >= last && share <= 1);
    last = share;
  }
  assert.is(last, 1);
});

test.run();
