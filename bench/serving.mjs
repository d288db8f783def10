/**
 * Clients of a scheduler: tokens a second of all together, and the time between two tokens of one, at several numbers of
 * clients; before that one text by `generate`, whose cache has one length. Random weights in a model's shape.
 *
 *   npm run build && node bench/serving.mjs [--shape smollm2-135m] [--format f16] [--clients 1,8,64] [--prompt 32]
 *     [--tokens 128] [--seconds 5] [--passes] [--device auto] [--json]
 *
 * Each client sends a prompt of its own as soon as its last answer is there. Programs are made by a round that is not
 * timed. `passes`: what a pass takes of the host to be recorded, and altogether, where nothing is read between passes:
 * of `generate` with room for this text and for 2048 tokens, and of a scheduler's rows, texts and tokens of prompts
 * beside them. `alike`: after how many greedy tokens a request among as many as there are clients gets another than alone.
 * Sums are added in another order where more tokens are computed together, and random weights are full of near ties.
 */
import { parseFormat } from "../dist/runtime/cli/format.js";
import { openDevice } from "../dist/runtime/device/device.js";
import { shapeOfModel } from "../dist/runtime/bench/shapes.js";
import { syntheticSession } from "../dist/runtime/bench/synthetic.js";
import { standardLibrary } from "../dist/runtime/library.js";
import { createCaller } from "../dist/runtime/llama/call.js";
import { generate } from "../dist/runtime/llama/inference/generate.js";
import { openScheduler } from "../dist/runtime/llama/serving/scheduler.js";
import { withArena } from "../dist/runtime/run/arena.js";
import { createDecoder, greedy as likeliest } from "../dist/runtime/llama/inference/decode.js";
import { allocatePages, releasePages } from "../dist/runtime/llama/inference/pages.js";
import { openRows } from "../dist/runtime/llama/serving/rows.js";
import { createExecutor } from "../dist/runtime/run/run.js";
import { targetOf } from "../dist/runtime/run/target.js";

const option = (name, usual) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? usual : process.argv[at + 1];
};
const shape = option("shape", "smollm2-135m");
const format = option("format", "f16");
const clients = option("clients", "1,8,64").split(",").map(Number);
const [length, tokens, seconds] = [option("prompt", "32"), option("tokens", "128"), option("seconds", "5")].map(Number);
const device = await openDevice({ kind: option("device", "auto"), unchecked: true });
const executor = await createExecutor(device);
const caller = createCaller(executor, targetOf(device), standardLibrary());
const config = shapeOfModel(shape);
const session = await syntheticSession(caller, config, parseFormat(format), "auto");
const greedy = { temperature: 0 };
const promptOf = (seed) => Array.from({ length }, (_, at) => 1 + ((at * 7919 + seed * 104729) % 1000));
const requestOf = (seed) => ({ prompt: promptOf(seed), maxNewTokens: tokens, stopTokens: [], sampling: greedy });

const isJson = process.argv.includes("--json");
/** What is found is told at once. */
const say = (line) => {
  if (!isJson) console.log(line);
};

const single = [];
for (let run = 0; run < 3; run++)
  single.push(await generate(session, promptOf(0), { maxNewTokens: tokens, eosTokens: [], ...greedy }));
const generated = Math.max(...single.map((each) => each.decodeTokensPerSecond));
say(`${shape}, ${format}, prompts of ${length}, ${tokens} new tokens, ${device.name}`);
say(`generate alone: ${generated.toFixed(0)} tokens/s`);

/** Milliseconds of a pass: of the host to record it, and altogether. */
async function timed(pass, count = 48) {
  for (let at = 0; at < 4; at++) await pass();
  await executor.finish();
  const began = performance.now();
  for (let at = 0; at < count; at++) await pass();
  executor.flush();
  const recorded = performance.now();
  await executor.finish();
  return { hostMs: (recorded - began) / count, ms: (performance.now() - began) / count };
}
const passes = [];
const tell = (found) => {
  passes.push(found);
  const { pass, dispatches, hostMs, ms } = found;
  const counted = dispatches === undefined ? "" : `, ${dispatches} dispatches`;
  say(`pass of ${pass}: ${ms.toFixed(2)} ms, ${hostMs.toFixed(2)} ms of the host${counted}`);
};
if (process.argv.includes("--passes")) {
  for (const capacity of [192, 2048])
    await withArena(executor, async (arena) => {
      const cache = await session.allocateCache(1, capacity);
      arena.defer(() => session.releaseCache(cache));
      const ids = arena.own(await executor.fill("i32", [1, 1], [7]));
      const positions = arena.own(await executor.fill("i32", [1], [length]));
      const decoder = await createDecoder(arena, caller, session, cache, { ids, positions }, likeliest);
      const run = async () => {
        decoder.step();
        executor.flush();
      };
      tell({ pass: `generate, room for ${capacity}`, dispatches: decoder.dispatches, ...(await timed(run)) });
    });
  await withArena(executor, async (arena) => {
    const most = Math.max(...clients);
    const own = Math.ceil((length + 192) / 16);
    const pool = await allocatePages(session, most * own);
    arena.defer(() => releasePages(session, pool));
    const sizes = { sequences: most, widest: 256, pages: 128, piece: 256 };
    const rows = await openRows(arena, session, pool, sizes);
    const kind = { draws: false, weighs: false };
    for (const count of clients) {
      for (let at = 0; at < count; at++) {
        const pages = Array.from({ length: own }, (_, page) => at * own + page);
        await rows.open(at, pages, [1], greedy);
        rows.seat(at, { id: 7 + at, position: length, place: at });
      }
      const beside = [16, 32, 64, 128, 256].map((rows) => rows - count).filter((more) => more > 0);
      for (const more of count === 1 || count === most ? [0, ...beside] : [0]) {
        const tokens = Array.from({ length: more }, (_, at) => ({ id: 9, position: at % length, place: at % count }));
        const run = async () => {
          await rows.step(count, kind, tokens);
          executor.flush();
        };
        tell({ pass: `rows, ${count} texts and ${more} tokens`, ...(await timed(run, 12)) });
        await rows.settle();
      }
    }
  });
}
const opening = performance.now();
const scheduler = await openScheduler(session, {
  sequences: Math.max(...clients),
  contextLength: Math.min(config.contextLength, 2048),
  prepared: device.kind === "gpu",
});
const preparing = performance.now() - opening;
say(`a scheduler, all its programs made, after ${(preparing / 1000).toFixed(1)} s`);
let seed = 1;

/** The tokens of a request; each is told with when it came. */
async function read(request, heard = () => {}) {
  const ids = [];
  for await (const { id } of scheduler.submit(request).tokens) {
    ids.push(id);
    heard(performance.now());
  }
  return ids;
}

/** Clients for some time: tokens while all of them were there, and the times between two of one client, in ms. */
async function serve(count, until) {
  const gaps = [];
  let given = 0;
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (performance.now() < until) {
        let before = null;
        await read(requestOf(seed++), (now) => {
          if (now < until) given++;
          if (before !== null) gaps.push(now - before);
          before = now;
        });
      }
    }),
  );
  return { given, gaps: gaps.sort((a, b) => a - b) };
}

const alone = await read(requestOf(0));
const rows = [];
for (const count of clients) {
  await serve(count, performance.now() + 1);
  const live = executor.memory.live;
  const { given, gaps } = await serve(count, performance.now() + 1000 * seconds);
  const [among] = await Promise.all(Array.from({ length: count }, (_, at) => read(requestOf(at === 0 ? 0 : seed++))));
  const other = among.findIndex((id, at) => id !== alone[at]);
  const row = {
    clients: count,
    tokensPerSecond: given / seconds,
    medianMs: gaps[Math.floor(gaps.length / 2)],
    p99Ms: gaps[Math.floor(gaps.length * 0.99)],
    alike: other < 0 ? among.length : other,
    moreMemory: executor.memory.live - live,
  };
  rows.push(row);
  say(
    `${String(count).padStart(3)} clients: ${row.tokensPerSecond.toFixed(0).padStart(6)} tokens/s, between two of one ${row.medianMs.toFixed(2)} ms, p99 ${row.p99Ms.toFixed(2)} ms, alike ${row.alike} of ${tokens}, memory +${row.moreMemory}`,
  );
}
if (isJson)
  console.log(
    JSON.stringify({
      ...{ device: device.name, shape, format, prompt: length, tokens, generated, passes, preparing, rows },
      state: scheduler.state,
    }),
  );
await scheduler.close();
session.release();
executor.close();
device.close();
