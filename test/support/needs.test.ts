/** The split of the suite: what needs a device or another process, and what is run for each edit. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { longTests, testsWithDevice } from "./needs.js";
import { filesBelow, readSources } from "./sources.js";

const test = suite("split of the suite");
const slow = testsWithDevice();

test("files that open a device themselves, by a helper, or by a process that they start, are distinguished from those that do not", () => {
  for (const path of [
    "runtime/device",
    "formats/device",
    "stdlib/reference",
    "llama/long-runs/resume",
    "cli/usage",
    "readme",
  ])
    assert.ok(slow.has(`test/${path}.test.ts`), path);
  for (const path of ["types/size", "check/recipe", "graph/fuse", "model/config", "support/needs"])
    assert.not.ok(slow.has(`test/${path}.test.ts`), path);
});

test("each name by which runtime/ and index.ts open a device is one that the split looks for", () => {
  // whatever calls into Dawn is made by these, and only runtime/device loads it
  const loads = readSources(["index.ts", "run.ts", "runtime", "test"]).filter(({ imports }) =>
    imports.some(({ target, typeOnly }) => target === "webgpu" && !typeOnly),
  );
  assert.equal(
    loads.map(({ path }) => path),
    ["runtime/device/adapter.ts"],
  );
  const through = readSources(["runtime", "test"]).filter(
    ({ path, imports }) =>
      !path.startsWith("runtime/device/") &&
      imports.some(({ target, typeOnly }) => target === "runtime/device/adapter.ts" && !typeOnly),
  );
  assert.equal(
    through.map(({ path }) => path),
    // the first gives it adapters of its own; the second is held back by what it calls
    ["test/runtime/adapter.test.ts", "test/runtime/twins.test.ts"],
  );
});

test("every test file is in one part or the other", () => {
  const all = filesBelow(["test"], ".test.ts");
  assert.ok(slow.size > 20 && all.length - slow.size > 40);
  assert.equal(
    [...slow, ...longTests].filter((path) => !all.includes(path)),
    [],
  );
});

test.run();
