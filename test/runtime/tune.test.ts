/** Finding schedules for a device, and the files they are kept in. */
import { mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ScheduleChoices, Tunable } from "../../compiler/compile.js";
import { shapeOfModel } from "../../runtime/bench/shapes.js";
import { syntheticSession } from "../../runtime/bench/synthetic.js";
import { openDevice } from "../../runtime/device/device.js";
import { standardLibrary } from "../../runtime/library.js";
import { createCaller } from "../../runtime/llama/call.js";
import { withArena } from "../../runtime/run/arena.js";
import { createExecutor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { fileName, originOf, readChoices, writeChoices, type Origin } from "../../runtime/tune/file.js";
import { search, type Measured } from "../../runtime/tune/search.js";
import { tune } from "../../runtime/tune/tune.js";
import { readyWorkload } from "../../runtime/tune/workload.js";
import { parseFormat } from "../support/format-text.js";

const test = suite("tuning");
const folder = mkdtempSync(join(tmpdir(), "espalier-tune-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** Two products that are one family, and one that stands alone; each by three cuts. */
const tunables: readonly Tunable[] = ["a x", "b x", "c y"].map((text) => ({
  key: { text, family: text.slice(2) },
  cuts: [1, 2, 4].map((rows) => ({ kind: "matvec", lanes: 32, teams: 4, rows, unroll: 1, turns: 1 })),
}));

/** Times that products have together: of those of a family more where they are cut differently. */
function timeOf(choices: ScheduleChoices): number {
  const [a, b, c] = ["a x", "b x", "c y"].map((key) => Number(choices[key]?.["rows"] ?? 1));
  return 20 - a! - b! + (a === b ? 0 : 10) + Math.abs(c! - 2);
}

test("keys of a family are tried together, and what is faster is kept", async () => {
  const measured: ScheduleChoices[] = [];
  const { choices, msBefore, msAfter, trials } = await search(tunables, { other: { kind: "dot" } }, async (table) => {
    measured.push(table);
    return { kind: "time", ms: timeOf(table) };
  });
  assert.equal(
    Object.entries(choices).map(([key, cut]) => `${key} ${cut["rows"]}`),
    ["a x 4", "b x 4", "c y 2", "other undefined"],
  );
  assert.equal([msBefore, msAfter], [19, 12]);
  assert.is(trials.length, 2 + 2 + 2 + 2);
  assert.ok(measured.every(({ other }) => other?.kind === "dot"));
});

test("what is wrong, refused or slow is not taken, nor what was noise", async () => {
  const outcomes: { readonly [rows: number]: Measured } = {
    2: { kind: "wrong", error: 0.5 },
    4: { kind: "slow", ms: 1000 },
  };
  const { choices, trials } = await search(tunables, {}, async (table, most) => {
    assert.ok(most === Infinity || most === 60);
    return Object.values(table).flatMap(({ rows }) => outcomes[Number(rows)] ?? [])[0] ?? { kind: "time", ms: 20 };
  });
  assert.ok(Object.values(choices).every(({ rows }) => rows === 1));
  assert.ok(trials.some(({ outcome }) => outcome.kind === "wrong"));
  // faster once, and never again
  const once = new Set<string>();
  const noisy = await search(tunables, {}, async (table) => {
    const text = JSON.stringify(table);
    const ms = once.has(text) || text === "{}" ? 20 : 10;
    once.add(text);
    return { kind: "time", ms };
  });
  assert.ok(Object.values(noisy.choices).every(({ rows }) => rows === 1));
});

test("without time for it a key is left open", async () => {
  let trials = 0;
  const found = await search(
    tunables,
    {},
    async () => ({ kind: "time", ms: 20 }),
    () => trials++ < 7,
  );
  assert.equal(Object.keys(found.choices), ["a x", "b x"]);
  assert.is(found.trials.length, 7);
});

const origin: Origin = { adapter: "NVIDIA H100 80GB HBM3", driver: "nvidia hopper 550.54", espalier: "0.1.0" };
const choices: ScheduleChoices = {
  "product n=8": { kind: "matrix", tokens: 16, rows: 32, subgroups: [1, 2, 4], slice: 256, ahead: 0, parts: 1 },
  "product n=9": { kind: "dot", keeps: "table" },
};

test("a table is read as it was written, and nothing else is left in its folder", () => {
  const path = join(folder, "new", fileName(origin));
  assert.is(fileName(origin), "nvidia-h100-80gb-hbm3-nvidia-hopper-550.54.json");
  assert.is(fileName({ ...origin, adapter: "../..", driver: "/" }), "unnamed-unnamed.json");
  assert.is(readChoices(path, origin), null);
  writeChoices(path, origin, choices);
  assert.equal(readChoices(path, origin), { choices });
  assert.equal(readdirSync(join(folder, "new")), [fileName(origin)]);
});

test("a table of another device, driver or version, or that is damaged, is refused and says why", () => {
  const path = join(folder, "table.json");
  writeChoices(path, origin, choices);
  const text = readFileSync(path, "utf8");
  const whole = JSON.parse(text) as object;
  const refused = (written: string, at: Origin = origin): string => {
    writeFileSync(path, written);
    const found = readChoices(path, at);
    return found !== null && "refused" in found ? found.refused : "nothing";
  };
  assert.is(refused(text, { ...origin, espalier: "0.2.0" }), 'its espalier is "0.1.0", and "0.2.0" is used');
  assert.match(refused(text, { ...origin, driver: "nvidia hopper 560" }), /^its driver is "nvidia hopper 550.54"/);
  assert.match(refused(text, { ...origin, adapter: "another" }), /^its adapter is /);
  assert.is(refused(text.slice(0, -10)), "it is no JSON");
  assert.is(refused("[]"), "it is no table of schedules");
  assert.is(refused("{}"), "it is no table of schedules");
  assert.is(
    refused(JSON.stringify({ ...whole, adapter: 7 })),
    'its adapter is not told, and "NVIDIA H100 80GB HBM3" is used',
  );
  const withChoices = (value: unknown): string => refused(JSON.stringify({ ...whole, choices: value }));
  assert.is(withChoices([]), "its `choices` are no object");
  for (const cut of [
    null,
    7,
    [],
    { rows: 1 },
    { kind: 1 },
    { kind: "dot", rows: {} },
    { kind: "dot", rows: [["1"]] },
    { kind: "x".repeat(33) },
  ])
    assert.is(withChoices({ key: cut }), 'its choice for "key" is no cut of a schedule', JSON.stringify(cut));
  assert.match(withChoices({ ["k".repeat(513)]: { kind: "dot" } }), /is no cut of a schedule$/);
  const many = Object.fromEntries(Array.from({ length: 4097 }, (_, at) => [String(at), { kind: "dot" }]));
  assert.is(withChoices(many), "it has 4097 choices, more than 4096");
  assert.match(refused(" ".repeat(2 ** 20 + 1)), /more than 1048576$/);
  mkdirSync(join(folder, "folder.json"));
  assert.equal(readChoices(join(folder, "folder.json"), origin), { refused: "it is no regular file" });
});

test("on the device: every trial is held to the plain schedules, and what is found goes with other commands", async () => {
  const device = await openDevice({ kind: "cpu", unchecked: true });
  try {
    const executor = await createExecutor(device);
    const caller = createCaller(executor, targetOf(device), standardLibrary());
    const config = { ...shapeOfModel("classics-3.7m", 1), vocabSize: 64 };
    const session = await syntheticSession(caller, config, parseFormat("int4(128)"), "auto");
    const workload = { batch: 1, tokens: 1, context: 8 };
    await withArena(executor, async (arena) => {
      const ready = await readyWorkload(arena, session, workload);
      const [open, ...others] = ready.tunables;
      assert.match(open!.key.text, /int8/);
      const known = Object.fromEntries(others.map(({ key, cuts }) => [key.text, { ...cuts[0]! }]));
      const report = await tune(session, [workload], { known, seconds: 600 });
      const [found] = report.workloads;
      assert.is(found!.trials.length, open!.cuts.length - 1);
      assert.ok(found!.trials.every(({ outcome }) => outcome.kind === "time" || outcome.kind === "slow"));
      assert.equal(
        found!.keys.map(({ key }) => key),
        [open!.key.text],
      );
      assert.equal(Object.keys(report.choices).sort(), ready.tunables.map(({ key }) => key.text).sort());
      // a choice that does not apply is none
      const spoilt = Object.fromEntries(ready.tunables.map(({ key }) => [key.text, { kind: "dot", lanes: 4096 }]));
      assert.is((await ready.measure(spoilt, Infinity)).kind, "time");
      assert.is((await ready.measure(report.choices, 0)).kind, "slow");
    });
    session.release();
    executor.close();
    assert.is(originOf(device).adapter, device.name);
  } finally {
    device.close();
  }
});

test.run();
