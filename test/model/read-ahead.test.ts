import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readAhead } from "../../runtime/model/read-ahead.js";

const test = suite("reading ahead");

/** Numbers up to `count`, with a note of each that is begun; fails at `fault`. */
async function* numbers(begun: number[], count: number, fault = Infinity): AsyncGenerator<number> {
  for (let at = 0; at < count; at++) {
    begun.push(at);
    if (at === fault) throw new Error(`fault at ${at}`);
    yield await Promise.resolve(at);
  }
}

test("items come in order, each begun while the one before is used", async () => {
  const begun: number[] = [];
  const seen: string[] = [];
  for await (const item of readAhead(numbers(begun, 3))) {
    await new Promise((resolve) => setTimeout(resolve, 1));
    seen.push(`${item} of ${begun.length}`);
  }
  assert.equal(seen, ["0 of 2", "1 of 3", "2 of 3"]);
});

test("a fault comes when its item is due, and is left alone by who stops before", async () => {
  const seen: number[] = [];
  const all = async (): Promise<void> => {
    for await (const item of readAhead(numbers([], 3, 2))) seen.push(item);
  };
  assert.is(await all().catch((error: unknown) => String(error)), "Error: fault at 2");
  assert.equal(seen, [0, 1]);
  for await (const item of readAhead(numbers([], 3, 1))) {
    assert.is(item, 0);
    break;
  }
  await new Promise((resolve) => setTimeout(resolve, 5));
});

test.run();
