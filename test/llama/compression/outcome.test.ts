/** A result that is worthless does not look like a success. */
import { existsSync, readFileSync } from "node:fs";
import { readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { warningLines } from "../../../runtime/cli/warnings.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { Compression, CompressOptions } from "../../../runtime/llama/compression/compression.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { holds } from "../../../runtime/llama/compression/expectation.js";
import type { WeightRecord } from "../../../runtime/llama/long-runs/manifest.js";
import { beyond, layerWarning, perplexityWarnings, warningsOf } from "../../../runtime/llama/compression/outcome.js";
import { warningsOf as sensitivityWarnings, worstFirst } from "../../../runtime/llama/compression/sensitivity.js";
import type { SensitivityRow } from "../../../runtime/llama/compression/sensitivity-plan.js";
import { openModel } from "../../../runtime/model/model.js";
import { openWorkshop } from "../machine.js";
import { calibrationIds, writtenRecipe } from "../recipes.js";

const test = suite("llama/outcome");

function record(name: string, layerError: number | null, relativeError = 0.1): WeightRecord {
  return {
    name: `${name}.weight`,
    layerError,
    relativeError,
    format: { name: "f32", args: {}, of: null },
    pattern: { kind: "full" },
    shape: [2, 2],
    bytes: 16,
    seconds: 0,
  };
}
const byName = (...records: readonly WeightRecord[]): ReadonlyMap<string, WeightRecord> =>
  new Map(records.map((one) => [one.name, one]));

test("a layer is lost by its layer error, and where that is not known by that of its weight", () => {
  const kinds = (layer: number | null, weight: number): string | null =>
    layerWarning(record("q", layer, weight))?.kind ?? null;
  assert.equal(
    [kinds(1, 0.2), kinds(1.37, 0.2), kinds(0.9999, 0.2), kinds(0.999, 5), kinds(null, 1), kinds(null, 0.999)],
    ["layer-lost", "layer-lost", "layer-lost", null, "weight-lost", null],
  );
});

test("a limit is for each layer: what is at it passes, what is above, or no number, does not", () => {
  const some = byName(record("a", 0.5), record("b", 0.25, 0.9), record("c", null, 0.5));
  assert.is(beyond(some, 0.5), null);
  assert.is(
    beyond(some, 0.4999),
    "a has a layer error of 0.5000, and at most 0.4999 is allowed (--max-error); 1 more of 3 layers is above it.",
  );
  assert.is(
    beyond(byName(record("a", null, 0.3)), 0),
    "a has a weight error of 0.3000, and at most 0 is allowed (--max-error).",
  );
  assert.match(beyond(byName(record("a", NaN)), 9) ?? "", /^a has a layer error of NaN/);
});

test("perplexities are held against those of the model as given on the same text, and against guessing", () => {
  const kinds = (given: number, compressed: number, text: "calibration" | "evaluation" = "evaluation"): string =>
    perplexityWarnings(
      [
        { text, of: "given", value: given },
        { text, of: "compressed", value: 1e9 }, // before it was treated again
        { text, of: "compressed", value: compressed },
        { text: "calibration", of: "given", value: 1 },
      ],
      2048,
    )
      .map(({ kind, value }) => `${kind} ${value}`)
      .join();
  assert.is(kinds(33, 329), "");
  assert.is(kinds(33, 330), "perplexity-lost 330");
  assert.is(kinds(33, 12655), "worse-than-chance 12655,perplexity-lost 12655");
  assert.is(kinds(3000, 2048), "worse-than-chance 3000");
  assert.is(kinds(33, Infinity), "worse-than-chance null,perplexity-lost null");
  assert.match(
    perplexityWarnings(
      [
        { text: "calibration", of: "given", value: 2 },
        { text: "calibration", of: "compressed", value: 1e7 },
      ],
      2048,
    )
      .map(({ message }) => message)
      .join("; "),
    /its perplexity is 1\.000e\+7, and its vocabulary has 2048 tokens; .* calibration text went from 2\.000 to 1\.000e\+7/,
  );
});

test("what the whole is to be warned of, and what is reported to people of it", () => {
  const plain = { perplexities: [], vocabulary: 10, bytesBefore: 8, bytesAfter: 8, unsaved: false };
  assert.equal(warningsOf({ ...plain, treated: byName(record("a", 0.1)) }), []);
  const kinds = (outcome: Partial<Parameters<typeof warningsOf>[0]>): readonly string[] =>
    warningsOf({ ...plain, treated: byName(record("a", 0.1)), ...outcome }).map(({ kind }) => kind);
  assert.equal(kinds({ bytesAfter: 9 }), ["larger"]);
  assert.equal(kinds({ bytesBefore: 2 ** 22 + 2, bytesAfter: 2 ** 22 + 4 }), [], "both print as 4.00 MiB");
  assert.equal(kinds({ treated: new Map(), unsaved: true }), ["unchanged", "unsaved"]);
  const lost = warningsOf({ ...plain, treated: byName(record("a", 1), record("b", 1.5), record("c", 0.1)) });
  const lines = warningLines(lost, 3);
  assert.is(lines.length, 1);
  assert.match(
    lines[0] ?? "",
    /^2 of 3 layers are lost; the worst: b: layer error 1\.500: what it puts out is no better than zeros\n {2}= help: .*--max-error/,
  );
});

test("an expectation of what is no number does not hold, whichever way it is written", async () => {
  const found: { of: "model" | "dense"; value: number }[] = [];
  const perplexity = { kind: "perplexity", of: "model" } as const;
  for (const op of ["less", "less_equal", "greater", "greater_equal"] as const)
    for (const value of [NaN, Infinity]) {
      const ratio = { kind: "arithmetic", op: "divide", left: perplexity, right: perplexity } as const;
      for (const [left, right] of [
        [ratio, { kind: "number", value: 2 }],
        [{ kind: "number", value: 2 }, ratio],
      ] as const)
        assert.is(await holds({ kind: "compare", op, left, right }, async () => value, found), false, op);
    }
});

test("of tries of sensitivity those without a perplexity come first, and are reported", () => {
  const row = (group: string, perplexity: number): SensitivityRow => ({
    treatment: "t",
    group,
    layers: [],
    perplexity,
    delta: perplexity - 30,
    relativeError: 0,
    layerError: null,
    pattern: "full",
    format: "f32",
    bitsPerWeight: 32,
    bytesBefore: 1,
    bytesAfter: 1,
    seconds: 0,
  });
  const rows = [row("a", 31), row("b", NaN), row("c", 90), row("d", Infinity), row("e", NaN)];
  assert.is(
    worstFirst(rows)
      .map(({ group }) => group)
      .join(""),
    "bedca",
  );
  assert.equal(
    sensitivityWarnings(2049, rows, 2048).map(({ kind, value }) => `${kind} ${value}`),
    ["worse-than-chance 2049", "no-perplexity 2"],
  );
  assert.equal(sensitivityWarnings(30, rows.slice(0, 1), 2048), []);
});

const { caller, model, bos, folder } = await openWorkshop(test, "outcome");
const ids = await calibrationIds(model);
const text = { ids, bos, windows: 1, window: 24 };

/** Weights three times as large with the other sign are off by three times themselves; `scale` of 0: zeros. */
const ruined = writtenRecipe(`use statistics, quantize
recipe ruined(model: llama, text: tokens, group = 128) {
  for block in model.blocks {
    let x2 = observe block on text by feature_squares
    for w in block.linears matching "k_proj" {
      let v[n, k] = w[n, k] + 0.0 * x2[w][k]
      store w as pack v as int8(group) with scale int8_scale(v, group)
    }
    for w in block.linears matching "model.layers.1.self_attn.v_proj" {
      let v[n, k] = -2.0 * w[n, k]
      store w as pack v as int8(group) with scale int8_scale(v, group)
    }
    for w in block.linears matching "model.layers.2.self_attn.v_proj" {
      let v[n, k] = 0.0 * w[n, k]
      store w as pack v as int8(group) with scale int8_scale(v, group)
    }
  }
}
`);

async function run(
  output: string,
  options: Partial<CompressOptions> & { readonly written?: ReturnType<typeof writtenRecipe> } = {},
): Promise<{
  readonly report: Compression | null;
  readonly error: LlamaError | null;
  readonly notes: readonly string[];
}> {
  const notes: string[] = [];
  const { written = ruined, ...rest } = options;
  try {
    const report = await compress(caller, model, written.recipe, {
      output: join(folder, output),
      source: written.source,
      text,
      note: (line) => notes.push(line),
      ...rest,
    });
    return { report, error: null, notes };
  } catch (error) {
    assert.instance(error, LlamaError);
    return { report: null, error: error as LlamaError, notes };
  }
}

test("layers that are no better than zeros are reported one by one while it runs, and in the report", async () => {
  const { report, notes } = await run("told", { evaluation: text });
  const v = (layer: number): string => `model.layers.${layer}.self_attn.v_proj`;
  assert.equal(notes, [
    `warning: ${v(1)}: layer error 3.000: what it puts out is no better than zeros.`,
    `warning: ${v(2)}: layer error 1.000: what it puts out is no better than zeros.`,
  ]);
  assert.equal(
    report?.warnings.slice(0, 2).map(({ kind, tensor, value }) => [kind, tensor, Math.round((value ?? 0) * 100) / 100]),
    [
      ["layer-lost", `${v(1)}.weight`, 3],
      ["layer-lost", `${v(2)}.weight`, 1],
    ],
  );
  assert.ok(existsSync(join(folder, "told", "config.json")), "it is written all the same");
  await rm(join(folder, "told"), { recursive: true });
});

test("what is above the limit is refused when its block is done; nothing is written, and another limit goes on", async () => {
  const first = await run("limited", { maxError: 2.5 });
  assert.is(first.error?.code, "error-too-large");
  assert.match(
    first.error?.message ?? "",
    /^model\.layers\.1\.self_attn\.v_proj has a layer error of 3\.0\d\d\d, and at most 2\.5 is allowed \(--max-error\)\. Nothing was written\. What is finished is kept/,
  );
  assert.is(first.notes.at(-1), "2 of 4 steps are finished and kept: --resume goes on from there.");
  assert.ok(!existsSync(join(folder, "limited")));
  // at once, as what was finished is held to the limit too
  const same = await run("limited", { maxError: 2.5, resume: true });
  assert.equal([same.error?.code, same.notes.at(-1)], ["error-too-large", first.notes.at(-1)]);
  const other = await run("limited", { maxError: 3.1, resume: true });
  assert.is(other.report?.tensors.length, 6);
  assert.is(other.report?.warnings.length, 2, "of layers that the first run treated too");
  const whole = await run("whole", { maxError: 3.1 });
  assert.equal(
    whole.report?.tensors.map(({ seconds, ...rest }) => rest),
    other.report?.tensors.map(({ seconds, ...rest }) => rest),
  );
  for (const name of ["limited", "whole"]) await rm(join(folder, name), { recursive: true });
  assert.equal(await readdir(folder), []);
});

test("where nothing is observed weights are held to the limit, also before a save within a block", async () => {
  const written = writtenRecipe(`use quantize
recipe zeros(model: llama, group = 128) {
  for block in model.blocks {
    for w in block.linears matching "k_proj" {
      let v[n, k] = 0.0 * w[n, k]
      store w as pack v as int8(group) with scale int8_scale(v, group)
    }
    save "part"
  }
}
`);
  const { error, notes } = await run("zeros", { written, maxError: 0.9, text: null });
  assert.match(
    error?.message ?? "",
    /^model\.layers\.0\.self_attn\.k_proj has a weight error of 1\.0000, .* Nothing was written\.$/,
  );
  assert.equal(notes, [
    "note: layer errors are not measured, so the limit of 0.9 is for the errors of weights; --layer-errors measures them.",
    "warning: model.layers.0.self_attn.k_proj: weight error 1.000: the weights are no better than zeros.",
  ]);
  assert.equal(await readdir(folder), []);
  for (const maxError of [-1, NaN, Infinity])
    assert.is((await run("zeros", { written, maxError, text: null })).error?.code, "bad-option");
});

test("a model that grows, one that is not changed, and weights that no `save` takes are reported", async () => {
  const kinds = async (
    statements: string,
  ): Promise<{ readonly kinds: readonly string[]; readonly notes: readonly string[] }> => {
    const written = writtenRecipe(`recipe r(model: llama) {\n${statements}\n}\n`);
    const { report, notes } = await run("kinds", { written, text: null, force: true });
    await rm(join(folder, "kinds"), { recursive: true });
    return { kinds: report?.warnings.map(({ kind }) => kind) ?? [], notes };
  };
  const store = 'for w in model.linears matching "k_proj" { store w as w }';
  assert.equal(await kinds(store), { kinds: ["larger"], notes: [] });
  assert.equal(await kinds('save "same"'), { kinds: ["unchanged"], notes: [] });
  const unsaved = await kinds(`save "first"\n${store}`);
  assert.equal(unsaved.kinds, ["larger", "unsaved"]);
  assert.match(unsaved.notes[0] ?? "", /^warning: what the recipe stores after its last `save` is not written/);
  assert.equal((await kinds(`${store}\nsave "last"`)).kinds, ["larger"]);
});

test("a recipe is saved with its modules, the parameters in force and what it used of the library", async () => {
  const written = writtenRecipe(`use quantize
recipe small(model: llama, group = 128, thorough = true) {
  for w in model.linears matching "k_proj" { store w as pack w as int8(group) with scale int8_scale(w, group) }
}
`);
  const files = {
    source: written.source.replace("use quantize", 'use quantize, "./recipe-mine.esp"'),
    modules: new Map([["recipe-mine.esp", "const one = 1.0\n"]]),
    standard: new Map([["quantize", "text of it"]]),
  };
  await run("saved", { written, files, text: null });
  const saved = await openModel(join(folder, "saved"));
  assert.match(
    readFileSync(join(folder, "saved", "recipe.esp"), "utf8"),
    /^\/\/ Saved by espalier \S+: espalier compress recipe\.esp --recipe small --set group=128 --set thorough=true\nuse quantize, "\.\/recipe-mine\.esp"\n/,
  );
  assert.is(readFileSync(join(folder, "saved", "recipe-mine.esp"), "utf8"), "const one = 1.0\n");
  assert.equal(Object.keys(saved.packed?.recipe?.modules ?? {}), ["recipe-mine.esp"]);
  assert.match(saved.packed?.recipe?.library?.modules["quantize"] ?? "", /^sha256:[0-9a-f]{64}$/);
  await saved.close();
});

test.run();
