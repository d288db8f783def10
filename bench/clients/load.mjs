/**
 * Clients by the dozen, well-behaved and not, against `espalier serve` on this machine:
 *
 *   npm run build && node bench/clients/load.mjs --model examples/classics-3.7m [--device cpu] [--seconds 60]
 *     [--clients 64] [--tokens 128] [--context 512] [--connections 10000] [--prompt TEXT] [--small-cache 2MiB]
 *     [--out FILE] [--json]
 *
 * First one client, then all together for the time given: every stream has to come to its end. Then faults, each of them
 * against the same server, which has to be as before afterwards: no text under way, no page in use, and the same answer
 * to the same question. A second, small server is given more than its cache and its queue hold. The memory told is that
 * of the server's process (VmRSS), and that of all cards where nvidia-smi tells it.
 *
 * What is found is one JSON document, on stdout with `--json`; `--out` has it written anew after every part, so that a run
 * that is cut off leaves what it had. A part that fails is told (`failed`), the others go on, and the exit code is 1.
 */
import { execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { fileURLToPath } from "node:url";

const option = (name, usual) => {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? usual : process.argv[at + 1];
};
const model = option("model", "examples/classics-3.7m");
const device = option("device", "auto");
const opening = option("prompt", "It was a dark night");
const [seconds, clients, tokens, context, connections] = [
  ...[option("seconds", "60"), option("clients", "64"), option("tokens", "128")],
  ...[option("context", "512"), option("connections", "10000")],
].map(Number);
const found = { model, device, clients, seconds, tokens, context, complete: false, parts: {} };
const say = (line) => {
  if (!process.argv.includes("--json")) console.log(line);
};
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const check = (holds, what) => {
  if (!holds) throw new Error(`not so: ${what}`);
};

/** Writes what was found so far, whole or not at all. */
function keep() {
  const file = option("out", null);
  if (file === null) return;
  writeFileSync(`${file}.part`, `${JSON.stringify(found, null, 1)}\n`);
  renameSync(`${file}.part`, file);
}

/** A part by its name: what it finds is kept, as is why it failed; a part that hangs fails after some minutes. */
async function part(name, run) {
  const began = performance.now();
  let timer = null;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("did not end in time")), 1000 * (seconds + 300));
  });
  try {
    found.parts[name] = { ...(await Promise.race([run(), late])) };
  } catch (error) {
    found.parts[name] = { ...found.parts[name], failed: error.message };
    process.exitCode = 1;
    say(`${name} FAILED: ${error.message}`);
  }
  clearTimeout(timer);
  found.parts[name].took = (performance.now() - began) / 1000;
  keep();
}

const command = fileURLToPath(new URL("../../dist/bundle/main.js", import.meta.url));
/** What was started ends with this process. */
const started = new Set();
for (const signal of ["SIGINT", "SIGTERM"])
  process.once(signal, () => {
    for (const child of started) child.kill("SIGKILL");
    process.exit(1);
  });

/** Starts a server; settles when it takes requests. */
async function serve(...args) {
  const given = ["serve", "--model", model, "--name", "m", "--device", device, "--json", ...args];
  const child = spawn(process.execPath, [command, ...given], { stdio: ["ignore", "pipe", "pipe"] });
  started.add(child);
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk) => (out += chunk));
  child.stderr.on("data", (chunk) => (err += chunk));
  const ended = new Promise((resolve) => child.once("close", (code) => resolve({ code, err })));
  while (!out.trimEnd().endsWith("}") && child.exitCode === null) await pause(20);
  if (child.exitCode !== null) return { ended, isRunning: () => false };
  const { port, device: name } = JSON.parse(out);
  return {
    port,
    name,
    ended,
    url: `http://127.0.0.1:${port}`,
    stop: () => (child.kill("SIGTERM"), ended),
    memory: () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${child.pid}/status`, "utf8"))[1]) / 1024,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    errors: () => err.match(/error.*/g) ?? [],
  };
}

const bodyOf = (more = {}) =>
  JSON.stringify({ model: "m", prompt: "It was a dark night", max_tokens: tokens, temperature: 0, ...more });
const post = (url, body, options = {}) =>
  fetch(`${url}/v1/completions`, {
    method: "POST",
    body,
    headers: { "content-type": "application/json" },
    ...options,
  });

/** A text in events: how many tokens it had, by the usage that its end tells; `heard` of each piece of text, as it comes. */
async function stream(url, more, heard = () => {}) {
  const answer = await post(url, bodyOf({ stream: true, stream_options: { include_usage: true }, ...more }));
  if (answer.status !== 200) throw new Error(`status ${answer.status}: ${await answer.text()}`);
  let text = "";
  for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    heard(chunk.split('"finish_reason":null').length - 1);
  }
  check(text.endsWith("data: [DONE]\n\n"), "a stream comes to its end");
  return Number(/"completion_tokens":(\d+)/.exec(text)[1]);
}

/** MiB in use on each card, none where there is no nvidia-smi. */
function cards() {
  try {
    const args = ["--query-gpu=memory.used", "--format=csv,noheader,nounits"];
    return execFileSync("nvidia-smi", args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
      .trim()
      .split("\n")
      .map(Number);
  } catch {
    return [];
  }
}

/** The value of `sorted` below which `share` of them lie. */
const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? null;

/** Clients for some time: pieces of text a second (one a token, but where a letter has several), and the ms between two. */
async function clientsFor(server, count, time) {
  const until = performance.now() + 1000 * time;
  const [memory, gaps] = [[], []];
  const watch = setInterval(() => memory.push(server.memory()), 500);
  let [given, answers, seed] = [0, 0, 0];
  const failures = [];
  await Promise.all(
    Array.from({ length: count }, async () => {
      while (performance.now() < until && failures.length < 10) {
        let before = null;
        await stream(server.url, { prompt: `Chapter ${seed++}. ${opening}`, seed }, (events) => {
          const now = performance.now();
          if (now < until) given += events;
          // what comes in one piece of the network came at once
          for (let event = 0; event < events; event++) {
            if (before !== null) gaps.push(event === 0 ? now - before : 0);
            before = now;
          }
        }).then(
          () => answers++,
          (error) => failures.push(error.message),
        );
      }
    }),
  );
  clearInterval(watch);
  gaps.sort((one, other) => one - other);
  const memoryMiB = [0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(memory[Math.floor(share * (memory.length - 1))]));
  return {
    tokensPerSecond: given / time,
    answers,
    failures,
    gapsMs: { median: quantile(gaps, 0.5), p99: quantile(gaps, 0.99), longest: gaps.at(-1) ?? null },
    memoryMiB,
    cardsMiB: cards(),
  };
}

/** The tokens of a greedy text. */
async function tokensOf(server, prompt) {
  const body = bodyOf({ prompt, logprobs: 1 });
  const { choices } = await (await post(server.url, body)).json();
  return choices[0].logprobs.tokens;
}

/** What /metrics tells. */
async function metrics(server) {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  return (name) => Number(new RegExp(`^espalier_${name} (.*)$`, "m").exec(text)[1]);
}

const server = await serve("--port", "0", "--sequences", String(clients), "--context", String(context));
if (!server.isRunning()) throw new Error((await server.ended).err);
found.device = server.name;
const short = bodyOf({ max_tokens: 24 });
const reference = await (await post(server.url, short)).json();

/** That the server is as it was, within two minutes. */
async function settled(what) {
  const began = performance.now();
  for (;;) {
    check(server.isRunning(), `the server runs after ${what}: ${server.errors()}`);
    const value = await metrics(server);
    const left = ["sequences_running", "sequences_waiting", "cache_pages_used"].map(value);
    if (left.every((count) => count === 0)) break;
    check(performance.now() - began < 120_000, `${what} leave nothing: ${left}`);
    await pause(50);
  }
  const again = await (await post(server.url, short)).json();
  check(again.choices[0].text === reference.choices[0].text, `the same answer after ${what}`);
  say(`${what}: the server is as before, ${server.memory().toFixed(0)} MiB`);
  return { what, memoryMiB: Math.round(server.memory()) };
}

say(`${model} on ${server.name}, ${clients} clients, ${tokens} new tokens each, texts of up to ${context} tokens`);

await part("load", async () => {
  await clientsFor(server, clients, 1); // programs are made
  await clientsFor(server, 1, 1);
  const one = await clientsFor(server, 1, Math.min(10, seconds));
  const before = { memoryMiB: Math.round(server.memory()), cardsMiB: cards() };
  found.parts.load = { one, before };
  keep();
  const all = await clientsFor(server, clients, seconds);
  const between = ({ median, p99 }) => `median ${median.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms between tokens`;
  say(`1 client: ${one.tokensPerSecond.toFixed(0)} tokens/s, ${between(one.gapsMs)}`);
  say(`${clients} for ${seconds} s: ${all.tokensPerSecond.toFixed(0)} tokens/s, ${between(all.gapsMs)}`);
  say(`${all.answers} answers, ${all.failures.length} failed; memory ${all.memoryMiB.join(", ")} MiB over the time`);
  const ratios = {
    tokensPerSecond: all.tokensPerSecond / one.tokensPerSecond,
    p99: all.gapsMs.p99 / one.gapsMs.p99,
  };
  say(`${ratios.tokensPerSecond.toFixed(1)} times one client's tokens/s, ${ratios.p99.toFixed(1)} times its p99`);
  found.parts.load = { one, before, all, ratios };
  const failures = [...one.failures, ...all.failures];
  check(failures.length === 0, `every stream comes to its end: ${failures.slice(0, 3)}`);
  return { ...found.parts.load, after: await settled(`${clients} clients for ${seconds} s`) };
});

await part("alike", async () => {
  const alone = await tokensOf(server, opening);
  const others = Array.from({ length: clients - 1 }, (_, at) =>
    stream(server.url, { prompt: `Chapter ${at}. ${opening}` }),
  );
  const [among] = await Promise.all([tokensOf(server, opening), ...others]);
  const differing = alone.filter((token, at) => token !== among[at]).length;
  const first = alone.findIndex((token, at) => token !== among[at]);
  say(`a greedy text alone and among ${clients}: ${differing} of ${alone.length} tokens differ`);
  return { tokens: alone.length, differing, first: first < 0 ? null : first };
});

// clients that are killed while they read
const reader = `const a = await fetch(process.argv[1], { method: "POST", body: process.argv[2], headers: { "content-type": "application/json" } });
for await (const chunk of a.body) process.stdout.write(chunk);`;
await part("killed", async () => {
  for (let round = 0; round < 3; round++)
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const args = [`${server.url}/v1/completions`, bodyOf({ stream: true, max_tokens: context - 16 })];
        const child = spawn(process.execPath, ["--input-type=module", "-e", reader, "--", ...args]);
        await new Promise((resolve) => child.stdout.once("data", resolve));
        child.kill("SIGKILL");
      }),
    );
  return settled("24 clients ended by kill -9 in the middle of their answers");
});

const request = (body) =>
  `POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
await part("slow", async () => {
  const slow = Array.from({ length: 16 }, () => {
    const socket = connect(server.port, "127.0.0.1");
    socket.on("error", () => {});
    socket.pause();
    socket.write(request(bodyOf({ stream: true, max_tokens: context - 16, logprobs: 20 })));
    return socket;
  });
  await stream(server.url);
  await pause(500);
  for (const socket of slow) socket.destroy();
  return settled("16 readers that read nothing");
});

await part("garbage", async () => {
  let refused = 0;
  for (let at = 0; at < 300; at++) {
    const path = at % 2 === 0 ? "completions" : "chat/completions";
    const body =
      at % 3 === 0 ? randomBytes(1 + 37 * at) : at % 3 === 1 ? `{"model": "m", "prompt": ${"[".repeat(at)}` : "\xff";
    const answer = await fetch(`${server.url}/v1/${path}`, {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
    });
    const { error } = await answer.json();
    if (answer.status === 400 && typeof error.message === "string") refused++;
  }
  check(refused === 300, `each of 300 bodies that are no JSON, or no UTF-8, gets 400: ${refused}`);
  for (let at = 0; at < 300; at++)
    await new Promise((resolve) => {
      const socket = connect(server.port, "127.0.0.1", () => socket.end(randomBytes(200)));
      socket.on("error", resolve);
      socket.on("close", resolve);
      socket.resume();
    });
  return settled("300 garbage bodies, each refused with 400, and 300 connections of random bytes");
});

await part("connections", async () => {
  for (let done = 0; done < connections; done += 200)
    await Promise.all(
      Array.from(
        { length: Math.min(200, connections - done) },
        (_, at) =>
          new Promise((resolve) => {
            const socket = connect(server.port, "127.0.0.1", () => {
              if (at % 2 === 0) socket.write("POST /v1/completions HTTP/1.1\r\nHost: local");
              setImmediate(() => socket.destroy());
            });
            socket.on("error", resolve);
            socket.on("close", resolve);
          }),
      ),
    );
  return settled(`${connections} connections opened and dropped`);
});

await part("port", async () => {
  const taken = await serve("--port", String(server.port));
  const { code, err } = await taken.ended;
  check(code === 2 && /is in use/.test(err), `a port in use ends the command with 2, found ${code}: ${err}`);
  say(`the same port again: ${/error.*/.exec(err)[0]} (code ${code})`);
  return { code, error: /error.*/.exec(err)[0] };
});
await part("stop", async () => {
  const stopped = await server.stop();
  check(stopped.code === 0, `SIGTERM ends the server well: ${stopped.err}`);
  check(server.errors().length === 0, `the server told of no error: ${server.errors()}`);
  return { code: stopped.code };
});

// more than a cache and a queue hold: pages for about three of these texts
await part("full", async () => {
  const bytes = option("small-cache", "2MiB");
  const small = ["--sequences", "8", "--queue", "16", "--cache-memory", bytes, "--context", "96"];
  const other = await serve("--port", "0", ...small);
  if (!other.isRunning()) throw new Error((await other.ended).err);
  try {
    const pages = (await metrics(other))("cache_pages");
    const most = { running: 0, waiting: 0 };
    const watch = setInterval(() => {
      void metrics(other).then((value) => {
        most.running = Math.max(most.running, value("sequences_running"));
        most.waiting = Math.max(most.waiting, value("sequences_waiting"));
      });
    }, 20);
    const outcomes = await Promise.all(
      Array.from({ length: 64 }, async (_, at) => {
        const answer = await post(other.url, bodyOf({ prompt: `Chapter ${at}. ${opening}`, max_tokens: 64 }));
        const told = await answer.json();
        return answer.status === 200 ? told.usage.completion_tokens > 0 : `${answer.status} ${told.error.code}`;
      }),
    );
    clearInterval(watch);
    const served = outcomes.filter((outcome) => outcome === true).length;
    const full = outcomes.filter((outcome) => outcome === "429 queue_full").length;
    check(served + full === 64 && served >= 16, `each is served or refused with 429: ${outcomes}`);
    say(
      `64 requests at once for ${pages} pages, a queue of 16: ${served} served (${most.running} at once at most, ${most.waiting} waited), ${full} refused with 429`,
    );
    check((await metrics(other))("cache_pages_used") === 0, "no page is left in use");
    return { pages, served, refused: full, most };
  } finally {
    await other.stop();
  }
});
found.complete = true;
keep();
if (process.argv.includes("--json")) console.log(JSON.stringify(found, null, 1));
for (const child of started) child.kill("SIGKILL"); // what a part that failed left running
process.exit();
