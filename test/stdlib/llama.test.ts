import { suite } from "uvu";
import * as assert from "uvu/assert";
import { settingWords } from "../../runtime/llama/inference/choice.js";
import { call, near, normal, result, tensor } from "./support.js";

const test = suite("stdlib: llama");
const ints = (shape: readonly number[], values: readonly number[]) => tensor(shape, values, "i32");

test("the rows of an embedding, and those of its parts together", () => {
  const table = normal([6, 3], 1);
  const rows = [...table.data];
  const ids = ints([1, 4], [5, 0, 3, 3]);
  const expected = [5, 0, 3, 3].flatMap((id) => rows.slice(id * 3, id * 3 + 3));
  assert.equal(result("embed", { ids, table, first: 0 }), expected);
  const x = call("embed", { ids, table: tensor([4, 3], rows.slice(0, 12)), first: 0 })[0]!;
  assert.equal(result("embed_more", { x, ids, table: tensor([2, 3], rows.slice(12)), first: 4 }), expected);
});

test("the norm of a row is 1", () => {
  const y = result("rms_norm", { x: normal([1, 2, 8], 2), gain: tensor([8], new Array(8).fill(1)), eps: 0 });
  for (const t of [0, 1])
    assert.ok(near([y.slice(t * 8, t * 8 + 8).reduce((sum, value) => sum + value * value, 0) / 8], [1]));
});

test("rotation is by position times frequency, halves against each other", () => {
  const frequency = tensor([2], [1, 0.01]);
  const [cosine, sine] = call("rope_angles", { positions: ints([1], [1000]), frequency }, { sizes: { tokens: 2 } });
  assert.ok(near(cosine!.data, [1000, 10, 1001, 10.01].map(Math.cos), 2e-6));
  const x = normal([1, 2, 8], 3);
  const y = result("rope", { x, cosine: cosine!, sine: sine! }, { sizes: { heads: 2, head: 4 } });
  const expected = [0, 1].flatMap((t) =>
    [0, 1].flatMap((a) =>
      [0, 1, 2, 3].map((h) => {
        const at = (i: number): number => x.data[t * 8 + a * 4 + i] ?? 0;
        const angle = (1000 + t) * (h % 2 === 0 ? 1 : 0.01);
        return h < 2
          ? at(h) * Math.cos(angle) - at(h + 2) * Math.sin(angle)
          : at(h) * Math.cos(angle) + at(h - 2) * Math.sin(angle);
      }),
    ),
  );
  assert.ok(near(y, expected, 1e-5));
});

test("attention is a causal softmax over shared heads", () => {
  const [T, A, C, G, H] = [2, 4, 6, 2, 3];
  const [q, keys, values] = [normal([1, T, A, H], 4), normal([1, C, G, H], 5), normal([1, C, G, H], 6)];
  const y = result("attention", { q, keys, values, positions: ints([1], [3]) });
  const expected: number[] = [];
  for (let t = 0; t < T; t++)
    for (let a = 0; a < A; a++) {
      const g = Math.floor(a / (A / G));
      const seen = Array.from({ length: 3 + t + 1 }, (_, c) => c);
      const scores = seen.map(
        (c) =>
          Array.from(
            { length: H },
            (_, h) => (q.data[(t * A + a) * H + h] ?? 0) * (keys.data[(c * G + g) * H + h] ?? 0),
          ).reduce((p, v) => p + v) / Math.sqrt(H),
      );
      const total = scores.reduce((sum, score) => sum + Math.exp(score), 0);
      for (let h = 0; h < H; h++)
        expected.push(
          seen.reduce(
            (sum, c, at) => sum + (Math.exp(scores[at] ?? 0) / total) * (values.data[(c * G + g) * H + h] ?? 0),
            0,
          ),
        );
    }
  assert.ok(near(y, expected));
});

test("a block gives the same token by token as all at once", () => {
  const [D, A, G, H, M, T] = [8, 4, 2, 2, 6, 3];
  const weights = {
    attention_gain: normal([D], 10),
    wq: normal([A * H, D], 11),
    wk: normal([G * H, D], 12),
    wv: normal([G * H, D], 13),
    wo: normal([D, A * H], 14),
    mlp_gain: normal([D], 15),
    gate: normal([M, D], 16),
    up: normal([M, D], 17),
    down: normal([D, M], 18),
    eps: 1e-5,
  };
  const frequency = tensor([H / 2], [1]);
  const x = normal([1, T, D], 19);
  const sizes = { heads: A, groups: G, head: H };
  const empty = tensor([1, 4, G, H], new Array(4 * G * H).fill(0));
  const pass = (part: typeof x, tokens: number, position: number, keys: typeof x, values: typeof x) => {
    const positions = ints([1], [position]);
    const [cosine, sine] = call("rope_angles", { positions, frequency }, { sizes: { tokens } });
    return call("block", { x: part, positions, cosine: cosine!, sine: sine!, keys, values, ...weights }, { sizes });
  };
  const whole = pass(x, T, 0, empty, empty);
  let [keys, values] = [empty, empty];
  const steps: number[] = [];
  for (let t = 0; t < T; t++) {
    const [y, k, v] = pass(tensor([1, 1, D], [...x.data].slice(t * D, t * D + D)), 1, t, keys, values);
    steps.push(...y!.data);
    [keys, values] = [k!, v!];
  }
  assert.ok(near(steps, whole[0]!.data));
  assert.ok(near(keys.data, whole[1]!.data) && near(values.data, whole[2]!.data));

  // and the same without a cache, with what the weights receive beside it
  const positions = ints([1], [0]);
  const [cosine, sine] = call("rope_angles", { positions, frequency }, { sizes: { tokens: T } });
  const given = { x, positions, cosine: cosine!, sine: sine!, ...weights };
  const all = call("whole_block_all", given, { sizes });
  assert.ok(near(all.at(-1)!.data, whole[0]!.data));
  const alone = call("whole_block_received", given, { sizes });
  assert.equal(alone, all.slice(0, -1));
  const n = result("rms_norm", { x, gain: weights.attention_gain, eps: 1e-5 });
  assert.ok(near(alone[0]!.data, n));
  const middle = call("add_linear", { x, h: alone[1]!, w: weights.wo })[0]!;
  assert.ok(near(alone[2]!.data, result("rms_norm", { x: middle, gain: weights.mlp_gain, eps: 1e-5 })));
  assert.ok(near(alone[3]!.data, result("gated", { x: alone[2]!, gate: weights.gate, up: weights.up })));
});

test("the gated unit is right over the whole range of its sum", () => {
  const given = [0, 1, -1, 20, -20, 79, -79, 81, -81, 100, -100, 1e10, -1e10, 3e38, -3e38, NaN];
  const x = tensor(
    [1, given.length, 2],
    given.flatMap((value) => [value, 1]),
  );
  const h = result("gated", { x, gate: tensor([1, 2], [1, 0]), up: tensor([1, 2], [0, 1]) });
  const expected = given.map((value) => value / (1 + Math.exp(-value)));
  // NaN is not lost, so that a result shows it
  assert.ok(Number.isNaN(h.at(-1)));
  assert.ok(near(h.slice(0, -1), expected.slice(0, -1).map(Math.fround)), h.join());
});

test("loss is log-sum-exp minus the target's logit, of one part or two", () => {
  const [V, D, T] = [7, 4, 2];
  const [x, w] = [normal([1, T, D], 20), normal([V, D], 21)];
  const gain = tensor([D], new Array(D).fill(1));
  const targets = ints([1, T], [2, 6]);
  const logits = [0, 1].map((pick) => result("logits", { x, pick: ints([1], [pick]), gain, w, eps: 1e-5 }));
  const expected = logits.map(
    (row, t) => Math.log(row.reduce((sum, value) => sum + Math.exp(value), 0)) - (row[t === 0 ? 2 : 6] ?? 0),
  );
  assert.ok(
    near(result("token_loss", { x, targets, gain, w, eps: 1e-5, start: 0 }, { sizes: { tokens: 2 } }), expected),
  );
  const halves = [
    [0, 4],
    [4, 7],
  ].map(([from, to]) =>
    call(
      "loss_part",
      {
        x,
        targets,
        gain,
        w: tensor([to! - from!, D], [...w.data].slice(from! * D, to! * D)),
        eps: 1e-5,
        first: from!,
        start: 0,
      },
      { sizes: { tokens: 2 } },
    ),
  );
  const joined = [0, 1].map(
    (t) =>
      Math.log(halves.reduce((sum, [m, s]) => sum + s!.data[t]! * Math.exp(m!.data[t]!), 0)) -
      halves.reduce((sum, part) => sum + part[2]!.data[t]!, 0),
  );
  assert.ok(near(joined, expected));
  const part = call("logits_part", {
    x,
    pick: ints([1], [1]),
    gain,
    w: tensor([3, D], [...w.data].slice(4 * D)),
    eps: 1e-5,
    whole: tensor([1, V], new Array(V).fill(9)),
    first: 4,
  })[0]!;
  assert.ok(near([...part.data], [9, 9, 9, 9, ...(logits[1] ?? []).slice(4)]));
});

test("sampling keeps to top k and top p, and follows the probabilities", () => {
  const logits = tensor([1, 4], [1, 3, 2, -4]);
  assert.equal(result("greedy", { logits }), [1]);
  const settings = (seed: number, topK: number, topP: number, minP = 0) =>
    tensor([1, 9], [...settingWords({ vocabSize: 4 }, { temperature: 1, seed, topK, topP, minP })], "u32");
  const draw = (seed: number, topK: number, topP: number, minP = 0): number =>
    result("sample", {
      logits,
      positions: ints([1], [seed * 3]),
      places: ints([1], [0]),
      settings: settings(seed, topK, topP, minP),
    })[0] ?? -1;
  const drawn = Array.from({ length: 300 }, (_, seed) => draw(seed, 4, 1));
  const share = (id: number): number => drawn.filter((one) => one === id).length / drawn.length;
  // probabilities 0.09, 0.665, 0.245, 0.0006; three standard deviations of 300 draws
  assert.ok(
    Math.abs(share(1) - 0.665) < 0.08 && Math.abs(share(2) - 0.245) < 0.075 && Math.abs(share(0) - 0.09) < 0.05,
  );
  assert.is(draw(5, 4, 1), draw(5, 4, 1));
  // one seed draws anew at each position
  const places = Array.from({ length: 40 }, (_, at) =>
    result("sample", { logits, positions: ints([1], [at]), places: ints([1], [0]), settings: settings(1, 4, 1) }),
  );
  assert.ok(new Set(places.map(([id]) => id)).size > 1);
  for (let seed = 0; seed < 40; seed++) {
    assert.is(draw(seed, 1, 1), 1);
    assert.ok([1, 2].includes(draw(seed, 2, 1)));
    assert.is(draw(seed, 4, 0.5), 1);
    assert.ok([1, 2].includes(draw(seed, 4, 0.9)));
    // exp(-1) and exp(-2) of the likeliest's probability
    assert.ok([1, 2].includes(draw(seed, 4, 1, 0.3)));
    assert.is(draw(seed, 4, 1, 0.4), 1);
  }
});

test("the next token is -1 where a logit is NaN or infinite, wherever it stands", () => {
  for (const [logits, expected] of [
    [[1, 3e38, -3e38], 7],
    [[NaN, 1, 2], -1],
    [[1, 2, Infinity], -1],
    [[1, -Infinity, 2], -1],
  ] as const) {
    const given = { ids: ints([2, 1], [1, 2]), positions: ints([2], [4, 5]), next: ints([2, 1], [6, 7]) };
    const [ids, positions] = call("follow", { ...given, logits: tensor([2, 3], [0, 0, 0, ...logits]) });
    assert.equal([...ids!.data], [6, expected]);
    assert.equal([...positions!.data], [5, 6]);
  }
});

test.run();
