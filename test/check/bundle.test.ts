/** A recipe is saved with all that it uses, wherever that was. */
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { bundle } from "../../compiler/check/bundle.js";
import { check } from "../../compiler/check/check.js";
import { createHost } from "../../runtime/library.js";

const test = suite("check/bundle");
const folder = realpathSync(mkdtempSync(join(tmpdir(), "espalier-bundle-")));
test.after(() => rmSync(folder, { recursive: true }));

/** Writes files below a folder of their own. */
function write(name: string, files: Readonly<Record<string, string>>): string {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name, path)), { recursive: true });
    writeFileSync(join(folder, name, path), text);
  }
  return join(folder, name);
}

/** The bundle of a file, written to a folder of its own, where it must check, and be its own bundle. */
function saved(file: string, name: string): ReadonlyMap<string, string> {
  const host = createHost();
  assert.equal(check(file, host).diagnostics, []);
  const made = bundle(file, host)!;
  const files = new Map([["recipe.esp", made.source], ...made.modules]);
  const out = write(name, Object.fromEntries(files));
  const again = createHost();
  assert.equal(check(join(out, "recipe.esp"), again).diagnostics, []);
  assert.equal(bundle(join(out, "recipe.esp"), again), made);
  for (const text of files.values())
    for (const [, path = ""] of text.matchAll(/^use .*"(.*)"/gm)) assert.match(path, /^\.\/[\w.-]+\.esp$/);
  return files;
}

const half = (name: string, uses = ""): string => `${uses}fn ${name}(w: f32[N, K]) -> f32[N, K] {
  return v where v[n, k] = 0.5 * w[n, k]
}
`;
const stores = (uses: string, value: string): string => `${uses}
// a comment stays, "./mine.esp" in it too
recipe one(model: llama) {
  for w in model.linears {
    store w as ${value}
  }
}
`;

test("a recipe without files of its own stays to the byte, with the modules of the library that it reaches", () => {
  const text = readFileSync(new URL("../../../examples/gptq-int4.esp", import.meta.url), "utf8");
  const made = bundle("examples/gptq-int4.esp", createHost())!;
  assert.equal([made.source, made.modules.size], [text, 0]);
  assert.equal([...made.standard.keys()], ["gptq", "quantize", "solve", "statistics"]);
});

test("modules beside, above, absolute and far away come into one folder; only the paths of `use` change", () => {
  const far = write("far", { "far.esp": half("far") });
  const at = write("deep", {
    "a/r.esp": stores(
      `use prune, "./mine.esp", "../up.esp"\nuse "${far}/far.esp" // far`,
      "far(up(mine(w))) where mask_2of4(magnitude(w))",
    ),
    "a/mine.esp": half("mine"),
    "up.esp": `use "./a/mine.esp", quantize\n${half("unused")}fn up(w: f32[N, K]) -> f32[N, K] {\n  return mine(w)\n}\n`,
  });
  const files = saved(join(at, "a/r.esp"), "out-deep");
  assert.equal([...files.keys()], ["recipe.esp", "recipe-mine.esp", "recipe-up.esp", "recipe-far.esp"]);
  assert.is(
    files.get("recipe.esp"),
    stores(
      `use prune, "./recipe-mine.esp", "./recipe-up.esp"\nuse "./recipe-far.esp" // far`,
      "far(up(mine(w))) where mask_2of4(magnitude(w))",
    ),
  );
  assert.is(files.get("recipe-mine.esp"), half("mine"));
  assert.match(files.get("recipe-up.esp")!, /^use "\.\/recipe-mine\.esp", quantize\n/);
});

test("names that clash, by capitals too, and names that no file should have, are distinguished", () => {
  const at = write("clash", {
    "r.esp": stores(
      'use "./m/x.esp", "./n/X.esp", "./recipe.esp", "./o/é ü.esp", "./recipe-x.esp"',
      "a(b(c(d(e(w)))))",
    ),
    "m/x.esp": half("a"),
    "n/X.esp": half("b"),
    "recipe.esp": half("c"),
    "o/é ü.esp": half("d"),
    "recipe-x.esp": half("e"),
  });
  const files = saved(join(at, "r.esp"), "out-clash");
  assert.equal(
    [...files.keys()],
    ["recipe.esp", "recipe-x.esp", "recipe-X-2.esp", "recipe-recipe.esp", "recipe--.esp", "recipe-x-3.esp"],
  );
});

test("a file by two paths, by a link, and one that uses the recipe's own file, are one module each", () => {
  const at = write("twice", {
    "r.esp": `use "./m.esp", "./sub/../m.esp", "./link.esp"\n${half("own")}${stores("", "m(own(w))")}`,
    "m.esp": `use "./r.esp"\nfn m(w: f32[N, K]) -> f32[N, K] {\n  return own(w)\n}\n`,
    "sub/.keep": "",
  });
  symlinkSync(join(at, "m.esp"), join(at, "link.esp"));
  const files = saved(join(at, "r.esp"), "out-twice");
  assert.equal([...files.keys()], ["recipe.esp", "recipe-m.esp"]);
  assert.match(files.get("recipe-m.esp")!, /^use "\.\/recipe\.esp"\n/);
  assert.match(files.get("recipe.esp")!, /^use "\.\/recipe-m\.esp", "\.\/recipe-m\.esp", "\.\/recipe-m\.esp"\n/);
});

test("what cannot be read has no bundle", () => {
  const at = write("gone", { "r.esp": stores('use "./gone.esp"', "w") });
  assert.is(bundle(join(at, "r.esp"), createHost()), null);
});

test.run();
