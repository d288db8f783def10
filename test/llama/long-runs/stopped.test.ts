/** Runs that are stopped after a model has been written: they go on, and know what they wrote. */
import { rm, stat, utimes } from "node:fs/promises";
import { basename, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import type { CompressOptions, CompressProgress } from "../../../runtime/llama/compression/compression.js";
import { LlamaError } from "../../../runtime/llama/error.js";
import { stateOf } from "../../../runtime/llama/long-runs/saved-state.js";
import { ModelError } from "../../../runtime/model/error.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, writtenRecipe, type Written } from "../recipes.js";
import { sameFiles } from "../../support/same-files.js";

const test = suite("stopped");
const { caller, model, bos, folder } = await openToyWorkshop(test, "stopped");
const evaluation = { ids: (await calibrationIds(model)).slice(0, 80), bos, windows: 1, window: 16 };

/** Quick, as it observes nothing and treats little. */
const plain = writtenRecipe(`use quantize
recipe plain(model: llama, group = 128) {
  for w in model.linears matching "k_proj" { store w as pack w as int8(group) with scale int8_scale(w, group) }
}
`);

class Killed extends Error {}

function run(
  { recipe, source }: Written,
  output: string,
  options: Partial<CompressOptions> = {},
): ReturnType<typeof compress> {
  return compress(caller, model, recipe, { output: join(folder, output), source, ...options });
}

async function killed(written: Written, output: string, options: Partial<CompressOptions>): Promise<void> {
  const error = await run(written, output, options).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.instance(error, Killed);
}

const same = (a: string, b: string): Promise<void> => sameFiles(join(folder, a), join(folder, b));

test("a run that is stopped while it scores goes on from there: what it has written it knows for its own", async () => {
  const stop = ({ stage }: CompressProgress): void => {
    if (stage === "evaluate") throw new Killed();
  };
  const whole = await run(plain, "whole-scored", { evaluation });
  const notes: string[] = [];
  await killed(plain, "scored", { evaluation, onProgress: stop, note: (line) => notes.push(line) });
  assert.equal(notes, ["4 of 4 steps are finished and kept: --resume goes on from there."]);
  assert.equal((await stateOf(join(folder, "scored")))?.saved, [join(folder, "scored")]);
  const again = await run(plain, "scored", { evaluation, resume: true });
  assert.equal([again.perplexities, again.saved], [whole.perplexities, [join(folder, "scored")]]);
  await same("whole-scored", "scored");

  // what is gone is written again; what was changed is not this run's own any more
  await killed(plain, "lost", { evaluation, onProgress: stop });
  await rm(join(folder, "lost"), { recursive: true });
  await run(plain, "lost", { resume: true });
  await same("whole-scored", "lost");
  await killed(plain, "altered", { evaluation, onProgress: stop });
  await utimes(join(folder, "altered", "config.json"), new Date(), new Date(0));
  const error = await run(plain, "altered", { resume: true }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ModelError && error.code === "M150", String(error));
});

test("what evaluation refuses leaves what was written, and a run to go on with", async () => {
  const notes: string[] = [];
  const error = await run(plain, "short", {
    evaluation: { ids: [1, 2], bos, window: 32 },
    note: (line) => notes.push(line),
  }).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof LlamaError && error.code === "text-too-short", String(error));
  assert.equal(notes, ["4 of 4 steps are finished and kept: --resume goes on from there."]);
  assert.equal((await run(plain, "short", { resume: true })).saved, [join(folder, "short")]);
});

test("a model that is saved within a block is not written twice", async () => {
  const written = writtenRecipe(`use quantize
recipe steps(model: llama, group = 128) {
  for block in model.blocks {
    for w in block.linears matching "k_proj" { store w as pack w as int8(group) with scale int8_scale(w, group) }
    save "part"
    for w in block.linears matching "v_proj" { store w as pack w as int8(group) with scale int8_scale(w, group) }
  }
  save "all"
}
`);
  // its own "part" is replaced in each block; what was there before would not be
  await run(written, "whole-steps");
  const stopAt =
    (layer: string) =>
    ({ stage, subject }: CompressProgress): void => {
      if (stage === "compress" && subject === layer) throw new Killed();
    };
  const notes: string[] = [];
  const note = (line: string): void => void notes.push(line);
  const part = async (): Promise<number> => (await stat(join(folder, "steps", "part", "config.json"))).mtimeMs;
  await killed(written, "steps", { note, onProgress: stopAt("model.layers.0.self_attn.v_proj") });
  const first = await part();
  await killed(written, "steps", {
    resume: true,
    note,
    onProgress: stopAt("model.layers.0.self_attn.v_proj"),
  });
  assert.is(await part(), first);
  assert.equal(
    [...new Set(notes)],
    [
      "No step is finished, but it is noted what was saved: --resume goes on from there.",
      "Going on after 0 of 5 steps.",
    ],
  );
  await killed(written, "steps", { resume: true, onProgress: stopAt("model.layers.2.self_attn.v_proj") });
  const all = await run(written, "steps", { resume: true });
  assert.equal(
    all.saved.map((path) => basename(path)),
    ["part", "part", "part", "part", "all"],
  );
  for (const name of ["part", "all"]) await same(join("whole-steps", name), join("steps", name));
});

test.run();
