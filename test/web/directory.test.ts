/** Models of a page: read from memory or from picked files, compressed in memory. */
import { readFileSync, readdirSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ModelError } from "../../runtime/model/error.js";
import { openModel as openDisk } from "../../runtime/model/model.js";
import { mapDirectory, pickedDirectory } from "../../runtime/web/directory.js";
import { openModel } from "../../runtime/web/model.js";
import { projectFile } from "../support/project.js";

const test = suite("directories of a page");

const folder = projectFile("examples/classics-3.7m");
const names = readdirSync(folder).filter((name) => !/txt$/.test(name));
const bytes = new Map(names.map((name) => [name, new Uint8Array(readFileSync(`${folder}/${name}`))]));

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof ModelError) return `${error.code} ${error.message}`;
    throw error;
  }
  return "nothing was refused";
}

test("a model is the same from the disk, from memory and from picked files", async () => {
  const picked = [...bytes].map(([name, content]) =>
    Object.assign(new Blob([content]), { name, webkitRelativePath: `classics/${name}` }),
  );
  const below = Object.assign(new Blob(["no"]), {
    name: "config.json",
    webkitRelativePath: "classics/old/config.json",
  });
  const disk = await openDisk(folder);
  for (const directory of [mapDirectory("classics", bytes), pickedDirectory([...picked, below])]) {
    assert.is(directory.path, "classics");
    const model = await openModel(directory);
    assert.equal(model.config.raw, disk.config.raw);
    for (const { name } of disk.tensors.slice(0, 3)) assert.equal(await model.read(name), await disk.read(name));
    const { companions } = model;
    assert.equal(
      (await companions()).map(({ name }) => name),
      (await disk.companions()).map(({ name }) => name),
    );
    await model.close();
  }
  await disk.close();
});

test("what is missing, cut short or leads elsewhere is told by name", async () => {
  const without = new Map(bytes);
  without.delete("model.safetensors");
  assert.match(await refusal(() => openModel(mapDirectory("mine", without))), /^M121 `mine` has neither/);
  without.set("model.safetensors", bytes.get("model.safetensors")!.subarray(0, 100));
  assert.match(await refusal(() => openModel(mapDirectory("mine", without))), /^M11\d `mine\/model\.safetensors`/);
  without.delete("model.safetensors");
  const index = { weight_map: { "model.norm.weight": "../secret.safetensors" } };
  without.set("model.safetensors.index.json", new TextEncoder().encode(JSON.stringify(index)));
  assert.match(await refusal(() => openModel(mapDirectory("mine", without))), /^M103 /);
  assert.match(await refusal(() => openModel(pickedDirectory([]))), /^M100 There is no file `the files\/config\.json`/);
});

test.run();
