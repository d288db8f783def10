import { readdir, truncate, utimes } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { CompressOptions, CompressProgress } from "../../../runtime/llama/compression/compression.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { leaveState, stateOf } from "../../../runtime/llama/long-runs/saved-state.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, exampleRecipe, patchedModel, writtenRecipe, type Written } from "../recipes.js";
import { sameFiles } from "../../support/same-files.js";

const test = suite("resume");
const { caller, model, bos, folder } = await openToyWorkshop(test, "resume");
const text = { ids: await calibrationIds(model), bos, windows: 2, window: 8 };

class Killed extends Error {}

function run(
  { recipe, source }: Written,
  output: string,
  options: Partial<CompressOptions> = {},
  from = model,
): ReturnType<typeof compress> {
  return compress(caller, from, recipe, { output: join(folder, output), source, text, ...options });
}

/** Ends a run when block `block` is about to be treated. */
function killAt(block: number): (progress: CompressProgress) => void {
  return ({ stage, subject }) => {
    if (stage === "compress" && subject.startsWith(`model.layers.${block}.`)) throw new Killed();
  };
}

async function killed(
  written: Written,
  output: string,
  block: number,
  options: Partial<CompressOptions> = {},
): Promise<void> {
  const error = await run(written, output, { onProgress: killAt(block), ...options }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, Killed);
}

async function refusal(work: Promise<unknown>): Promise<string> {
  const error = await work.then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === "resume", String(error));
  return error instanceof Error ? error.message : "";
}

const same = (a: string, b: string): Promise<void> => sameFiles(join(folder, a), join(folder, b));

const wanda = exampleRecipe("wanda-2of4-int4.esp");

test("a run that is stopped twice and gone on with gives the same files, byte for byte", async () => {
  const whole = await run(wanda, "whole");
  await killed(wanda, "parts", 1);
  assert.is((await stateOf(join(folder, "parts")))?.finished, 1);
  await killed(wanda, "parts", 3, { resume: true });
  assert.is((await stateOf(join(folder, "parts")))?.finished, 3);
  const notes: string[] = [];
  const parts = await run(wanda, "parts", { resume: true, memory: 0, note: (line) => notes.push(line) });
  assert.equal(notes, ["Going on after 3 of 4 steps."]);
  await same("whole", "parts");
  const plain = (report: typeof whole): unknown => report.tensors.map(({ seconds, ...rest }) => rest);
  assert.equal(plain(parts), plain(whole));
  assert.ok(parts.tensors.every(({ layerError }) => layerError !== null && layerError > 0.01 && layerError < 1));
  assert.ok(!(await readdir(folder)).some((name) => name.startsWith(".")), "the state is gone");
});

test("over all layers without blocks, and with weights that are packed on the host", async () => {
  const written = writtenRecipe(`use prune
recipe half(model: llama) {
  for w in model.linears {
    store w as pack (w where top 64 of 128 along k in magnitude(w)) as bitmask of f16
  }
}
`);
  await run(written, "whole-linears");
  await killed(written, "linears", 2);
  const again = await run(written, "linears", { resume: true });
  assert.ok(again.tensors.every(({ layerError }) => layerError === null));
  await same("whole-linears", "linears");
});

test("what has changed is said, and what is kept stays", async () => {
  await killed(wanda, "changed", 1);
  assert.match(
    await refusal(run(exampleRecipe("wanda-2of4-int4.esp", { group: 64 }), "changed", { resume: true })),
    /the parameter group has changed: it was 128, and is 64/,
  );
  assert.match(
    await refusal(run({ ...wanda, source: `${wanda.source} ` }, "changed", { resume: true })),
    /the recipe's text has changed/,
  );
  assert.match(
    await refusal(run(exampleRecipe("wanda-2of4.esp"), "changed", { resume: true })),
    /the recipe has changed: it was wanda_2of4_int4, and is wanda_2of4/,
  );
  assert.match(
    await refusal(
      run(wanda, "changed", {
        resume: true,
        text: { ...text, ids: text.ids.map((id, at) => (at === 7 ? id + 1 : id)) },
      }),
    ),
    /the calibration text has changed/,
  );
  assert.match(
    await refusal(run(wanda, "changed", { resume: true, text: { ...text, windows: 3 } })),
    /the number of windows \(--windows\) has changed: it was 2, and is 3/,
  );
  const touched = await patchedModel(join(folder, "model"), [], model.directory);
  await utimes(join(folder, "model", "model.safetensors"), new Date(), new Date(86_400_000));
  assert.match(
    await refusal(run(wanda, "changed", { resume: true }, touched)),
    /model.safetensors has changed: .* 1970-01-02/,
  );
  await touched.close();
  assert.is((await stateOf(join(folder, "changed")))?.finished, 1);
});

test("without resume a run begins anew, and says so; a damaged state is refused", async () => {
  await killed(wanda, "anew", 1);
  const notes: string[] = [];
  await killed(wanda, "anew", 2, { note: (line) => notes.push(line) });
  assert.match(notes[0] ?? "", /A run that was stopped had finished 1 step\b/);
  const [state = ""] = (await readdir(folder))
    .filter((name) => name.startsWith("."))
    .filter((name) => name.endsWith("state"));
  for (const name of (await readdir(folder)).filter((one) => one.endsWith("state")))
    await truncate(join(folder, name, "step-00000.words"), 10);
  assert.ok(state !== "");
  assert.match(await refusal(run(wanda, "anew", { resume: true })), /is damaged/);
});

test("what an expectation refuses leaves nothing; nor does a run that finished no block", async () => {
  const before = await readdir(folder);
  const written = exampleRecipe("mixed.esp");
  const impossible = {
    ...written,
    recipe: {
      ...written.recipe,
      steps: written.recipe.steps.map((step) =>
        step.kind === "expect" && step.condition.kind === "compare"
          ? { ...step, condition: { ...step.condition, right: { kind: "number" as const, value: 1 } } }
          : step,
      ),
    },
  };
  const notes: string[] = [];
  const error = await run(impossible, "expected", { note: (line) => notes.push(line) }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === "expectation-failed", String(error));
  assert.equal(
    notes.filter((line) => line.includes("--resume")),
    [],
    "nothing is claimed to be kept",
  );
  await killed(wanda, "early", 0);
  assert.is(leaveState(join(folder, "early")), null);
  assert.equal(await readdir(folder), before);
});

test.run();
