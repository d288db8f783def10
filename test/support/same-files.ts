/** Whether two runs wrote the same. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import * as assert from "uvu/assert";

/** Asserts that two directories hold the same files, byte for byte. */
export async function sameFiles(a: string, b: string): Promise<void> {
  const names = await readdir(a);
  assert.equal(await readdir(b), names);
  for (const name of names)
    assert.ok((await readFile(join(a, name))).equals(await readFile(join(b, name))), `${name} differs`);
}
