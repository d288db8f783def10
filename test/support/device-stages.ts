/** Runs all stages of a compilation on a device: the third of the three ways in which a graph is computed. */
import { parseArgs } from "node:util";
import type { Stages } from "../../compiler/compile.js";
import type { TensorValue } from "../../compiler/graph/evaluate.js";
import type { Target } from "../../compiler/target.js";
import { elementCount } from "../../compiler/types/shape.js";
import { openDevice } from "../../runtime/device/device.js";
import { createExecutor, type DeviceTensor, type Executor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { inputBytes, valueFromBytes } from "./stages.js";

/** A device that stays open for many programs. */
export interface Machine {
  readonly target: Target;
  readonly executor: Executor;
  /** The outputs by name. `words` are those of packed inputs. */
  run(
    stages: Stages,
    inputs: ReadonlyMap<string, TensorValue>,
    words?: ReadonlyMap<string, Uint32Array>,
  ): Promise<Map<string, TensorValue>>;
  close(): void;
}

/** Opens the CPU driver, or the device that `--device` names, with Dawn's checks of indices on. */
export async function openMachine(): Promise<Machine> {
  const { values } = parseArgs({ strict: false, options: { device: { type: "string" } } });
  const kind = (["auto", "gpu", "cpu"] as const).find((one) => one === (values.device ?? "cpu"));
  if (kind === undefined) throw new Error(`--device is auto, gpu or cpu, not ${values.device}`);
  const device = await openDevice({ kind, unchecked: false });
  const executor = await createExecutor(device, { poison: true });
  return {
    target: targetOf(device),
    executor,
    run: (stages, inputs, words) => runStages(executor, stages, inputs, words),
    close() {
      executor.close();
      device.close();
    },
  };
}

async function runStages(
  executor: Executor,
  stages: Stages,
  inputs: ReadonlyMap<string, TensorValue>,
  words: ReadonlyMap<string, Uint32Array> = new Map(),
): Promise<Map<string, TensorValue>> {
  const { program, fused } = stages;
  const given: Record<string, DeviceTensor> = {};
  const parameters: Record<string, number> = {};
  for (const input of fused.inputs.filter(({ part }) => part === undefined)) {
    const value = inputs.get(input.name);
    if (value === undefined) throw new Error(`no input ${input.name}`);
    const tensor = program.inputs.find(({ name }) => name === input.name);
    if (tensor === undefined) parameters[input.name] = value.data[0] ?? 0;
    else
      given[input.name] = await executor.upload(
        tensor,
        inputBytes(
          fused.values[input.value]!.type,
          value,
          words.get(input.name),
          program.buffers[tensor.buffer]!.bytes,
        ),
        input.name,
      );
  }
  const outputs = await executor.run(await executor.prepare(program), given, parameters);
  const results = new Map<string, TensorValue>();
  for (const output of fused.outputs) {
    const { type } = fused.values[output.value]!;
    const bytes = await executor.read(outputs[output.name]!);
    results.set(output.name, valueFromBytes(type, bytes.buffer));
    if (results.get(output.name)!.data.length !== elementCount(type.shape))
      throw new Error(`${output.name} has the wrong length`);
  }
  for (const tensor of new Set([...Object.values(given), ...Object.values(outputs)])) executor.release(tensor);
  return results;
}
