import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import * as assert from "uvu/assert";
import { projectFile } from "./project.js";

/** Compares a text with the file `test/golden/<name>`; with `--update` on the command line writes it instead. */
export function golden(name: string, actual: string): void {
  const path = projectFile(`test/golden/${name}`);
  if (process.argv.includes("--update")) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, actual);
    return;
  }
  if (!existsSync(path))
    assert.unreachable(`there is no test/golden/${name}: run this test with --update and read what it wrote`);
  assert.fixture(actual, readFileSync(path, "utf8"), `test/golden/${name} differs`);
}
