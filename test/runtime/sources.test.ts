import { chmodSync, mkdirSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { createHost } from "../../runtime/library.js";
import { partNotRun } from "../support/not-run.js";

const test = suite("runtime/library: sources");

test("a file that cannot be read is said to be what it is, and not to be missing", () => {
  const folder = mkdtempSync(join(tmpdir(), "espalier-sources-"));
  const at = (name: string): string => join(folder, name);
  const found = (path: string): string =>
    check(path, createHost())
      .diagnostics.map(({ code, message, labels }) =>
        [`${code} ${message}`, ...labels.map((label) => label.message)].join("; "),
      )
      .join("\n");
  writeFileSync(at("large.esp"), "");
  truncateSync(at("large.esp"), 2 ** 21);
  mkdirSync(at("folder.esp"));
  writeFileSync(at("uses.esp"), `use "./large.esp", "./folder.esp", "./gone.esp"\n`);

  assert.is(
    found(at("large.esp")),
    `E204 the file ${at("large.esp")} has 2097152 bytes; at most 1048576 are read of a source file`,
  );
  assert.is(found(at("folder.esp")), `E204 the file ${at("folder.esp")} is a directory`);
  assert.is(found(at("gone.esp")), `E204 there is no file ${at("gone.esp")}`);
  const lines = found(at("uses.esp")).split("\n");
  assert.match(
    lines[0] ?? "",
    /^E204 the module `\.\/large\.esp` cannot be read; .*large\.esp has 2097152 bytes; at most 1048576/,
  );
  assert.match(lines[1] ?? "", /^E204 the module `\.\/folder\.esp` cannot be read; .*folder\.esp is a directory$/);
  assert.match(lines[2] ?? "", /^E204 there is no module `\.\/gone\.esp`; .*gone\.esp cannot be read$/);

  writeFileSync(at("locked.esp"), "");
  chmodSync(at("locked.esp"), 0);
  if (process.getuid?.() === 0) partNotRun("a file that may not be read", "root may read everything");
  else assert.match(found(at("locked.esp")), /may not be read: permission denied/);
  rmSync(folder, { recursive: true });
});

test.run();
