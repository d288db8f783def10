import { spawn, type ChildProcess } from "node:child_process";
import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { claimName } from "../../../runtime/llama/long-runs/claim.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { noFacts } from "../../../runtime/llama/long-runs/facts.js";
import { leaveState, openState, stateOf, type SavedState } from "../../../runtime/llama/long-runs/saved-state.js";
import { stateDirectory } from "../../../runtime/model/output.js";
import { thisProcess } from "../../../runtime/model/process.js";

const test = suite("saved state");
const folder = await mkdtemp(join(tmpdir(), "espalier-state-"));
test.after(() => rm(folder, { recursive: true, force: true }));

const identity = { "the recipe": "none" };

function open(path: string, resume = false, notes: string[] = []): Promise<SavedState> {
  return openState(path, identity, { resume, note: (line) => notes.push(line) });
}

/** A state that a stopped run has left with one finished step; gives its directory. */
async function left(path: string): Promise<string> {
  const state = await open(path);
  await state.commit(1, noFacts);
  await state.leave();
  return state.directory;
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === "resume", String(error));
  return (error as LlamaError).message;
}

function start(path: string, time: number): { readonly child: ChildProcess; readonly said: Promise<string> } {
  const child = spawn(process.execPath, [fileURLToPath(new URL("claiming.js", import.meta.url)), path, String(time)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  return {
    child,
    said: new Promise((resolve) => child.stdout.once("data", (text: Buffer) => resolve(text.toString("utf8")))),
  };
}

test("who is at work keeps its state to itself, and is named with the directory", async () => {
  const path = join(folder, "busy");
  const state = await open(path);
  for (const resume of [false, true]) {
    const message = await refusal(open(path, resume));
    assert.match(message, new RegExp(`Another run \\(process ${process.pid}\\) is compressing into`));
    assert.ok(message.includes(state.directory), message);
  }
  await state.remove();
  assert.equal(await readdir(folder), []);
});

// a replayed fault: in a container each run is process 1, and one that was killed was taken for the next
test("a killed run that had this process's number is not at work, nor is one whose number nobody has", async () => {
  const path = join(folder, "reborn");
  const directory = await left(path);
  for (const owner of [
    { ...thisProcess(), mark: "0123abc" },
    { ...thisProcess(), pid: 2 ** 22 + 1 },
    { ...thisProcess(), pid: process.ppid, mark: "0123abc" },
  ]) {
    // where the system does not say when a process began, one with the number of another is taken for that
    if (owner.pid === process.ppid && process.platform !== "linux") continue;
    await writeFile(join(directory, claimName(owner)), "");
    const state = await open(path, true);
    assert.is(state.finished, 1);
    assert.equal((await readdir(directory)).sort(), [claimName(thisProcess()), "state.json"].sort());
    await state.leave();
  }
  await (await open(path)).remove();
});

// claims of others come and go between the listing of a directory and a look at a file: such a file, that is named and
// not there
test("what a state has finished is found whatever comes and goes beside it", async () => {
  const path = join(folder, "gone");
  const directory = await left(path);
  await symlink("nowhere", join(directory, claimName({ ...thisProcess(), pid: 2 ** 22 + 1 })));
  assert.is((await stateOf(path))?.finished, 1);
  const state = await open(path, true);
  assert.is(state.finished, 1);
  await state.remove();
});

test("a run whose state another has taken over, or that was removed, stops", async () => {
  const path = join(folder, "taken");
  const state = await open(path);
  await rm(join(state.directory, claimName(thisProcess())));
  assert.match(await refusal(state.commit(1, noFacts)), /was removed, or taken over by a run on another machine/);
  await state.remove();
  assert.equal(await readdir(folder), [basename(state.directory)], "it is no longer this run's to remove");
  await rm(state.directory, { recursive: true });
});

test("of a run on another machine it cannot be known: it is gone on with only where that is asked for", async () => {
  const path = join(folder, "elsewhere");
  const directory = await left(path);
  await writeFile(join(directory, claimName({ ...thisProcess(), host: "another" })), "");
  assert.match(await refusal(open(path)), /another machine, another, .*--resume/);
  await (await open(path, true)).remove();
});

test("of several processes that want a state at one time one has it", async () => {
  const path = join(folder, "race");
  const directory = await left(path);
  await writeFile(join(directory, claimName({ ...thisProcess(), mark: "0123abc" })), "");
  const started = Array.from({ length: 4 }, () => start(path, Date.now() + 2000));
  try {
    const said = await Promise.all(started.map((one) => one.said));
    assert.is(said.filter((text) => text === "mine\n").length, 1, said.join(""));
    assert.is(said.filter((text) => /Another run \(process \d+\)/.test(text)).length, 3, said.join(""));
  } finally {
    for (const { child } of started) child.kill("SIGKILL");
  }
  await rm(directory, { recursive: true });
});

test("a manifest that is not as it was written is damaged: refused, or begun anew", async () => {
  const path = join(folder, "damaged");
  const file = join(await left(path), "state.json");
  const whole = await readFile(file, "utf8");
  const parsed = JSON.parse(whole) as { manifest: object };
  const changed = (change: object): string =>
    JSON.stringify({ ...parsed, manifest: { ...parsed.manifest, ...change } });
  const damages = [
    "",
    "{",
    "null",
    "7",
    "[]",
    "{}",
    whole.slice(0, -9),
    changed({ identity: null }),
    changed({ weights: [null] }),
    changed({ finished: 2 }),
    changed({ facts: {} }),
    JSON.stringify({ version: 1, identity: null, finished: 1, facts: {}, weights: [null] }),
  ];
  for (const damage of damages) {
    await writeFile(file, damage);
    assert.is(await stateOf(path), null);
    const message = await refusal(open(path, true));
    assert.match(message, /is damaged or of another version. Run without --resume to begin anew/);
    assert.is(await readFile(file, "utf8"), damage, "it stays");
  }
  const notes: string[] = [];
  const state = await open(path, false, notes);
  assert.is(state.finished, 0);
  assert.match(notes.join("\n"), /had finished some steps .* begins anew/);
  await state.remove();
  assert.equal(await readdir(folder), []);
});

test("a state is left at once by the path it was opened by, also through a link", async () => {
  await mkdir(join(folder, "real", "out"), { recursive: true });
  const path = join(folder, "link");
  await symlink(join(folder, "real", "out"), path);
  await open(path);
  assert.is(leaveState(path), null);
  assert.equal(await readdir(join(folder, "real")), ["out"], "nothing was finished");
  const again = await open(path);
  await again.commit(3, noFacts);
  assert.is(leaveState(path), 3);
  assert.equal(await readdir(again.directory), ["state.json"]);
  assert.is(again.directory, stateDirectory(join(folder, "real", "out")));
});

test.run();
