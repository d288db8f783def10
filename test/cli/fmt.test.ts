/** `espalier fmt` as a process: files are written whole or not at all. */
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, readdirSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { command, temporaryFolder } from "./support.js";

const test = suite("fmt");
const folder = temporaryFolder();
test.after(() => folder.remove());

const messy = "fn f( x : f32[N] )->f32[N] { return  x }   // kept\n";
const tidy = "fn f(x: f32[N]) -> f32[N] {\n  return x\n} // kept\n";

function fmt(cwd: string, args: readonly string[], input = ""): { code: number | null; out: string; err: string } {
  const main = fileURLToPath(new URL(`../../${command}`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, "fmt", ...args], {
    cwd,
    input,
    encoding: "utf8",
  });
  return { code: status, out: stdout, err: stderr };
}

function folderWith(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(folder.path, name);
  mkdirSync(path);
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text);
  return path;
}

test("--check says which, changes nothing and ends with 1; without it they are written, and keep their modes", () => {
  const path = folderWith("write", { "a.esp": messy, "b.esp": tidy, "other.txt": messy });
  chmodSync(join(path, "a.esp"), 0o640);
  symlinkSync("a.esp", join(path, "link.esp"));
  const checked = fmt(path, ["--check", "a.esp", "b.esp"]);
  assert.is(checked.code, 1, checked.err);
  assert.match(checked.out, /^a\.esp\n2 files: 1 not laid out/);
  assert.is(readFileSync(join(path, "a.esp"), "utf8"), messy);
  const written = fmt(path, ["link.esp", "b.esp", "--json"]);
  assert.is(written.code, 0, written.err);
  assert.equal(JSON.parse(written.out), {
    files: [
      { file: "link.esp", changed: true },
      { file: "b.esp", changed: false },
    ],
  });
  assert.is(readFileSync(join(path, "a.esp"), "utf8"), tidy);
  assert.is(statSync(join(path, "a.esp")).mode & 0o777, 0o640);
  assert.is(fmt(path, []).code, 0);
  assert.equal(readdirSync(path).sort(), ["a.esp", "b.esp", "link.esp", "other.txt"]);
});

test("a syntax error is shown, and no file is changed", () => {
  const path = folderWith("errors", { "a.esp": messy, "b.esp": "fn f(x: f32[N]) {\n  let = x\n}\n" });
  const { code, err } = fmt(path, []);
  assert.is(code, 1);
  assert.match(err, /b\.esp:2:7/);
  assert.is(readFileSync(join(path, "a.esp"), "utf8"), messy);
});

test("stdin goes to stdout", () => {
  const { code, out } = fmt(folder.path, ["-"], messy);
  assert.is(code, 0);
  assert.is(out, tidy);
  assert.is(fmt(folder.path, ["--check", "-"], messy).code, 1);
  assert.is(fmt(folder.path, ["--check", "-"], tidy).code, 0);
});

test("wrong use", () => {
  assert.match(fmt(folder.path, ["none.esp"]).err, /there is no file none\.esp/);
  assert.match(fmt(folder.path, ["-", "a.esp"]).err, /stands alone/);
  assert.is(fmt(folder.path, ["-", "a.esp"]).code, 2);
});

test.run();
