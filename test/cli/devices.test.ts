/** Several devices: a process each, of the CPU driver here, which is one device as often as it is asked for. */
import { existsSync } from "node:fs";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { classics, command, ended, espalier, start, toyModel } from "./support.js";

const test = suite("several devices");
const folder = await mkdtemp(join(tmpdir(), "espalier-devices-"));
// what is divided does not depend on the width, and what devices compute and compile does
const toy = await toyModel(test, 64);
test.after(() => rm(folder, { recursive: true }));

const two = ["--devices", "cpu,cpu"];

/** The processes that a command says it has started, as they come. */
function processes(child: ReturnType<typeof start>): {
  readonly found: number[];
  reach(many: number): Promise<void>;
  /** Settles when the command has said so on stderr. */
  says(what: RegExp): Promise<void>;
} {
  let seen = "";
  const found: number[] = [];
  const waiting: { holds(): boolean; resolve(): void }[] = [];
  const until = (holds: () => boolean): Promise<void> =>
    new Promise((resolve, reject) => {
      if (holds()) resolve();
      waiting.push({ holds, resolve });
      child.once("close", () => reject(new Error(seen)));
    });
  child.stderr?.on("data", (chunk: Buffer) => {
    seen += chunk.toString("utf8");
    found.splice(0, found.length, ...[...seen.matchAll(/^process (\d+): /gm)].map(([, id]) => Number(id)));
    for (const one of waiting) if (one.holds()) one.resolve();
  });
  return { found, reach: (many) => until(() => found.length >= many), says: (what) => until(() => what.test(seen)) };
}

test("serve: two processes behind one address, of which one dies and comes again, and then is given up", async () => {
  const child = start(command, [
    "serve",
    "--model",
    toy,
    "--port",
    "0",
    "--json",
    "--sequences",
    "4",
    "--context",
    "64",
    ...two,
  ]);
  const begun = processes(child);
  let document = "";
  child.stdout?.on("data", (chunk: Buffer) => (document += chunk.toString("utf8")));
  const over = ended(child);
  await begun.reach(2);
  while (!document.trimEnd().endsWith("}")) await new Promise((resolve) => setTimeout(resolve, 5));
  const { url, model, device } = JSON.parse(document) as { url: string; model: string; device: string };
  assert.is(device, "SwiftShader (CPU), 2 processes");
  const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const ask = { model, prompt: "It was a dark night", max_tokens: 6, temperature: 0 };
  const texts = async (many: number) =>
    (await Promise.all(Array.from({ length: many }, () => client.completions.create(ask)))).map(
      ({ choices }) => choices[0]?.text,
    );
  const [first, ...others] = await texts(4);
  for (const other of others) assert.is(other, first);

  // killed while it has requests: all are answered
  const during = texts(2);
  await new Promise((resolve) => setTimeout(resolve, 20));
  process.kill(begun.found[0]!, "SIGKILL");
  for (const text of await during) assert.is(text, first);
  await begun.reach(3);
  // for the second time: the other goes on alone
  process.kill(begun.found[2]!, "SIGKILL");
  for (const text of await texts(2)) assert.is(text, first);
  // of one that is being stopped nothing is told
  await begun.says(/it is given up/);
  child.kill("SIGTERM");
  const { code, stderr } = await over;
  assert.is(code, 0, stderr);
  assert.match(
    stderr,
    /warning: the process on SwiftShader \(CPU\) has ended by itself \(SIGKILL\): it is started again/,
  );
  assert.match(stderr, /warning: for the second time the process .* it is given up/);
  for (const id of begun.found) assert.throws(() => process.kill(id, 0), /ESRCH/);
});

test("generate --batch: the results of one device, by two of which one dies", async () => {
  const lines = Array.from({ length: 8 }, (_, at) => ({
    prompt: ["the", "a of the", "It was"][at % 3],
    max_tokens: 4 + at,
    temperature: at % 2,
    seed: at,
  }));
  const given = join(folder, "in.jsonl");
  await writeFile(given, lines.map((line) => `${JSON.stringify(line)}\n`).join(""));
  const args = (out: string) => ["generate", "--model", toy, "--batch", given, "--out", join(folder, out), "--json"];
  const one = await espalier(...args("one.jsonl"), "--device", "cpu", "--sequences", "1");
  assert.is(one.code, 0, one.stderr);
  const child = start(command, [...args("two.jsonl"), "--sequences", "1", ...two]);
  const begun = processes(child);
  const over = ended(child);
  await begun.reach(2);
  process.kill(begun.found[1]!, "SIGKILL");
  const { code, stderr, stdout } = await over;
  assert.is(code, 0, stderr);
  assert.match(stderr, /it is started again/);
  assert.is(
    (JSON.parse(stdout) as { newTokens: number }).newTokens,
    (JSON.parse(one.stdout) as { newTokens: number }).newTokens,
  );
  assert.is(await readFile(join(folder, "two.jsonl"), "utf8"), await readFile(join(folder, "one.jsonl"), "utf8"));
});

test("sensitivity: the rows of one device, by two of which one dies", async () => {
  const args = [
    "sensitivity",
    "--model",
    toy,
    "--text",
    join(classics, "eval.txt"),
    "--treatments",
    "magnitude-2of4,wanda-2of4",
  ];
  const short = ["--by", "kind", "--window", "32", "--limit", "2", "--windows", "2", "--json"];
  const rowsOf = (stdout: string): object => {
    const {
      seconds: _,
      device: __,
      rows,
      ...rest
    } = JSON.parse(stdout) as { seconds: number; device: string; rows: { seconds: number }[] };
    return { ...rest, rows: rows.map((row) => ({ ...row, seconds: 0 })) };
  };
  const one = await espalier(...args, ...short, "--device", "cpu");
  assert.is(one.code, 0, one.stderr);
  const child = start(command, [...args, ...short, ...two]);
  const begun = processes(child);
  const over = ended(child);
  await begun.reach(2);
  process.kill(begun.found[0]!, "SIGKILL");
  const { code, stderr, stdout } = await over;
  assert.is(code, 0, stderr);
  assert.match(stderr, /it is started again/);
  assert.equal(rowsOf(stdout), rowsOf(one.stdout));
});

test("compress: the files of one device, byte for byte, by two of which one dies", async () => {
  // two batches: a part for each
  const args = ["compress", "sparsegpt-2of4", "--model", toy, "--window", "256", "--windows", "8", "--json"];
  const one = await espalier(...args, "--out", join(folder, "one"), "--device", "cpu");
  assert.is(one.code, 0, one.stderr);
  const child = start(command, [...args, "--out", join(folder, "two"), ...two]);
  const begun = processes(child);
  const over = ended(child);
  await begun.reach(1);
  // somewhere among the blocks: what it has gone through is gone through again
  const isBegun = async (): Promise<boolean> =>
    (await readdir(folder)).some((name) => name.endsWith("-state") && existsSync(join(folder, name, "state.json")));
  while (!(await isBegun())) await new Promise((resolve) => setTimeout(resolve, 20));
  process.kill(begun.found[0]!, "SIGKILL");
  const { code, stderr } = await over;
  assert.is(code, 0, stderr);
  assert.match(stderr, /it is started again/);
  const files = (await readdir(join(folder, "one"))).sort();
  assert.equal((await readdir(join(folder, "two"))).sort(), files);
  for (const file of files)
    assert.is(
      Buffer.compare(await readFile(join(folder, "two", file)), await readFile(join(folder, "one", file))),
      0,
      file,
    );
});

test("a device that there is not, and one where several are named, are told", async () => {
  const serve = ["serve", "--model", toy, "--port", "0"];
  const missing = await espalier(...serve, "--devices", "cpu,gpu:7");
  assert.is(missing.code, 1);
  assert.match(missing.stderr, /error\[no-gpu\]: There is no GPU 7 on this machine/);
  for (const [args, message] of [
    [["--devices", "cpu,tpu"], /Allowed choices are auto, gpu, cpu, gpu:1/],
    [["--devices", "cpu,cpu", "--device", "cpu"], /'--devices <list>' cannot be used with option '--device <device>'/],
  ] as const) {
    const { code, stderr } = await espalier(...serve, ...args);
    assert.is(code, 2);
    assert.match(stderr, message);
  }
});

test.run();
