/** `espalier tune`, and the commands that use what it has kept. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ScheduleChoices } from "../../compiler/compile.js";
import { command, ended, start, temporaryFolder, toyModel, type Ended } from "./support.js";

const tune = suite("tune");
const folder = temporaryFolder();
tune.after(() => folder.remove());
const toy = await toyModel(tune);
const file = join(folder.path, "tuned", "table.json");

const espalier = (used: string, ...args: readonly string[]): Promise<Ended> =>
  ended(start(command, [...args, "--device", "cpu", "--json"], { ESPALIER_TUNE: used }));
const generate = (used: string, ...args: readonly string[]): Promise<Ended> =>
  espalier(used, "generate", "--model", toy, "--prompt", "the", "--max-tokens", "3", ...args);

interface Table {
  readonly espalier: string;
  readonly choices: ScheduleChoices;
}

tune("what is found is kept in a file, and other commands use it", async () => {
  const found = await espalier("off", "tune", "--model", toy, "--prompt", "8", "--seconds", "2", "--out", file);
  assert.is(found.code, 0, found.stderr);
  const report = JSON.parse(found.stdout) as {
    readonly workloads: readonly unknown[];
    readonly choices: ScheduleChoices;
  };
  assert.is(report.workloads.length, 2);
  assert.equal((JSON.parse(readFileSync(file, "utf8")) as Table).choices, report.choices);

  const plain = await generate("off");
  assert.not.match(plain.stderr, /schedules/);
  const with_ = await generate(file, "--verify");
  assert.is(with_.code, 0, with_.stderr);
  assert.match(with_.stderr, /with the schedules that `espalier tune` has found/);
  assert.not.match((await generate(file, "--no-tune")).stderr, /schedules that/);
  const ids = ({ stdout }: Ended): unknown => (JSON.parse(stdout) as { ids: unknown }).ids;
  assert.equal(ids(with_), ids(plain));
});

tune("a table of another version, or that is damaged, is left and says so", async () => {
  const whole = readFileSync(file, "utf8");
  const other = folder.write("other.json", JSON.stringify({ ...(JSON.parse(whole) as Table), espalier: "0.0.1" }));
  const damaged = folder.write("damaged.json", whole.slice(0, 60));
  for (const [path, reason] of [
    [other, /are not used: its espalier is "0\.0\.1"/],
    [damaged, /are not used: it is no JSON/],
    [join(folder.path, "none.json"), /there is no file .*none\.json, which ESPALIER_TUNE names/],
  ] as const) {
    const { code, stderr } = await generate(path);
    assert.is(code, 0);
    assert.match(stderr, reason);
  }
});

tune.run();
