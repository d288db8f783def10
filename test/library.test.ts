/**
 * The standard library as it is kept when Espalier is built: it is what a check finds, and is taken only while it is.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { knownModules } from "../compiler/check/check.js";
import type { KnownModule } from "../compiler/check/modules.js";
import { knownLibrary } from "../runtime/known-library.js";
import { createHost, standardLibrary, standardModules } from "../runtime/library.js";

const test = suite("library");

const all = "all.esp";
const host = createHost();
const text = (path: string): string | null => (path === all ? `use ${standardModules.join(", ")}\n` : host.read(path));
const fresh: ReadonlyMap<string, KnownModule> =
  knownModules(all, { standardModules, read: text, resolve: host.resolve }) ?? new Map();
const known = knownLibrary(text);

test("what is kept of a module is what a check finds, with all that it shares", () => {
  assert.ok(known !== null, "the library was not kept by the code that is tested: npm run build");
  for (const name of standardModules) {
    const path = `stdlib/${name}.esp`;
    const [kept, found] = [known(path), fresh.get(path)];
    assert.ok(kept && found);
    assert.equal(kept, found);
    assert.is(objectsIn(kept), objectsIn(found));
  }
  assert.is(known("stdlib/none.esp"), null);
});

test("the host's checks take what is kept: nothing is parsed", () => {
  assert.ok(host.known?.("stdlib/llama.esp"));
  const linear = host.known?.("stdlib/llama.esp")?.functions.get("linear");
  assert.is(standardLibrary().get("linear"), linear?.graph);
});

test("where a module was edited nothing that is kept is taken, for others may use it", () => {
  assert.is(
    knownLibrary((path) => (path === "stdlib/prune.esp" ? `${text(path)}\n// edited\n` : text(path))),
    null,
  );
  assert.is(
    knownLibrary((path) => (path === "stdlib/prune.esp" ? null : text(path))),
    null,
  );
});

/** How many objects there are, each counted once. */
function objectsIn(root: unknown): number {
  const seen = new Set<object>();
  const visit = (value: unknown): void => {
    if (typeof value !== "object" || value === null || seen.has(value)) return;
    seen.add(value);
    for (const part of value instanceof Map || value instanceof Set ? [...value].flat() : Object.values(value))
      visit(part);
  };
  visit(root);
  return seen.size;
}

test.run();
