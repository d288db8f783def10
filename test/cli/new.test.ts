/** `espalier new`: what it makes checks, is laid out, and runs. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { format } from "../../compiler/syntax/format.js";
import { createOutput } from "../../runtime/cli/output.js";
import { run } from "../../runtime/cli/new.js";
import { createHost } from "../../runtime/library.js";
import { temporaryFolder } from "./support.js";

const test = suite("new");
const folder = temporaryFolder();
test.after(() => folder.remove());
const output = { ...createOutput(true), result: () => {} };

test("what it makes checks, and is laid out", async () => {
  const made = join(folder.path, "2 Of-4 tried");
  await run(output, made, {});
  const { value, diagnostics } = check(join(made, "recipe.esp"), createHost());
  assert.equal(diagnostics, []);
  assert.equal([...(value?.recipes.keys() ?? [])], ["my_recipe"]);
  for (const file of ["recipe.esp", "score.esp"]) {
    const source = readFileSync(join(made, file), "utf8");
    assert.is(format(source, file).value, source);
  }
});

test("nothing is written over", async () => {
  try {
    await run(output, folder.path, {});
  } catch (error) {
    assert.match(error instanceof Error ? error.message : "", /is not empty/);
    return;
  }
  assert.unreachable();
});

test.run();
