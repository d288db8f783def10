/** Models whose columns are taken out: what is written is read by `transformers`, and follows steps go on with it. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { CompileError } from "../../../compiler/compile.js";
import { standardLibrary } from "../../../runtime/library.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { checkAgainst } from "../../../runtime/llama/compression/fit.js";
import { highestParts } from "../../../runtime/llama/compression/retain.js";
import { perplexity } from "../../../runtime/llama/inference/evaluate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { openModel } from "../../../runtime/model/model.js";
import { projectFile } from "../../support/project.js";
import { openMachine } from "../machine.js";
import { writtenRecipe } from "../recipes.js";

const test = suite<{ folder: string; machine: Awaited<ReturnType<typeof openMachine>> }>("what is retained of a model");

test.before(async (context) => {
  context.folder = mkdtempSync(join(tmpdir(), "espalier-retain-"));
  context.machine = await openMachine();
});
test.after(({ folder, machine }) => {
  machine.close();
  rmSync(folder, { recursive: true });
});

const half = `use structured, quantize

recipe half(model: llama) {
  for block in model.blocks {
    for w in block.linears matching "o_proj" {
      retain 1 of w by column_magnitude(w)
    }
    for w in block.linears matching "down_proj" {
      retain 0.75 of w by column_magnitude(w)
    }
  }
}
`;
const json = <T>(path: string): T =>
  JSON.parse(readFileSync(projectFile(`test/data/architectures/${path}`), "utf8")) as T;
const expected = json<{ readonly [name: string]: { readonly parameters: number; readonly perplexity: number } }>(
  "narrowed.json",
);

// Mistral's tensors are Llama's, and Qwen2's those of a Llama with biases
for (const name of ["llama-biased", "phi3", "qwen3", "gemma3"])
  test(`${name}: half of the heads and a quarter of the channels gone, transformers computes the same`, async (context) => {
    const { folder, machine } = context;
    const { parameters, perplexity: wanted } = expected[name]!;
    const { recipe, source } = writtenRecipe(half);
    const given = await openModel(projectFile(`test/data/architectures/${name}`));
    const output = join(folder, name);
    const report = await compress(machine.caller, given, recipe, { output, source });
    await given.close();
    const model = await openModel(output);
    const session = await openSession(machine.caller, model, { dtype: "f32" });
    try {
      const { heads, keyValueHeads, intermediateSize, headDim } = model.config;
      assert.equal([heads, keyValueHeads, intermediateSize], [2, 1, 36]);
      assert.is(headDim, given.config.headDim);
      assert.ok(model.tensors.every(({ format }) => format === null));
      const elements = model.tensors.reduce((sum, { shape }) => sum + shape.reduce((all, each) => all * each, 1), 0);
      assert.is(elements, parameters);
      assert.is(report.bytesAfter, 4 * parameters);
      const { ids } = json<{ readonly ids: readonly number[] }>(`${name}/expected.json`);
      const [bos, ...text] = ids;
      const found = await perplexity(session, text, { window: text.length, bos: bos! });
      assert.ok(Math.abs(found.perplexity / wanted - 1) < 5e-4, `${found.perplexity} and ${wanted}`);
    } finally {
      session.release();
      await model.close();
    }
  });

test("what follows is done to the smaller layers, and a stopped run goes on with them", async ({ folder, machine }) => {
  const source = half.replace(
    /\n}\n$/,
    `
  save "small"
  for w in model.linears {
    store w as pack w as int8(channel) with scale int8_channel_scale(w)
  }
  save "packed"
}
`,
  );
  const { recipe } = writtenRecipe(source);
  const model = await openModel(projectFile("test/data/architectures/llama-biased"));
  const output = join(folder, "goes-on");
  const stop = new Error("stopped");
  const run = (resume: boolean): ReturnType<typeof compress> =>
    compress(machine.caller, model, recipe, {
      output,
      source,
      resume,
      onProgress: ({ stage, subject }) => {
        if (!resume && stage === "compress" && subject.includes("layers.1")) throw stop;
      },
    });
  const fault = await run(false).then(
    () => null,
    (error: unknown) => error,
  );
  assert.is(fault, stop);
  await run(true);
  await model.close();
  const [small, packed] = [await openModel(join(output, "small")), await openModel(join(output, "packed"))];
  for (const { name, shape } of small.tensors) assert.equal(packed.tensor(name).shape, shape);
  assert.ok(packed.linears.every(({ weight }) => packed.tensor(weight).format?.name === "int8"));
  assert.is(packed.config.intermediateSize, 36);
  await small.close();
  await packed.close();
});

/** Why a recipe does not fit a model. */
async function refusal(from: string, to: string): Promise<string> {
  const model = await openModel(projectFile("test/data/architectures/llama-biased"));
  try {
    checkAgainst(model, writtenRecipe(half.replace(from, to)).recipe, standardLibrary());
    return "it fits";
  } catch (error) {
    if (!(error instanceof CompileError)) throw error;
    return error.diagnostics.map(({ code, message }) => `${code} ${message}`).join("\n");
  } finally {
    await model.close();
  }
}

const refusals: readonly (readonly [string, string, string])[] = [
  ['"down_proj"', '"q_proj"', "E620 the columns of model.layers.0.self_attn.q_proj cannot be taken out of the model"],
  [
    '"down_proj"',
    '"model.layers.0.mlp.down_proj"',
    "nothing is retained in model.layers.1, and the config has one size",
  ],
  ['"down_proj"', '"down_proj", "o_proj"', "and a loop retains of one layer in each block"],
  ["retain 1 of", "retain 2 of", "of the 2 parts that the 32 columns of model.layers.0.self_attn.o_proj have, 2"],
  ["0.75", "0.001", "of the 48 parts that the 48 columns of model.layers.0.mlp.down_proj have, 0"],
];
for (const [from, to, reason] of refusals)
  test(`refused: ${to}`, async () => {
    const found = await refusal(from, to);
    assert.ok(found.includes(reason), found);
  });

test("a layer of which columns are retained is stored dense", () => {
  assert.throws(
    () =>
      writtenRecipe(
        `use quantize, structured\nrecipe r(model: llama) { for w in model.linears matching "down_proj" { store w as pack w as int8(channel) with scale int8_channel_scale(w)\n retain 0.5 of w by column_magnitude(w) } }`,
      ),
    /is stored as int8\(channel\), and only dense weights become smaller/,
  );
});

test("parts by the sums of their scores, of equals the first", () => {
  assert.equal(highestParts([1, 4, 2, 2, 3, 3], Int32Array.of(0, 0, 1, 1, 2, 2), 3, 2), [0, 2]);
  assert.equal(highestParts([1, 1, 1], Int32Array.of(0, 1, 2), 3, 2), [0, 1]);
});

test.run();
