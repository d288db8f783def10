import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  bufferUsage,
  DeviceError,
  formatBytes,
  listDevices,
  openDevice,
  type Device,
} from "../../runtime/device/device.js";
import { cpuDriverRuns, unpackCpuDriver } from "../../runtime/device/driver.js";
import { notRun, partNotRun } from "../support/not-run.js";

const test = suite<{ device: Device }>("runtime/device");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu" });
});
test.after(({ device }) => device.close());

/** The DeviceError that `work` ends in. */
async function failure(work: Promise<unknown>): Promise<DeviceError> {
  const error = await work.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  assert.instance(error, DeviceError);
  return error as DeviceError;
}

/** Runs `code`'s entry point `main` once over one buffer at binding 0. */
async function dispatch(device: Device, code: string, buffer: GPUBuffer, workgroups: number): Promise<void> {
  const { gpu } = device;
  const pipeline = await device.guarded("the test's pipeline", () =>
    gpu.createComputePipelineAsync({ layout: "auto", compute: { module: gpu.createShaderModule({ code }) } }),
  );
  await device.guarded("the test's dispatch", () => {
    const group = gpu.createBindGroup({
      layout: pipeline.getBindGroupLayout(0),
      entries: [{ binding: 0, resource: { buffer } }],
    });
    const encoder = gpu.createCommandEncoder();
    const pass = encoder.beginComputePass();
    pass.setPipeline(pipeline);
    pass.setBindGroup(0, group);
    pass.dispatchWorkgroups(workgroups);
    pass.end();
    gpu.queue.submit([encoder.finish()]);
  });
}

const square = `
@group(0) @binding(0) var<storage, read_write> x: array<f32>;
@compute @workgroup_size(64) fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  x[id.x] = x[id.x] * x[id.x];
}`;

test("the CPU driver computes", async ({ device }) => {
  assert.is(device.kind, "cpu");
  const x = Float32Array.from({ length: 128 }, (_, index) => index - 64);
  const buffer = await device.createBuffer(x.byteLength, "x");
  await device.write(buffer, 0, x);
  await dispatch(device, square, buffer, 2);
  const result = new Float32Array((await device.read(buffer, 0, x.byteLength)).buffer);
  assert.equal(
    result,
    x.map((value) => value * value),
  );
  device.free(buffer);
});

test("reads and writes of any alignment keep their neighbours", async ({ device }) => {
  const buffer = await device.createBuffer(64, "bytes");
  const expected = new Uint8Array(64);
  for (const [offset, length] of [
    [0, 64],
    [1, 1],
    [3, 2],
    [5, 11],
    [8, 8],
    [62, 2],
    [63, 1],
    [20, 0],
  ] as const) {
    const data = Uint8Array.from({ length }, (_, index) => 7 * offset + 13 * length + index);
    expected.set(data, offset);
    await device.write(buffer, offset, data);
    assert.equal(await device.read(buffer, 0, 64), expected, `after writing ${length} at ${offset}`);
    assert.equal(await device.read(buffer, offset, length), data);
  }
  device.free(buffer);
});

test("a transfer larger than one piece arrives whole", async ({ device }) => {
  const words = 9 * 2 ** 20 + 3; // 36 MiB and a bit, against pieces of 32 MiB
  const data = Uint32Array.from({ length: words }, (_, index) => Math.imul(index, 2654435761));
  const buffer = await device.createBuffer(data.byteLength, "large");
  await device.write(buffer, 0, data);
  const result = new Uint32Array((await device.read(buffer, 0, data.byteLength)).buffer);
  assert.ok(Buffer.from(result.buffer).equals(Buffer.from(data.buffer)));
  device.free(buffer);
});

test("memory is accounted", async ({ device }) => {
  const before = device.memory.allocated;
  const buffer = await device.createBuffer(1000, "a thousand");
  assert.is(device.memory.allocated, before + 1008);
  assert.ok(device.memory.peak >= before + 1008);
  device.free(buffer);
  device.free(buffer);
  assert.is(device.memory.allocated, before);
});

test("a buffer beyond the limit is refused by name and size", async ({ device }) => {
  const error = await failure(device.createBuffer(2 ** 40, "embeddings"));
  assert.is(error.code, "too-large");
  assert.match(error.message, "embeddings needs one buffer of 1 TiB");
  assert.match(error.message, formatBytes(device.limits.maxBufferSize));
});

test("a shader that does not compile is reported, and the device goes on", async ({ device }) => {
  const buffer = await device.createBuffer(16, "x");
  const error = await failure(dispatch(device, "fn main( {", buffer, 1));
  assert.is(error.code, "validation");
  assert.match(error.message, "the test's pipeline");
  assert.match(error.message, "expected");
  await dispatch(device, square.replace("64", "4"), buffer, 1);
  device.free(buffer);
});

test("errors of operations that overlap stay apart", async ({ device }) => {
  const invalid = (): GPUBuffer =>
    device.gpu.createBuffer({ size: 16, usage: bufferUsage.mapRead | bufferUsage.storage });
  const good = Array.from({ length: 4 }, () => device.createBuffer(64, "good"));
  const bad = [failure(device.guarded("first", invalid)), failure(device.guarded("second", invalid))];
  for (const buffer of await Promise.all(good)) device.free(buffer);
  const messages = (await Promise.all(bad)).map((error) => error.message);
  assert.match(messages[0] ?? "", "refused first");
  assert.match(messages[1] ?? "", "refused second");
});

test("an error that nobody awaited is thrown by the next operation, once", async ({ device }) => {
  device.gpu.createBuffer({ size: 16, usage: bufferUsage.mapRead | bufferUsage.storage });
  await new Promise((resolve) => setTimeout(resolve, 20));
  const error = await failure(device.finish());
  assert.is(error.code, "validation");
  assert.match(error.message, "an earlier operation");
  await device.finish();
});

test("an unchecked device computes, beside a checked one", async () => {
  for (const unchecked of [true, "kernels"] as const) {
    const device = await openDevice({ kind: "cpu", unchecked });
    const buffer = await device.createBuffer(16, "x");
    await device.write(buffer, 0, Float32Array.of(1, 2, 3, 4));
    await dispatch(device, square.replace("64", "4"), buffer, 1);
    assert.equal(new Float32Array((await device.read(buffer, 0, 16)).buffer), Float32Array.of(1, 4, 9, 16));
    device.close();
  }
});

test("a device whose kernels are not checked validates calls, one that is not checked at all compiles WGSL", async () => {
  const kernels = await openDevice({ kind: "cpu", unchecked: "kernels" });
  const refused = (device: Device) =>
    failure(
      device.guarded("a buffer", () => {
        device.gpu.createBuffer({ size: 16, usage: bufferUsage.mapRead | bufferUsage.storage });
      }),
    );
  assert.is((await refused(kernels)).code, "validation");
  kernels.close();
  const all = await openDevice({ kind: "cpu", unchecked: true });
  const error = await failure(all.guarded("a kernel", () => void all.gpu.createShaderModule({ code: "fn main( {" })));
  assert.is(error.code, "validation");
  all.close();
});

test("a closed device says so, and closing twice is harmless", async () => {
  const device = await openDevice({ kind: "cpu" });
  const buffer = await device.createBuffer(16, "x");
  device.close();
  device.close();
  assert.is((await failure(device.read(buffer, 0, 16))).code, "device-lost");
  assert.match((await failure(device.finish())).message, "has been closed");
});

test("the null backend checks WGSL of features that the machine lacks", async () => {
  const device = await openDevice({ backend: "null" });
  assert.is(device.kind, "null");
  assert.ok(device.features.has("shader-f16") && device.features.has("subgroups"));
  const compile = (code: string): Promise<GPUComputePipeline> =>
    device.guarded("the check", () =>
      device.gpu.createComputePipelineAsync({
        layout: "auto",
        compute: { module: device.gpu.createShaderModule({ code }) },
      }),
    );
  await compile(`enable f16; enable subgroups;
    @group(0) @binding(0) var<storage, read_write> x: array<f16>;
    @compute @workgroup_size(32) fn main() { x[0] = subgroupAdd(x[1]); }`);
  assert.is((await failure(compile("@compute @workgroup_size(1) fn main() { let x: f16 = 1h; }"))).code, "validation");
  device.close();
});

test("devices are listed, the first is the default, and auto opens it", async () => {
  const devices = await listDevices();
  assert.ok(devices.length > 0);
  assert.equal(
    devices.map((one) => one.default),
    devices.map((_, index) => index === 0),
  );
  for (const one of devices) {
    assert.ok(
      one.name.length > 0 &&
        one.limits.maxBufferSize >= 2 ** 28 &&
        one.limits.subgroupMinSize <= one.limits.subgroupMaxSize,
    );
  }
  if (cpuDriverRuns()) assert.ok(devices.some((one) => one.kind === "cpu"));
  else partNotRun("the CPU is among them", "the CPU driver does not run on this system");

  const lines: string[] = [];
  const device = await openDevice({ log: (line) => lines.push(line) });
  assert.is(device.name, devices[0]?.name);
  assert.is(lines.length, device.kind === "cpu" ? 1 : 0);
  device.close();
});

test("asking for a GPU opens one, or says what to do", async () => {
  const hasGpu = (await listDevices()).some((one) => one.kind === "gpu");
  partNotRun(hasGpu ? "the error without a GPU" : "opening a GPU", hasGpu ? "there is one" : "there is none");
  if (hasGpu) {
    const device = await openDevice({ kind: "gpu" });
    assert.is(device.kind, "gpu");
    device.close();
  } else {
    const error = await failure(openDevice({ kind: "gpu" }));
    assert.is(error.code, "no-gpu");
    assert.match(error.message, "--device cpu");
  }
});

test("unpacking at the same time ends in one whole folder, and skips a cache that cannot be written", async () => {
  if (!cpuDriverRuns()) return notRun("the CPU driver does not run on this system");
  const cache = await mkdtemp(join(tmpdir(), "espalier-test-"));
  try {
    const file = join(cache, "a file");
    await writeFile(file, "");
    const folders = [join(file, "no folder"), cache];
    const drivers = await Promise.all(Array.from({ length: 3 }, () => unpackCpuDriver(folders)));
    assert.is(new Set(drivers.map((driver) => driver.loader)).size, 1);
    assert.is((await readdir(cache)).length, 2, "nothing is left beside the folder and the file");
  } finally {
    await rm(cache, { recursive: true, force: true });
  }
});

test.run();
