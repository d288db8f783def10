/** Sums over calibration windows: the same to the bit on however many devices they are made. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { CalibrationHelper } from "../../../runtime/llama/compression/calibration-helper.js";
import { calibrationRun } from "../../../runtime/llama/compression/calibration-run.js";
import { openShare, type CalibrationShare } from "../../../runtime/llama/compression/calibration-share.js";
import { partsOf, sharesOf } from "../../../runtime/llama/compression/division.js";
import { createWorkingModel } from "../../../runtime/llama/compression/working-model.js";
import { createSpill } from "../../../runtime/llama/long-runs/spill.js";
import { calibrationWindows } from "../../../runtime/llama/windows.js";
import { openArena } from "../../../runtime/run/arena.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, writtenRecipe } from "../recipes.js";

const test = suite("division of windows");
const { caller, model, bos } = await openToyWorkshop(test, "division");
const ids = await calibrationIds(model);

test("parts depend on batches alone, and no more of them than their sums have room for", () => {
  assert.equal(partsOf(model.config, 1), [1]);
  assert.equal(partsOf(model.config, 5), [1, 2, 3, 4, 5]);
  assert.equal(partsOf(model.config, 20), [2, 5, 7, 10, 12, 15, 17, 20]);
  const large = { ...model.config, hiddenSize: 4096, heads: 32, headDim: 128, intermediateSize: 14336 };
  assert.equal(partsOf(large, 64), [16, 32, 48, 64]);
  assert.equal(partsOf({ ...large, intermediateSize: 53248 }, 64), [64]);
});

test("shares are whole parts, next to each other, of all windows", () => {
  for (const [count, batch] of [
    [1, 4],
    [7, 2],
    [33, 2],
    [128, 16],
  ] as const)
    for (const devices of [1, 2, 3, 5, 8, 9]) {
      const windows = calibrationWindows(ids, 8, bos, count);
      const shares = sharesOf(model.config, windows, batch, devices);
      const parts = partsOf(model.config, Math.ceil(count / batch));
      assert.is(shares.length, Math.min(devices, parts.length));
      assert.equal(
        shares.flatMap(({ windows: own }) => [...own.ids]),
        [...windows.ids],
      );
      assert.equal(
        shares.flatMap(({ batchesBefore, ends }) => ends.map((end) => batchesBefore + end)),
        parts,
      );
      shares.reduce((before, { partsBefore, ends }) => {
        assert.is(partsBefore, before);
        return before + ends.length;
      }, 0);
    }
});

test("what is observed is the same to the bit by one device and by several", async () => {
  const source =
    "use statistics\nfn least(x: E[T, K]) -> f32[K] {\n  return s where s[k] = min[t] f32(x[t, k])\n}\nrecipe r(model: llama, text: tokens) {\n  for block in model.blocks {\n    let a = observe block on text by feature_squares\n    let b = observe block on text by cross_gram\n    let c = observe block on text by feature_maxima\n    let d = observe block on text by least\n    for w in block.linears {\n      let v[n, k] = w[n, k] + a[w][k] + b[w][k, k] + c[w][k] + d[w][k]\n      store w as v\n    }\n  }\n}\n";
  const steps = writtenRecipe(source)
    .recipe.steps.flatMap((step) => (step.kind === "blocks" ? step.body : []))
    .filter((step) => step.kind === "observe");
  // the last batch has one window only
  const windows = calibrationWindows(ids, 24, bos, 13);
  const options = {
    ...({ dtype: "f32", batch: 2, ownGram: true, withDense: true, spill: createSpill } as const),
    onPass: () => undefined,
  };

  /** Another device, which is this one. */
  function helper(): CalibrationHelper {
    const working = createWorkingModel(caller, model);
    let share: CalibrationShare | null = null;
    return {
      async embed(own, how) {
        share = await openShare(caller, model, working, own, { ...options, ...how });
      },
      async observe(block, observed) {
        const arena = openArena(caller.executor);
        const sums = await share!.observe(block, observed, arena);
        const read = await Promise.all(
          sums.map(async ({ level, index, totals }) => ({
            level,
            index,
            release: async () => undefined,
            totals: await Promise.all(
              [...totals].flatMap(([id, inputs]) =>
                [...inputs].map(async ([input, tensor]) => {
                  const whole = await caller.executor.read(tensor);
                  return {
                    ...{ id, input, shape: tensor.shape, bytes: whole.length },
                    read: async (part: Uint8Array, begin: number) =>
                      part.set(whole.subarray(begin, begin + part.length)),
                  };
                }),
              ),
            ),
          })),
        );
        arena.close();
        return read;
      },
      advance: (block) => share!.advance(block),
      async release() {
        await share?.release();
        working.release();
      },
    };
  }

  async function observed(devices: number, batch: number = options.batch): Promise<ReadonlyMap<string, Uint8Array>> {
    const working = createWorkingModel(caller, model);
    const helpers = Array.from({ length: devices - 1 }, helper);
    const run = await calibrationRun(caller, model, working, windows, { ...options, batch, helpers });
    await run.advance(0);
    await run.observe(1, steps);
    const { statistics, windows: seen } = run.seen();
    assert.is(seen, 13);
    const found = new Map<string, Uint8Array>();
    for (const [id, inputs] of statistics)
      for (const [input, tensor] of inputs) found.set(`${id} ${input}`, await caller.executor.read(tensor));
    await run.release();
    working.release();
    return found;
  }
  const one = await observed(1);
  // the squares, X^T X with the model as given, a maximum, a minimum, and the runtime's own
  assert.is(one.size, 20);
  for (const devices of [2, 3, 9]) {
    const several = await observed(devices);
    assert.equal([...several.keys()].sort(), [...one.keys()].sort());
    for (const [name, bytes] of one)
      assert.is(Buffer.compare(bytes, several.get(name)!), 0, `${name} on ${devices} devices`);
  }
  // maxima and minima do not round: they are the same whatever windows are taken at once
  const [maximum, minimum] = steps.flatMap(({ combines, id }) => (combines === "sum" ? [] : [id]));
  for (const [name, bytes] of await observed(1, 5))
    if (name.startsWith(`${maximum} `) || name.startsWith(`${minimum} `))
      assert.is(Buffer.compare(bytes, one.get(name)!), 0, `${name} of other batches`);
});

test.run();
