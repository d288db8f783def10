/**
 * `espalier/run`: running compiled Programs, without the compiler.
 *
 * A Program is plain JSON: WGSL kernels and the steps that run them. This entry point loads nothing but the device
 * layer;
 * `espalier` exports all of it too.
 *
 * ```js
 * import { readFileSync } from "node:fs";
 * import { createExecutor, openDevice } from "espalier/run";
 *
 * const device = await openDevice();
 * const executor = await createExecutor(device);
 * const program = await executor.prepare(JSON.parse(readFileSync("program.json", "utf8")));
 * const x = await executor.fill("f32", [4], [1, 2, 3, 4]);
 * const { y } = await executor.run(program, { x });
 * console.log(await executor.values(y));
 * device.close();
 * ```
 * @module
 */

export type { Program, ProgramBuffer, ProgramKernel, ProgramTensor, Step } from "./compiler/plan/program.js";
export type { Target } from "./compiler/target.js";
export type { Dtype } from "./compiler/types/dtype.js";
export type { FormatSpec } from "./compiler/types/type.js";

export { DeviceError, listDevices, openDevice } from "./runtime/device/device.js";
export type {
  Device,
  DeviceDescription,
  DeviceErrorCode,
  DeviceKind,
  DeviceLimits,
  DeviceMemory,
  DeviceOptions,
  ListedDevice,
} from "./runtime/device/device.js";
export { createExecutor } from "./runtime/run/run.js";
export type {
  Argument,
  DeviceTensor,
  Executor,
  ExecutorMemory,
  ExecutorOptions,
  HostValues,
  KernelTime,
  Prepared,
  TensorForm,
} from "./runtime/run/run.js";
export { targetOf } from "./runtime/run/target.js";
