/** Generating: options at the ends of their ranges, what is not finite on the way, and every way in which it ends. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { LlamaError } from "../../../runtime/llama/error.js";
import {
  generate,
  openContext,
  type Context,
  type GenerateOptions,
  type Generation,
} from "../../../runtime/llama/inference/generate.js";
import { makeSession, openSession, type Session } from "../../../runtime/llama/inference/session.js";
import { openMachine } from "../machine.js";
import { tinyConfig, tinyModel } from "../tiny.js";

const test = suite("generate");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-generate-"));
const model = await tinyModel(join(folder, "model"));
const session = await openSession(caller, model, { dtype: "f32" });
const held = caller.executor.memory.live;
const { vocab_size: vocabulary, max_position_embeddings: context } = tinyConfig;

test.after.each(() => assert.is(caller.executor.memory.live, held, "all memory is given back"));
test.after(async () => {
  session.release();
  await model.close();
  await rm(folder, { recursive: true });
  close();
});

const prompt = [3, 5, 7];
const text = (options: Partial<GenerateOptions>, of: Session = session): Promise<Generation> =>
  generate(of, prompt, { maxNewTokens: 6, temperature: 0, eosTokens: [], ...options });
const greedy = (await text({})).ids;

async function refusal(work: Promise<unknown>): Promise<LlamaError> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError, String(error));
  return error as LlamaError;
}

test("a text that grows past any size compiles nothing anew, and takes memory by pages", async () => {
  const long = makeSession(
    caller,
    { ...session.config, contextLength: 4096 },
    session.frame,
    session.blocks,
    "f32",
    () => {},
  );
  const { gpu } = caller.executor.device;
  const compile = gpu.createComputePipelineAsync.bind(gpu);
  const whole = Array.from({ length: 2560 }, (_, at) => 3 + ((at * 37) % 60));
  const context = await openContext(long, 4096);
  const live = (): number => caller.executor.memory.live - held;
  const opened = live();
  let compiled = 0;
  gpu.createComputePipelineAsync = (descriptor) => (compiled++, compile(descriptor));
  try {
    const said = async (tokens: number, options: Partial<GenerateOptions>, by: Context): Promise<Generation> =>
      by.generate(whole.slice(0, tokens), { maxNewTokens: 2, temperature: 0, eosTokens: [], ...options });
    await said(512, {}, context);
    assert.ok(compiled > 0);
    compiled = 0;
    // it has pages for 768 tokens to begin with, and is bound anew where it grows
    const grown = await said(512, { maxNewTokens: 300 }, context);
    assert.is(grown.newTokens, 300);
    // former sizes were powers of two up to 8192
    for (const tokens of [1024, 1536, 2048, 2560]) await said(tokens, {}, context);
    assert.is(compiled, 0);
    const large = await openContext(long, 4096);
    const first = live();
    assert.equal((await said(512, { maxNewTokens: 300 }, large)).ids, grown.ids);
    assert.ok(live() > first);
    large.close();
    assert.is(compiled, 0);
    assert.ok(live() > opened && live() < 8 * opened, `${live()} after ${opened}`);
  } finally {
    gpu.createComputePipelineAsync = compile;
    context.close();
  }
});

test("a temperature or a share of the probability that f32 hardly holds takes the likeliest token", async () => {
  assert.is(new Set(greedy).size > 1, true);
  for (const options of [
    { temperature: 1e-38 },
    { temperature: 1e-45 },
    { temperature: 5e-324 },
    { temperature: 1e-29 },
    { temperature: 1, topP: 1e-38 },
    { temperature: 1, topP: 1e-30 },
    { temperature: 1, topP: 5e-324 },
    { temperature: 2, topK: 1 },
  ])
    assert.equal((await text(options)).ids, greedy, JSON.stringify(options));
});

test("options beyond all tokens are as none", async () => {
  const plain = { temperature: 1, seed: 4 };
  const { ids } = await text(plain);
  assert.not.equal(ids, greedy);
  for (const options of [{ topK: 2 ** 53 - 1 }, { topK: vocabulary }, { topP: 1 - 2 ** -50 }, { topP: 1 }])
    assert.equal((await text({ ...plain, ...options })).ids, ids, JSON.stringify(options));
  for (const temperature of [1e30, 1e300, Number.MAX_VALUE])
    assert.ok((await text({ temperature, seed: 1 })).ids.every((id) => id >= 0 && id < vocabulary));
});

test("a context does not compute again what the next prompt begins with, and gives what a fresh one gives", async () => {
  const kept = await openContext(session, 64);
  try {
    const first = await kept.generate(prompt, { maxNewTokens: 4, temperature: 0, eosTokens: [] });
    assert.equal([first.ids, first.sharedTokens], [greedy.slice(0, 4), 0]);
    const longer = [...prompt, ...first.ids.slice(0, 3), 2, 9];
    const options = { maxNewTokens: 5, temperature: 1, seed: 3, eosTokens: [] };
    const second = await kept.generate(longer, options);
    assert.is(second.sharedTokens, 6);
    assert.equal(second.ids, (await generate(session, longer, options)).ids);
    // the same again: its last token is computed in any case
    const third = await kept.generate(longer, options);
    assert.equal([third.ids, third.sharedTokens], [second.ids, longer.length - 1]);
    // another beginning
    const fourth = await kept.generate([4, ...longer], options);
    assert.equal([fourth.ids, fourth.sharedTokens], [(await generate(session, [4, ...longer], options)).ids, 0]);
  } finally {
    kept.close();
  }
});

test("a bias takes a token always or never, and penalties keep a text from saying the same again", async () => {
  assert.equal((await text({ logitBias: new Map([[11, 100]]) })).ids, [11, 11, 11, 11, 11, 11]);
  const never = greedy[0] ?? 0;
  assert.not.ok((await text({ logitBias: new Map([[never, -100]]) })).ids.includes(never));
  // new tokens that were said are out of reach: all are different
  for (const penalty of [{ presencePenalty: 100 }, { frequencyPenalty: 100 }]) {
    const { ids } = await text({ ...penalty, logitBias: new Map([[11, 50]]) });
    assert.is(ids[0], 11);
    assert.is(new Set(ids).size, ids.length, JSON.stringify(penalty));
  }
  // a token of the prompt is seen, too, for the repetition penalty alone
  const liked = { logitBias: new Map([[prompt[0] ?? 0, 0.25]]) };
  assert.equal((await text({ ...liked, repetitionPenalty: 1 })).ids, (await text(liked)).ids);
});

test("min-p of 1 leaves the likeliest token alone, of 0 all", async () => {
  assert.equal((await text({ temperature: 3, seed: 2, minP: 1 })).ids, greedy);
  const plain = { temperature: 3, seed: 2 };
  assert.equal((await text({ ...plain, minP: 0 })).ids, (await text(plain)).ids);
  assert.not.equal((await text(plain)).ids, greedy);
});

test("options out of their ranges are refused by name", async () => {
  for (const [options, message] of [
    [{ maxNewTokens: 0 }, "maxNewTokens should be a whole number above 0, found 0."],
    [{ temperature: -1 }, "temperature should be 0 or more, found -1."],
    [{ temperature: NaN }, "temperature should be 0 or more, found NaN."],
    [{ temperature: Infinity }, "temperature should be 0 or more, found Infinity."],
    [{ topK: 0.5 }, "topK should be a whole number, 0 or more, found 0.5."],
    [{ topP: 0 }, "topP should be above 0, at most 1, found 0."],
    [{ topP: NaN }, "topP should be above 0, at most 1, found NaN."],
    [{ minP: 1.5 }, "minP should be from 0 to 1, found 1.5."],
    [{ repetitionPenalty: 0 }, "repetitionPenalty should be above 0, at most 100, found 0."],
    [{ presencePenalty: NaN }, "presencePenalty should be from -100 to 100, found NaN."],
    [{ logitBias: new Map([[3, 101]]) }, "logitBias of the token 3 should be from -100 to 100, found 101."],
    [{ seed: 2 ** 32 }, "seed should be a whole number from 0 to 4294967295, found 4294967296."],
  ] as const) {
    const error = await refusal(text(options));
    assert.equal([error.code, error.message], ["bad-option", message]);
  }
  assert.is(
    (await refusal(generate(session, [], { maxNewTokens: 1, temperature: 0, eosTokens: [] }))).code,
    "prompt-empty",
  );
  const long = new Array<number>(context).fill(1);
  assert.match(
    (await refusal(generate(session, long, { maxNewTokens: 1, temperature: 0, eosTokens: [] }))).message,
    /^The prompt has 64 tokens, but the model's context holds 64, of which one is for the first new token/,
  );
});

test("logits that are not finite end the text wherever they come, and say after how many tokens", async () => {
  const [, second] = greedy;
  assert.ok(second !== undefined && greedy.indexOf(second) === 1 && !prompt.includes(second));
  for (const [bits, row, after] of [
    [0x7fc0, second, "the text after 2 new tokens"],
    [0x7f80, second, "the text after 2 new tokens"],
    [0x7fc0, prompt[1]!, "the prompt"],
  ] as const) {
    // the embedding of one token is not finite
    const broken = await tinyModel(join(folder, "broken"), (name, words) => {
      if (name === "model.embed_tokens.weight") words[row * tinyConfig.hidden_size + 2] = bits;
    });
    const other = await openSession(caller, broken, { dtype: "f32" });
    try {
      const seen: number[] = [];
      const error = await refusal(text({ onToken: (id) => void seen.push(id) }, other));
      assert.is(error.code, "not-finite");
      assert.is(
        error.message,
        `What the model computes on ${after} is NaN or infinite: the embedding holds values that are NaN or infinite.`,
      );
      assert.equal(seen, after === "the prompt" ? [] : greedy.slice(0, 2));
      assert.is((await refusal(text({ temperature: 1, topK: 1 }, other))).message, error.message);
    } finally {
      other.release();
      await broken.close();
    }
  }
});

test("what a listener throws comes out as it is", async () => {
  const thrown = new Error("the pipe is gone");
  for (const at of [1, 2, 6]) {
    let count = 0;
    const error = await text({
      onToken() {
        if (++count === at) throw thrown;
      },
    }).then(
      () => null,
      (reason: unknown) => reason,
    );
    assert.is(error, thrown);
    assert.is(count, at);
  }
});

test("a prompt's first token is chosen by the kernels that choose the others", async () => {
  const { caller: own, close: closeOwn } = await openMachine();
  const { gpu } = own.executor.device;
  const compile = gpu.createShaderModule.bind(gpu);
  const compiled: string[] = [];
  gpu.createShaderModule = (descriptor) => {
    // what a kernel does, wherever its buffers are bound
    if (/^(weighed|count_said|sample|follow)/.test(descriptor.label ?? ""))
      compiled.push(descriptor.code.replace(/^@group\(0\).*> (\w+: .*)$/gm, "$1"));
    return compile(descriptor);
  };
  const fresh = await openSession(own, model, { dtype: "f32" });
  await text({ temperature: 0.8, topK: 10, topP: 0.9, repetitionPenalty: 1.1 }, fresh);
  assert.ok(compiled.length > 10);
  assert.is(new Set(compiled).size, compiled.length);
  fresh.release();
  closeOwn();
});

test("a text ends at a token that ends it, when it is asked to, at its length, and with the context", async () => {
  const end = greedy[2]!;
  const whole = await text({});
  assert.equal([whole.ended, whole.newTokens, whole.promptTokens], ["length", 6, 3]);
  const ended = await text({ eosTokens: [end] });
  assert.equal([ended.ended, ended.ids], ["eos", greedy.slice(0, greedy.indexOf(end))]);
  const stopped = await text({ onToken: (id) => id !== end });
  assert.equal([stopped.ended, stopped.ids], ["stopped", greedy.slice(0, greedy.indexOf(end) + 1)]);
  const one = await text({ maxNewTokens: 1 });
  assert.equal([one.ids, one.decodeTokensPerSecond], [greedy.slice(0, 1), null]);
  const full = await text({ maxNewTokens: 1000 });
  assert.equal([full.ended, full.newTokens], ["context", context - prompt.length]);
  assert.equal(full.ids.slice(0, 6), greedy);
});

test.run();
