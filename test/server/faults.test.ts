/** Bad input, and clients that misbehave. */
import { connect } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fakeModel, fakeServer, until } from "./fake.js";

const test = suite("server/faults");
const model = fakeModel();
const faults: unknown[] = [];
const server = await fakeServer(model, {
  limits: { body: 20_000, unread: 2 ** 16, messages: 4 },
  onFault: (error) => faults.push(error),
});
test.after.each(() => assert.equal(faults.splice(0), []));
test.after(async () => {
  server.closeNow();
  await server.close();
});

interface Refusal {
  readonly status: number;
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string;
  };
}

async function post(
  body: string | Uint8Array<ArrayBuffer>,
  path = "completions",
  type = "application/json",
): Promise<Refusal> {
  const answer = await fetch(`${server.url}/v1/${path}`, { method: "POST", body, headers: { "content-type": type } });
  return { status: answer.status, ...((await answer.json()) as Pick<Refusal, "error">) };
}

const text = { model: "fake", prompt: "ab" };
const chat = { model: "fake", messages: [{ role: "user", content: "ab" }] };
const refused: readonly (readonly [string, object, RegExp])[] = [
  ["an unknown parameter", { ...text, temprature: 1 }, /`temprature`, which is not known/],
  ["no model", { prompt: "ab" }, /`model` should be a string, found nothing/],
  ["no prompt", { model: "fake" }, /`prompt` should be a string, a list of strings/],
  ["an empty list of prompts", { ...text, prompt: [] }, /`prompt` should be/],
  ["a prompt of fractions", { ...text, prompt: [0.5] }, /`prompt` should be/],
  ["a mixed list of prompts", { ...text, prompt: ["a", [1]] }, /`prompt` should be/],
  ["an empty prompt, of a model that puts nothing before", { ...text, prompt: "" }, /no tokens/],
  ["too many prompts", { ...text, prompt: new Array(200).fill("a") }, /at most 128 texts/],
  ["a negative number of tokens", { ...text, max_tokens: -1 }, /`max_tokens` should be an integer from 0/],
  ["no tokens without echo", { ...text, max_tokens: 0 }, /above 0 unless `echo`/],
  ["a huge number of tokens", { ...text, max_tokens: 1e30 }, /`max_tokens` should be an integer from 0/],
  ["a negative temperature", { ...text, temperature: -1 }, /`temperature` should be a number from 0 to 100/],
  ["a temperature in words", { ...text, temperature: "hot" }, /found "hot"/],
  ["top_p above 1", { ...text, top_p: 2 }, /`top_p` should be a number from 0 to 1/],
  ["a thousand samples", { ...text, n: 1000 }, /`n` should be an integer from 1 to 128/],
  ["a seed of a fraction", { ...text, seed: 0.5 }, /`seed` should be an integer/],
  ["too many logprobs", { ...text, logprobs: 50 }, /`logprobs` should be an integer from 0 to 20/],
  [
    "a stop string of 10 kB",
    { ...text, stop: "s".repeat(10_000) },
    /`stop` should be a string of 1 to 1024 characters.*10000/,
  ],
  ["an empty stop string", { ...text, stop: [""] }, /`stop` should be/],
  ["a hundred stop strings", { ...text, stop: new Array(100).fill("s") }, /at most 16 of them/],
  ["a bias of a word", { ...text, logit_bias: { the: 1 } }, /`logit_bias` should be an object of at most 1024 ids/],
  ["a huge bias", { ...text, logit_bias: { "5": 1e9 } }, /with numbers from -100 to 100, found/],
  ["a list of biases", { ...text, logit_bias: [1] }, /`logit_bias` should be an object/],
  ["a bias of a token that there is not", { ...text, logit_bias: { "256": 1 } }, /ids of tokens, below 256, found 256/],
  [
    "very many biases",
    { ...text, logit_bias: Object.fromEntries(Array.from({ length: 1025 }, (_, at) => [at, 1])) },
    /found .*1025 of them/,
  ],
  ["min_p above 1", { ...text, min_p: 2 }, /`min_p` should be a number from 0 to 1/],
  ["a repetition penalty of 0", { ...text, repetition_penalty: 0 }, /`repetition_penalty` should be a number/],
  ["a huge penalty", { ...text, presence_penalty: 1e30 }, /`presence_penalty` should be a number from -100 to 100/],
  ["a penalty in words", { ...text, frequency_penalty: "much" }, /`frequency_penalty` should be a number/],
];
for (const [name, body, message] of refused) {
  test(`${name} is refused with 400`, async () => {
    const { status, error } = await post(JSON.stringify(body));
    assert.is(status, 400, error.message);
    assert.is(error.type, "invalid_request_error");
    assert.match(error.message, message);
  });
}

const refusedChats: readonly (readonly [string, object, RegExp])[] = [
  ["an empty list of messages", { ...chat, messages: [] }, /`messages` should be a list of 1 to 4/],
  ["an over-long list of messages", { ...chat, messages: new Array(5).fill(chat.messages[0]) }, /list of 1 to 4/],
  ["a message that is none", { ...chat, messages: ["hello"] }, /`messages\[0\]` should be an object/],
  ["a role that is none", { ...chat, messages: [{ role: 7, content: "a" }] }, /`messages\[0\].role` should be/],
  ["an image", { ...chat, messages: [{ role: "user", content: [{ type: "image_url" }] }] }, /parts of the type `text`/],
  ["a role that the template refuses", { ...chat, messages: [{ role: "wizard", content: "a" }] }, /refuses `wizard`/],
  ["tools", { ...chat, tools: [{ type: "function" }] }, /`tools` should be left out/],
  ["alternatives without logprobs", { ...chat, top_logprobs: 2 }, /`logprobs` should be true/],
];
for (const [name, body, message] of refusedChats) {
  test(`in a chat, ${name} is refused with 400`, async () => {
    const { status, error } = await post(JSON.stringify(body), "chat/completions");
    assert.is(status, 400, error.message);
    assert.match(error.message, message);
  });
}

test("bodies that are no JSON, no UTF-8, no object, too large, or of another type", async () => {
  for (const [body, status, code] of [
    ["{", 400, "invalid_json"],
    ["", 400, "invalid_json"],
    ["[]", 400, "invalid_json"],
    [new Uint8Array([0x22, 0xff, 0x22]), 400, "invalid_json"],
    ["[".repeat(19_000), 400, "invalid_json"],
    [JSON.stringify({ ...text, prompt: "x".repeat(20_000) }), 413, "too_large"],
  ] as const) {
    const found = await post(body);
    assert.equal([found.status, found.error.code], [status, code]);
  }
  assert.is((await post("prompt=ab", "completions", "application/x-www-form-urlencoded")).status, 415);
  // of no length that is told, and without an end
  const endless = new ReadableStream({ pull: (to) => to.enqueue(new Uint8Array(4096).fill(32)) });
  const answer = await fetch(`${server.url}/v1/completions`, {
    method: "POST",
    body: endless,
    headers: { "content-type": "application/json" },
    duplex: "half",
  } as RequestInit).catch(() => null);
  assert.ok(answer === null || answer.status === 413);
});

test("other paths and methods", async () => {
  const get = async (path: string): Promise<number> => (await fetch(`${server.url}${path}`)).status;
  assert.equal(
    await Promise.all(["/health", "/metrics", "/v1/models", "/", "/v1/embeddings", "/v1/completions"].map(get)),
    [200, 200, 200, 404, 404, 405],
  );
});

test("a model without a template does not chat; one that is loaded, or a server that stops, asks for patience", async () => {
  const status = async (url: string): Promise<readonly unknown[]> => {
    const headers = { "content-type": "application/json" };
    const answer = await fetch(`${url}/v1/chat/completions`, { method: "POST", body: JSON.stringify(chat), headers });
    const health = await fetch(`${url}/health`);
    return [answer.status, ((await answer.json()) as Refusal).error.code, health.status];
  };
  for (const [of, options, expected] of [
    [{ ...fakeModel(), chat: null }, {}, [400, "no_chat_template", 200]],
    [null, {}, [503, "loading", 503]],
    [fakeModel(), { isClosing: () => true }, [503, "closing", 503]],
    [fakeModel({ queue: 0 }), {}, [429, "queue_full", 200]],
  ] as const) {
    const other = await fakeServer(of, options);
    assert.equal(await status(other.url), expected);
    other.closeNow();
    await other.close();
  }
});

test("pages of other origins get no leave unless one is asked for", async () => {
  const preflight = (url: string): Promise<Response> =>
    fetch(`${url}/v1/completions`, {
      method: "OPTIONS",
      headers: { origin: "https://a.example", "access-control-request-method": "POST" },
    });
  assert.is((await preflight(server.url)).headers.get("access-control-allow-origin"), null);
  const open = await fakeServer(model, { cors: "https://a.example", apiKey: "key" });
  assert.is((await preflight(open.url)).headers.get("access-control-allow-origin"), "https://a.example");
  open.closeNow();
  await open.close();
});

test("a client that goes away ends its request, streamed or not", async () => {
  const large = fakeModel({ contextLength: 2 ** 26 });
  const other = await fakeServer(large);
  for (const stream of [true, false]) {
    const gone = new AbortController();
    const work = fetch(`${other.url}/v1/completions`, {
      method: "POST",
      body: JSON.stringify({ model: "fake", prompt: "endless", max_tokens: 2 ** 25, stream }),
      headers: { "content-type": "application/json" },
      signal: gone.signal,
    }).catch(() => null);
    await until(() => large.requests.length === (stream ? 1 : 2));
    if (stream) await (await work)?.body?.getReader().read();
    gone.abort();
    await until(() => large.requests.at(-1)?.ended === "cancelled");
    assert.is(large.scheduler.state.running, 0);
  }
  assert.match(await (await fetch(`${other.url}/metrics`)).text(), /espalier_clients_gone_total 2\n/);
  other.closeNow();
  await other.close();
});

test("a reader that is too slow is given up, and holds up nobody", async () => {
  const large = fakeModel({ contextLength: 2 ** 26 });
  const other = await fakeServer(large, { limits: { unread: 2 ** 16 } });
  const json = JSON.stringify({ model: "fake", prompt: "wide", max_tokens: 2 ** 25, stream: true });
  const socket = connect(other.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.pause();
  socket.write(
    `POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${json.length}\r\n\r\n${json}`,
  );
  await until(() => large.requests.length === 1);
  const quick = await fetch(`${other.url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify(text),
    headers: { "content-type": "application/json" },
  });
  assert.is(((await quick.json()) as { choices: { text: string }[] }).choices[0]?.text, "AB");
  await until(() => large.requests[0]?.ended === "cancelled");
  socket.destroy();
  other.closeNow();
  await other.close();
});

test("garbage and connections that are dropped at once change nothing", async () => {
  for (let round = 0; round < 10; round++) {
    await Promise.all(
      Array.from(
        { length: 50 },
        (_, at) =>
          new Promise<void>((resolve) => {
            const socket = connect(server.port, "127.0.0.1", () => {
              if (at % 3 === 0) socket.write("\x16\x03\x01\x02\x00garbage\r\n\r\n");
              if (at % 3 === 1) socket.write("POST /v1/completions HTTP/1.1\r\nContent-Length: 100\r\n\r\n{");
              if (at % 2 === 0) socket.resetAndDestroy();
              else socket.destroy();
            });
            socket.on("error", () => {});
            socket.on("close", () => resolve());
          }),
      ),
    );
  }
  assert.is((await fetch(`${server.url}/health`)).status, 200);
  assert.is(model.scheduler.state.running, 0);
});

test("what is the server's own fault is told to it, not to the client", async () => {
  const broken = fakeModel();
  const told: unknown[] = [];
  const fault = new TypeError("secret");
  const other = await fakeServer(
    {
      ...broken,
      scheduler: {
        ...broken.scheduler,
        submit() {
          throw fault;
        },
      },
    },
    { onFault: (error) => told.push(error) },
  );
  const answer = await fetch(`${other.url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify(text),
    headers: { "content-type": "application/json" },
  });
  assert.is(answer.status, 500);
  assert.not.match(await answer.text(), /secret/);
  assert.equal(told, [fault]);
  other.closeNow();
  await other.close();
});

test.run();
