/** The official client against the server, over a model that answers in capitals. */
import OpenAI, { APIError } from "openai";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { fakeModel, fakeServer } from "./fake.js";

const test = suite("server/openai");
const model = fakeModel();
const server = await fakeServer(model, { apiKey: "key" });
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "key", maxRetries: 0 });
test.after(async () => {
  server.closeNow();
  await server.close();
});

const texts = (completion: OpenAI.Completion): readonly (readonly [string, string])[] =>
  completion.choices.map(({ text, finish_reason }) => [text, finish_reason]);

async function refusal(work: Promise<unknown>): Promise<APIError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, APIError);
  return error as APIError;
}

test("completions: a text, texts, ids, lists of ids", async () => {
  const ask = async (prompt: OpenAI.CompletionCreateParams["prompt"]): Promise<OpenAI.Completion> =>
    client.completions.create({ model: "fake", prompt });
  const one = await ask("Call me");
  assert.equal(texts(one), [["CALL ME", "stop"]]);
  assert.is(one.object, "text_completion");
  const { prompt_tokens, completion_tokens, total_tokens } = one.usage!;
  assert.equal([prompt_tokens, completion_tokens, total_tokens], [7, 7, 14]);
  assert.equal(texts(await ask(["ab", "cd"])), [
    ["AB", "stop"],
    ["CD", "stop"],
  ]);
  assert.equal(texts(await ask([97, 98])), [["AB", "stop"]]);
  assert.equal(texts(await ask([[97], [98, 99]])), [
    ["A", "stop"],
    ["BC", "stop"],
  ]);
});

/** How tokens are chosen unless told. */
const plain = {
  ...{ topK: 0, minP: 0, repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 },
  logitBias: new Map(),
};

test("completions: max_tokens, stop strings across tokens, n with seeds of their own", async () => {
  const long = { model: "fake", prompt: "the end of it" };
  assert.equal(texts(await client.completions.create({ ...long, max_tokens: 3 })), [["THE", "length"]]);
  assert.equal(texts(await client.completions.create({ ...long, stop: [" OF", "D O"] })), [["THE EN", "stop"]]);
  assert.equal(texts(await client.completions.create({ ...long, stop: "IT!" })), [["THE END OF IT", "stop"]]);
  const three = await client.completions.create({
    ...long,
    n: 3,
    seed: 7,
    max_tokens: 1,
    temperature: 0.5,
    top_p: 0.9,
  });
  assert.is(three.choices.length, 3);
  assert.is(three.usage?.prompt_tokens, 13);
  assert.equal(
    model.requests.slice(-3).map(({ request }) => request.sampling),
    [7, 8, 9].map((seed) => ({ ...plain, temperature: 0.5, topP: 0.9, seed })),
  );
  const weighed = { logit_bias: { "50": -100 }, presence_penalty: 0.5, frequency_penalty: -1 };
  const others = { min_p: 0.1, repetition_penalty: 1.2, top_k: 5 } as object;
  await client.completions.create({ ...long, ...weighed, ...others, seed: 3 });
  assert.equal(model.requests.at(-1)?.request.sampling, {
    ...{ temperature: 1, topP: 1, topK: 5, seed: 3, minP: 0.1, repetitionPenalty: 1.2 },
    ...{ presencePenalty: 0.5, frequencyPenalty: -1, logitBias: new Map([[50, -100]]) },
  });
});

test("completions: logprobs of the new tokens, and with echo of the prompt's, as harnesses ask for them", async () => {
  const plain = await client.completions.create({ model: "fake", prompt: "ab", logprobs: 2, max_tokens: 1 });
  assert.equal(plain.choices[0]?.logprobs, {
    tokens: ["A"],
    token_logprobs: [-0.5],
    top_logprobs: [{ A: -0.5, "!": -1 }],
    text_offset: [0],
  });
  const scored = await client.completions.create({
    model: "fake",
    prompt: [97, 98],
    echo: true,
    logprobs: 1,
    max_tokens: 1,
    temperature: 0,
  });
  assert.equal(texts(scored), [["abA", "length"]]);
  assert.equal(scored.choices[0]?.logprobs, {
    tokens: ["a", "b", "A"],
    token_logprobs: [null, -0.5, -0.5],
    top_logprobs: [null, { b: -0.5 }, { A: -0.5 }],
    text_offset: [0, 1, 2],
  } as unknown as OpenAI.CompletionChoice.Logprobs);
  // a harness leaves out the last entry, the new token's, which therefore has to be there where that token ends the text
  const ended = await client.completions.create({
    model: "fake",
    prompt: "ab",
    echo: true,
    logprobs: 1,
    max_tokens: 9,
  });
  assert.equal(texts(ended), [["abAB", "stop"]]);
  assert.equal(ended.choices[0]?.logprobs?.tokens, ["a", "b", "A", "B", "<end>"]);
  assert.is(ended.usage?.completion_tokens, 2);
  const none = await client.completions.create({ model: "fake", prompt: "ab", echo: true, logprobs: 0, max_tokens: 0 });
  assert.equal(texts(none), [["ab", "length"]]);
  assert.equal(none.choices[0]?.logprobs?.tokens, ["a", "b"]);
});

test("completions in events give the same text, and usage at the end where it is asked for", async () => {
  const stream = await client.completions.create({
    model: "fake",
    prompt: ["ab", "cde"],
    stream: true,
    logprobs: 0,
    stream_options: { include_usage: true },
  });
  const found = ["", ""];
  const reasons: string[] = [];
  let usage: OpenAI.CompletionUsage | null | undefined = null;
  for await (const chunk of stream) {
    for (const { index, text, finish_reason } of chunk.choices) {
      found[index] += text;
      if (finish_reason !== null) reasons[index] = finish_reason;
    }
    usage = chunk.usage;
  }
  assert.equal(found, ["AB", "CDE"]);
  assert.equal(reasons, ["stop", "stop"]);
  assert.is(usage?.total_tokens, 10);
});

test("chat: whole and in events, with logprobs, parts of content, and the new name of max_tokens", async () => {
  const messages: OpenAI.ChatCompletionMessageParam[] = [
    { role: "system", content: "Shout." },
    {
      role: "user",
      content: [
        { type: "text", text: "hel" },
        { type: "text", text: "lo" },
      ],
    },
  ];
  const whole = await client.chat.completions.create({ model: "fake", messages, logprobs: true, top_logprobs: 1 });
  const [choice] = whole.choices;
  assert.equal([choice?.message.role, choice?.message.content, choice?.finish_reason], ["assistant", "HELLO", "stop"]);
  assert.equal(choice?.logprobs?.content?.[0], {
    token: "H",
    bytes: [72],
    logprob: -0.5,
    top_logprobs: [{ token: "H", bytes: [72], logprob: -0.5 }],
  });
  const stream = client.chat.completions.stream({ model: "fake", messages, max_completion_tokens: 4 });
  const deltas: string[] = [];
  stream.on("content", (delta) => deltas.push(delta));
  const final = await stream.finalChatCompletion();
  assert.equal([final.choices[0]?.message.content, final.choices[0]?.finish_reason], ["HELL", "length"]);
  assert.equal(deltas, ["H", "E", "L", "L"]);
  // as many as fit, unless told
  assert.is(model.requests.at(-2)?.request.maxNewTokens, 256 - "<system>Shout.<user>hello".length);
});

test("models, and which are not there", async () => {
  assert.equal(
    (await client.models.list()).data.map(({ id }) => id),
    ["fake"],
  );
  assert.is((await client.models.retrieve("fake")).owned_by, "espalier");
  const unknown = await refusal(client.models.retrieve("gpt-5"));
  assert.equal([unknown.status, unknown.code], [404, "model_not_found"]);
});

test("errors reach the client with their status, code and parameter", async () => {
  const ask = (more: object): Promise<APIError> =>
    refusal(client.completions.create({ model: "fake", prompt: "ab", ...more }));
  for (const [more, expected] of [
    [{ model: "other" }, [404, "model_not_found", "model"]],
    [{ max_tokens: 1000 }, [400, "context_length_exceeded", "max_tokens"]],
    [{ prompt: "x".repeat(300) }, [400, "context_length_exceeded", "prompt"]],
    [{ prompt: [300] }, [400, "invalid_value", "prompt"]],
    [{ prompt: "broken" }, [500, "not-finite", null]],
  ] as const) {
    const error = await ask(more);
    assert.equal([error.status, error.code, error.param], expected, JSON.stringify(more).slice(0, 80));
  }
  const keyless = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "wrong", maxRetries: 0 });
  assert.is((await refusal(keyless.models.list())).status, 401);
});

test("an error in the middle of a stream ends it as one", async () => {
  const stream = await client.completions.create({ model: "fake", prompt: "broken", stream: true });
  let text = "";
  const error = await refusal(
    (async () => {
      for await (const chunk of stream) text += chunk.choices[0]?.text ?? "";
    })(),
  );
  assert.is(text, "BRO");
  assert.match(error.message, /NaN/);
});

test.run();
