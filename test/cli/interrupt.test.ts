import { existsSync, mkdirSync, readdirSync, rmdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { checkOutput, stateDirectory } from "../../runtime/model/output.js";
import { printOwner, thisProcess } from "../../runtime/model/process.js";
import { classics, command, ended, printed, start, temporaryFolder } from "./support.js";

const interrupt = suite("interrupt");
const folder = temporaryFolder();
interrupt.after(() => folder.remove());

const signals = { SIGINT: 130, SIGTERM: 143 } as const;

for (const [signal, code] of Object.entries(signals)) {
  interrupt(`${signal} while a model is being written: it is removed, and the code is ${code}`, async () => {
    const out = join(folder.path, signal);
    const child = start("test/cli/staging.js", [out, classics]);
    const end = ended(child);
    await printed(child, "writing");
    assert.is(readdirSync(folder.path).length, 1, "something is staged");
    child.kill(signal as keyof typeof signals);
    const { code: found, stderr } = await end;
    assert.is(found, code, stderr);
    assert.equal(readdirSync(folder.path), []);
  });
}

interrupt("a killed run leaves nothing under the output's name, and the next one removes what it left", async () => {
  const out = join(folder.path, "killed");
  const child = start("test/cli/staging.js", [out, classics]);
  const end = ended(child);
  await printed(child, "writing");
  child.kill("SIGKILL");
  await end;
  assert.not(existsSync(out));
  assert.ok(readdirSync(folder.path).every((name) => name.startsWith(".")));
  await checkOutput(out, { model: classics, force: false });
  assert.equal(readdirSync(folder.path), []);
});

interrupt(
  "what a killed run left that had this process's number goes too; what this process or another machine has there stays",
  async () => {
    const out = join(folder.path, "reborn");
    const staged = (owner: ReturnType<typeof thisProcess>): string =>
      `${stateDirectory(out).replace(/state$/, "new")}-${printOwner(owner)}-00`;
    const [stale, own, other] = [
      staged({ ...thisProcess(), mark: "0123abc" }),
      staged(thisProcess()),
      staged({ ...thisProcess(), host: "another" }),
    ];
    for (const directory of [stale, own, other]) mkdirSync(directory);
    await checkOutput(out, { model: classics, force: false });
    assert.equal([stale, own, other].map(existsSync), [false, true, true]);
    for (const directory of [own, other]) rmdirSync(directory);
  },
);

interrupt(
  "compress that is asked to stop while it computes leaves nothing, nor the directories that it made on the way",
  async () => {
    const out = join(folder.path, "new", "deep", "stopped");
    const child = start(command, [
      "compress",
      "examples/wanda-2of4.esp",
      "--model",
      classics,
      "--out",
      out,
      "--device",
      "cpu",
      "--json",
    ]);
    const end = ended(child);
    await printed(child, "compressing");
    child.kill("SIGINT");
    const { code, stdout } = await end;
    assert.is(code, 130);
    assert.is(stdout, "");
    assert.equal(readdirSync(folder.path), []);
  },
);

interrupt.run();
