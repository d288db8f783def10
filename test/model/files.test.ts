import { execFileSync } from "node:child_process";
import { mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { exists, openRegular, readBounded, readJson, resolveInside } from "../../runtime/model/files.js";
import { openSafetensors } from "../support/open-safetensors.js";
import { failure, inDirectory } from "./support.js";

const test = suite("model/files");

test("pipes, devices and directories are refused, at once, also through links", async () => {
  await inDirectory(async (directory) => {
    const pipe = join(directory, "pipe");
    execFileSync("mkfifo", [pipe]);
    await symlink("pipe", join(directory, "to-pipe"));
    await symlink("/dev/zero", join(directory, "to-device"));
    await symlink(".", join(directory, "to-directory"));
    for (const [name, message] of [
      ["pipe", /a pipe/],
      ["to-pipe", /a pipe/],
      ["to-device", /a device/],
      ["to-directory", /a directory/],
      [".", /a directory/],
    ] as const) {
      assert.match((await failure("M101", openRegular(join(directory, name)))).message, message);
      await failure("M101", openSafetensors(join(directory, name)));
    }
  });
});

test("a link to a regular file is followed; missing files and circles are named", async () => {
  await inDirectory(async (directory) => {
    await writeFile(join(directory, "blob"), "{}");
    await symlink("blob", join(directory, "config.json"));
    await symlink("circle", join(directory, "circle"));
    await symlink("nowhere", join(directory, "dangling"));
    assert.equal(await readJson(join(directory, "config.json"), 10), {});
    await failure("M100", openRegular(join(directory, "none")));
    assert.match((await failure("M100", openRegular(join(directory, "circle")))).message, /circle/);
    assert.is(await exists(join(directory, "dangling")), true);
    await failure("M100", openRegular(join(directory, "dangling")));
    await failure("M100", openRegular(join(directory, "blob", "x")));
  });
});

test("files are read only up to their limit, and only as JSON objects in UTF-8", async () => {
  await inDirectory(async (directory) => {
    const path = join(directory, "f.json");
    await writeFile(path, " ".repeat(100));
    assert.match((await failure("M102", readBounded(path, 99))).message, /100 B; at most 99 B/);
    assert.is((await readBounded(path, 100)).length, 100);
    for (const text of ["", "{", "[]", "null", "3", '{"a":}', Buffer.from([0x22, 0xff, 0x22])]) {
      await writeFile(path, text);
      await failure("M104", readJson(path, 1000));
    }
  });
});

test("a name in an index stays inside the directory", async () => {
  await inDirectory(async (root) => {
    const directory = join(root, "model");
    await mkdir(join(directory, "sub"), { recursive: true });
    await mkdir(join(root, "blobs"));
    await writeFile(join(root, "blobs", "1"), "weights");
    await symlink("../blobs/1", join(directory, "model.safetensors"));
    await symlink("../blobs", join(directory, "away"));
    assert.is(await readFile(await resolveInside(directory, "model.safetensors"), "utf8"), "weights");
    assert.is(await resolveInside(directory, "sub/x"), join(directory, "sub", "x"));
    assert.is(await resolveInside(directory, "..x"), join(directory, "..x"));
    for (const name of [
      "../blobs/1",
      "sub/../../blobs/1",
      join(root, "blobs", "1"),
      "away/1",
      "",
      ".",
      "..",
      "sub/..",
      "a\0b",
    ]) {
      await failure("M103", resolveInside(directory, name));
    }
  });
});

test.run();
