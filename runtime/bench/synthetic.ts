/** A model of random weights, made on the device: what a real one of its shape takes, without its files. */
import { formatBytes } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import type { Caller } from "../llama/call.js";
import { checkActivations, type ActivationChoice } from "../llama/rounding.js";
import { loadRotary } from "../llama/inference/rope.js";
import { defaultDtype, makeSession, type Session } from "../llama/inference/session.js";
import { rowsOfPart, type BlockWeights, type Table } from "../llama/weights.js";
import type { LlamaConfig } from "../model/config.js";
import { blocksOf } from "../model/layout.js";
import type { DeviceTensor } from "../run/run.js";
import { building, type Arena } from "../run/arena.js";
import { weightsOnDevice } from "./weights.js";

/**
 * A session over random weights: the linear layers of the blocks in `format`, embedding and head in the dtype of
 * activations, gains of 1. The same weights for the same shape and format.
 * @throws DeviceError
 */
export async function syntheticSession(
  caller: Caller,
  config: LlamaConfig,
  format: FormatSpec,
  activations: ActivationChoice,
): Promise<Session> {
  const { executor } = caller;
  const dtype = defaultDtype(caller);
  let seed = 1;
  return building(executor, async (arena) => {
    const weight = async (n: number, k: number): Promise<DeviceTensor> =>
      arena.own(await weightsOnDevice(executor, format, { rows: n, columns: k }, seed++));
    const ones = async (length: number, label: string): Promise<DeviceTensor> =>
      arena.own(await executor.fill("f32", [length], new Float32Array(length).fill(1), label));
    const table = (): Promise<Table> => denseTable(caller, arena, { name: dtype, args: {}, of: null }, config, seed++);

    const embedding = await table();
    const head = config.tiedEmbeddings ? embedding : await table();
    const rotary = await loadRotary(caller, arena, config);
    const frame = { embedding, head, rotary, gain: await ones(config.hiddenSize, "gain") };
    const blocks: BlockWeights[] = [];
    for (const { layout, linears, vectors } of blocksOf(config)) {
      const own: { readonly [kind in "vectors" | "linears"]: Record<string, DeviceTensor> } = {
        vectors: {},
        linears: {},
      };
      for (const { name, parameter, length } of vectors) own.vectors[parameter] = await ones(length, name);
      for (const { parameter, outputs, inputs } of linears) own.linears[parameter] = await weight(outputs, inputs);
      blocks.push({ layout, ...own });
    }
    checkActivations(activations, blocks, caller.target);
    return makeSession(caller, config, frame, blocks, dtype, arena.close, activations);
  });
}

async function denseTable(
  caller: Caller,
  arena: Arena,
  format: FormatSpec,
  { vocabSize, hiddenSize: columns }: LlamaConfig,
  seed: number,
): Promise<Table> {
  const most = rowsOfPart(caller.target, formatBytes(format, { rows: 8, columns }) / 8);
  const parts: { tensor: DeviceTensor; first: number }[] = [];
  for (let first = 0; first < vocabSize; first += most) {
    const shape = { rows: Math.min(most, vocabSize - first), columns };
    parts.push({ tensor: arena.own(await weightsOnDevice(caller.executor, format, shape, seed)), first });
  }
  return { parts };
}
