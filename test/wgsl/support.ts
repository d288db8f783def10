import { suite, type Test } from "uvu";
import * as assert from "uvu/assert";
import type { Kernel } from "../../compiler/kernel/kernel.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import { emitWgsl } from "../../compiler/wgsl/emit.js";
import { openDevice, type Device } from "../../runtime/device/device.js";
import { createPipelines, type Pipelines } from "../../runtime/run/pipelines.js";

interface Context {
  device: Device;
  pipelines: Pipelines;
}

/** A suite on the null backend, which has every feature, so that all of WGSL can be compiled there. */
export function onNullBackend(name: string): Test<Context> {
  const test = suite<Context>(name);
  test.before(async (context) => {
    context.device = await openDevice({ backend: "null" });
    context.pipelines = createPipelines(context.device);
  });
  test.after(({ device }) => device.close());
  return test;
}

/** The kernel's text, which the device has accepted. */
export async function compiled(pipelines: Pipelines, kernel: Kernel): Promise<string> {
  assert.equal(verifyKernel(kernel), []);
  const wgsl = emitWgsl(kernel);
  await pipelines.compile({
    name: kernel.name,
    wgsl,
    workgroupSize: kernel.workgroupSize,
    bindings: kernel.buffers.map(({ access }) => ({ access })),
    parameters: kernel.parameters.map(({ name }) => name),
    schedule: kernel.origin.schedule,
  });
  return wgsl;
}
