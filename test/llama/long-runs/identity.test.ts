import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { digestOfCode, installedVersion, thisBuild } from "../../../runtime/build.js";
import { changesOf, identityOf } from "../../../runtime/llama/long-runs/identity.js";
import { openWorkshop } from "../machine.js";
import { exampleRecipe } from "../recipes.js";

const test = suite("identity");
const { caller, model } = await openWorkshop(test, "identity");

test("what a run is begun with holds Espalier itself and what runs its kernels", async () => {
  const identity = await identityOf(caller, model, { ...exampleRecipe("int4.esp"), text: null, dtype: "f32" });
  assert.match(identity["espalier itself"] ?? "", /^\d+\.\d+\.\d+, sha256:[0-9a-f]{32}$/);
  assert.is(identity["espalier itself"], thisBuild());
  assert.match(identity["the package webgpu, which runs the kernels"] ?? "", /^\d+\.\d+\.\d+/);
  assert.match(installedVersion("@sparticuz/chromium"), /^\d+\.\d+\.\d+/);
  const before = { ...identity, "espalier itself": "0.0.9, sha256:0" };
  assert.equal(changesOf(before, identity), [
    `espalier itself has changed: it was 0.0.9, sha256:0, and is ${thisBuild()}`,
  ]);
});

test("the digest of the code is another where a module is, but not where only the command line is", async () => {
  const folder = await mkdtemp(join(tmpdir(), "espalier-code-"));
  try {
    for (const part of ["compiler", "runtime"])
      await cp(fileURLToPath(new URL(`../../../${part}`, import.meta.url)), join(folder, part), { recursive: true });
    const digest = digestOfCode(folder);
    assert.ok(thisBuild().endsWith(digest));
    await writeFile(join(folder, "runtime", "cli", "main.js"), "");
    assert.is(digestOfCode(folder), digest);
    await writeFile(join(folder, "compiler", "target.js"), "");
    assert.is.not(digestOfCode(folder), digest);
  } finally {
    await rm(folder, { recursive: true });
  }
});

test.run();
