/** Several servers behind one address, of models that compute nothing. */
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import OpenAI from "openai";
import { createFront, type FrontOptions, type Upstream } from "../../runtime/server/front.js";
import { listen } from "../../runtime/server/listen.js";
import { fakeModel, fakeServer, until, type FakeModel } from "./fake.js";

const test = suite("server/front");
const key = "of the front";
const open: { closeNow(): void; close(): unknown }[] = [];
test.after(async () => {
  for (const one of open) one.closeNow();
  await Promise.all(open.map((one) => one.close()));
});

/** Servers with their models, and a front before them. */
async function behindFront(options: Partial<FrontOptions> = {}, many = 2) {
  const models: FakeModel[] = [];
  const upstreams: Upstream[] = [];
  for (let at = 0; at < many; at++) {
    const model = fakeModel({ contextLength: 2 ** 20 });
    models.push(model);
    const server = await fakeServer(model, { apiKey: key });
    open.push(server);
    upstreams.push({ at, port: server.port, key });
  }
  return { models, upstreams, ...(await frontOf(upstreams, options)) };
}

async function frontOf(upstreams: readonly Upstream[], options: Partial<FrontOptions> = {}) {
  const front = createFront({ upstreams: () => upstreams, wanted: upstreams.length, ...options });
  const server = await listen(front.fetch, { host: "127.0.0.1", port: 0 });
  open.push(server);
  const url = `http://127.0.0.1:${server.port}`;
  return { front, url, client: new OpenAI({ baseURL: `${url}/v1`, apiKey: options.apiKey ?? "none", maxRetries: 0 }) };
}

/** A server of which the first answers break: `before` they begin, or `within` their events. */
async function breaking(how: "before" | "within"): Promise<Upstream> {
  const server: Server = createServer((_request, response) => {
    if (how === "before") return response.destroy();
    response.writeHead(200, { "content-type": "text/event-stream" });
    const event = { id: "x", object: "text_completion", created: 1, model: "fake", choices: [{ index: 0, text: "A" }] };
    response.write(`data: ${JSON.stringify(event)}\n\n`, () => setTimeout(() => response.destroy(), 20));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  open.push({ closeNow: () => server.closeAllConnections(), close: () => server.close() });
  return { at: 0, port: (server.address() as AddressInfo).port, key };
}

const ask = { model: "fake", prompt: "ab", max_tokens: 8 };

test("requests go to the server with the least under way, whole and in events", async () => {
  const { models, client, url } = await behindFront();
  const streams = await Promise.all(
    [1, 2, 3, 4].map(() => client.completions.create({ ...ask, prompt: "endless", max_tokens: 100_000, stream: true })),
  );
  const readers = streams.map((stream) => stream[Symbol.asyncIterator]());
  await Promise.all(readers.map((reader) => reader.next()));
  assert.equal(
    models.map(({ requests }) => requests.length),
    [2, 2],
  );
  const metrics = await (await fetch(`${url}/metrics`)).text();
  assert.match(metrics, /espalier_sequences_running\{server="0"\} 2\n.*espalier_sequences_running\{server="1"\} 2/);
  assert.match(metrics, /espalier_front_requests_under_way 4/);
  assert.is(metrics.split("# TYPE espalier_sequences_running ").length, 2);
  // one that has ended makes room there
  streams[0]!.controller.abort();
  await until(() => models.some(({ requests }) => requests.some(({ ended }) => ended === "cancelled")));
  const freed = models.findIndex(({ requests }) => requests.some(({ ended }) => ended === "cancelled"));
  await until(() => models[freed]!.scheduler.state.running === 1);
  assert.is((await client.completions.create(ask)).choices[0]?.text, "AB");
  assert.is(models[freed]!.requests.length, 3);
  for (const stream of streams) stream.controller.abort();
});

test("what a server that is gone was asked is asked of another, once", async () => {
  const gone = await breaking("before");
  const { models, upstreams } = await behindFront({}, 1);
  const second = { ...upstreams[0]!, at: 1 };
  const { client, url } = await frontOf([gone, second]);
  assert.is((await client.completions.create(ask)).choices[0]?.text, "AB");
  let streamed = "";
  for await (const chunk of await client.completions.create({ ...ask, stream: true }))
    streamed += chunk.choices[0]?.text ?? "";
  assert.is(streamed, "AB");
  assert.is(models[0]!.requests.length, 2);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /espalier_front_requests_retried_total [12]\n/);
  // where there is no other, and where the other is gone, too
  for (const [all, message] of [
    [[gone], /no other is left/],
    [[gone, { ...gone, at: 1 }, second], /one after the other/],
  ] as const) {
    const error = await (await frontOf(all)).client.completions.create(ask).catch((thrown: unknown) => thrown);
    assert.instance(error, OpenAI.APIError);
    assert.is((error as InstanceType<typeof OpenAI.APIError>).status, 502);
    assert.match((error as Error).message, message);
  }
});

test("an answer that breaks off in its middle says so, and is not begun again", async () => {
  const { client, url } = await frontOf([await breaking("within"), { ...(await breaking("within")), at: 1 }]);
  let seen = "";
  const error = await (async () => {
    for await (const chunk of await client.completions.create({ ...ask, stream: true }))
      seen += chunk.choices[0]?.text ?? "";
  })().then(
    () => null,
    (thrown: unknown) => thrown as Error,
  );
  assert.is(seen, "A");
  assert.match(error?.message ?? "", /The process that made this answer went away/);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /espalier_front_streams_broken_total 1\n/);
});

test("the key is asked for at the front, and errors of servers are handed on", async () => {
  const { client, url, models } = await behindFront({ apiKey: "secret" });
  assert.is((await fetch(`${url}/v1/models`)).status, 401);
  assert.is((await client.models.list()).data[0]?.id, "fake");
  const refusal = await client.completions
    .create({ ...ask, model: "other" })
    .catch((thrown: unknown) => thrown as Error);
  assert.match((refusal as Error).message, /404 There is no model "other" here/);
  const post = (body: string, type = "application/json") =>
    fetch(`${url}/v1/completions`, {
      method: "POST",
      body,
      headers: { "content-type": type, authorization: "Bearer secret" },
    });
  assert.is((await post("{")).status, 400);
  assert.is((await post("{}", "text/plain")).status, 415);
  assert.is((await post(`"${"x".repeat(2 ** 23)}"`)).status, 413);
  assert.is((await fetch(`${url}/v1/completions`, { headers: { authorization: "Bearer secret" } })).status, 405);
  assert.is(
    models.reduce((sum, { requests }) => sum + requests.length, 0),
    0,
  );
});

test("health tells how many answer, and a front that closes takes nothing more and waits for the rest", async () => {
  let isClosing = false;
  const { upstreams } = await behindFront();
  let left: readonly Upstream[] = [];
  const { url, client, front } = await frontOf([], { upstreams: () => left, wanted: 2, isClosing: () => isClosing });
  const health = async () => {
    const answer = await fetch(`${url}/health`);
    return [answer.status, await answer.json()];
  };
  assert.equal(await health(), [503, { status: "loading", servers: 0, wanted: 2 }]);
  assert.match(String(await client.completions.create(ask).catch((thrown: unknown) => thrown)), /503 .*being loaded/);
  left = upstreams.slice(0, 1);
  assert.equal(await health(), [200, { status: "degraded", servers: 1, wanted: 2 }]);
  left = upstreams;
  assert.equal(await health(), [200, { status: "ok", servers: 2, wanted: 2 }]);
  const stream = await client.completions.create({ ...ask, prompt: "endless", max_tokens: 400, stream: true });
  isClosing = true;
  assert.equal((await health())[0], 503);
  assert.match(String(await client.completions.create(ask).catch((thrown: unknown) => thrown)), /503 .*being stopped/);
  let isDrained = false;
  const drained = front.drain().then(() => (isDrained = true));
  let tokens = 0;
  for await (const _ of stream) tokens++;
  await drained;
  assert.ok(isDrained && tokens >= 250);
});

test.run();
