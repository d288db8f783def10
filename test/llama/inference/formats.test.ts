/**
 * A whole model against its reference, and models whose layers are packed in each kind of format against the same
 * weights
 * unpacked: both written to disk by the library, opened again, and run on the device.
 */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { ActivationChoice } from "../../../runtime/llama/rounding.js";
import { openSession, type Session } from "../../../runtime/llama/inference/session.js";
import { openModel, type Model } from "../../../runtime/model/model.js";
import { createModel, type OutputTensor } from "../../../runtime/model/write.js";
import { packValues } from "../../support/packed.js";
import { close, difference } from "../../support/tolerance.js";
import { writeToyModel } from "../../support/toy-model.js";
import { classics, openMachine } from "../machine.js";

const test = suite("a model in each format");

interface Reference {
  readonly prompt_ids: readonly number[];
  readonly last_logits_top8: readonly (readonly [number, number])[];
}

const machine = await openMachine();
const { caller } = machine;
const model = await openModel(classics);
const reference = JSON.parse(await readFile(join(classics, "reference.json"), "utf8")) as Reference;
const folder = await mkdtemp(join(tmpdir(), "espalier-test-"));
/** What is packed: few shapes, so that few kernels are made for each format. */
const toy = await openModel(await writeToyModel(join(folder, "toy")));

/** Logits after the prompt, token by token: kernels for one token are compiled soonest. */
async function logitsOf(session: Session, prompt: readonly number[]): Promise<readonly number[]> {
  const { executor } = caller;
  const cache = await session.allocateCache(1, 16);
  const pick = await executor.fill("i32", [1], [0]);
  let values: readonly number[] = [];
  for (const [at, id] of prompt.entries()) {
    const ids = await executor.fill("i32", [1, 1], [id]);
    const positions = await executor.fill("i32", [1], [at]);
    const x = await session.forward(ids, positions, cache);
    const logits = await session.logits(x, pick);
    if (at === prompt.length - 1) values = [...(await executor.values(logits))];
    for (const tensor of [ids, positions, x, logits]) executor.release(tensor);
  }
  executor.release(pick);
  session.releaseCache(cache);
  return values;
}

/** Writes the model with its layers in a format, or with the values that this format gives them as dense f32. */
async function write(name: string, format: string, dense: boolean): Promise<Model> {
  const layers = new Map(
    await Promise.all(
      toy.linears.map(async ({ weight }) => {
        const [rows = 1, columns = 1] = toy.tensor(weight).shape;
        return [weight, packValues(format, rows, columns, await toy.floats(weight))] as const;
      }),
    ),
  );
  const tensors = toy.tensors.map((tensor): OutputTensor => {
    const packed = layers.get(tensor.name);
    if (packed === undefined) return tensor;
    return {
      name: tensor.name,
      shape: tensor.shape,
      dtype: "F32",
      format: dense ? null : packed.spec,
      pattern: { kind: "full" },
    };
  });
  const writer = await createModel(join(folder, name), { source: toy, tensors, recipe: null, force: false });
  for (const { name: tensor } of tensors) {
    const packed = layers.get(tensor);
    if (packed === undefined) await writer.copy(tensor);
    else await writer.append(tensor, dense ? new Uint8Array(packed.dense.buffer) : new Uint8Array(packed.words.buffer));
  }
  await writer.finish();
  return openModel(join(folder, name));
}

async function logitsOfModel(opened: Model, activations: ActivationChoice = "f16"): Promise<readonly number[]> {
  const session = await openSession(caller, opened, { dtype: "f32", activations });
  const logits = await logitsOf(session, reference.prompt_ids.slice(0, 4));
  session.release();
  return logits;
}

test("logits are those of the reference", async () => {
  const session = await openSession(caller, model, { dtype: "f32" });
  const logits = await logitsOf(session, reference.prompt_ids);
  close(
    reference.last_logits_top8.map(([id]) => logits[id] ?? NaN),
    reference.last_logits_top8.map(([, value]) => value),
    "model",
    "logits",
  );
  // of the eight, two are nearly equal
  const highest = logits
    .map((value, id) => ({ value, id }))
    .sort((x, y) => y.value - x.value)
    .slice(0, 8)
    .map(({ id }) => id);
  assert.is(highest[0], reference.last_logits_top8[0]?.[0]);
  assert.equal(
    highest.sort((x, y) => x - y),
    reference.last_logits_top8.map(([id]) => id).sort((x, y) => x - y),
  );
  session.release();
});

for (const format of [
  "nm(2, 4) of f16",
  "int4(64)",
  "nm(2, 4) of int4(64)",
  "int8(channel, asymmetric)",
  "bitmask of f16",
  "regrouped of int4(64)",
]) {
  test(`${format}: a packed model computes as the same weights unpacked`, async () => {
    const name = format.replaceAll(/\W+/g, "-");
    const packed = await write(`${name}packed`, format, false);
    const dense = await write(`${name}dense`, format, true);
    assert.ok(packed.linears.every(({ weight }) => packed.tensor(weight).format !== null));
    assert.ok(dense.linears.every(({ weight }) => dense.tensor(weight).format === null));
    const exact = await logitsOfModel(dense);
    close(await logitsOfModel(packed), exact, "model", format);
    // for so few tokens activations are rounded, where all weights are integers
    const rounded = await logitsOfModel(packed, "auto");
    assert.is(
      difference(rounded, exact, "model") === null,
      !/^(nm|int)/.test(format) || !format.includes("int"),
      `${format} rounds activations`,
    );
    close(rounded, exact, "modelHalf", format);
    await packed.close();
    await dense.close();
  });
}

test.after(async () => {
  assert.is(caller.executor.memory.live, 0);
  await model.close();
  await toy.close();
  await rm(folder, { recursive: true, force: true });
  machine.close();
});

test.run();
