/** What Dawn is not asked to check on the devices of the command line, the executor checks itself. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { createExecutor, type DeviceTensor } from "../../runtime/run/run.js";
import { length, shifted } from "../support/toy-programs.js";

const test = suite<{ device: Device }>("unchecked devices");

test.before(async (context) => {
  context.device = await openDevice({ kind: "cpu", unchecked: true });
});
test.after(({ device }) => device.close());

const ramp = Float32Array.from({ length }, (_, index) => index);
const doubled = (shift: number): Float32Array => ramp.map((value) => 2 * (value + shift));

async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    assert.ok(error instanceof DeviceError, String(error));
    assert.is((error as DeviceError).code, "validation");
    return (error as Error).message;
  }
  throw new Error("nothing was refused");
}

test("WGSL that does not compile is refused with its line, and the device goes on", async ({ device }) => {
  const executor = await createExecutor(device);
  const [kernel, ...others] = shifted.kernels;
  const wgsl = `${kernel!.wgsl}\nfn other() -> f32 { return nothing; }`;
  const broken = { ...shifted, kernels: [{ ...kernel!, wgsl }, ...others] };
  assert.match(await refusal(() => executor.prepare(broken)), "return nothing");
  const x = await executor.fill("f32", [length], ramp);
  const { y } = await executor.run(await executor.prepare(shifted), { x }, { shift: 1 });
  assert.equal(await executor.values(y!), doubled(1));
  executor.close();
});

test("parts of tensors are refused where they leave their buffer, or it is gone", async ({ device }) => {
  const executor = await createExecutor(device, { idleLimit: 0 });
  const x = await executor.fill("f32", [length], ramp);
  const long: DeviceTensor = { ...x, shape: [2 ** 20], bytes: 2 ** 22 };
  assert.match(await refusal(() => executor.values(long)), "more than the");
  assert.match(await refusal(async () => executor.copy([{ from: long, to: { ...long } }])), "more than the");
  const late: DeviceTensor = { ...x, offset: 4 };
  const prepared = await executor.prepare(shifted);
  assert.match(await refusal(() => executor.run(prepared, { x: late }, { shift: 1 })), /takes|begins at 4/);
  const part = { ...x };
  executor.release(x);
  executor.trim();
  assert.match(await refusal(() => executor.values(part)), "does not hold");
  assert.match(await refusal(() => executor.run(prepared, { x: part }, { shift: 1 })), "has been released");
  executor.close();
});

test("memory that is given back while another waits for some is not gone before what uses it is submitted", async () => {
  const device = await openDevice({ kind: "cpu" });
  let refused = 0;
  const scarce: Device = {
    ...device,
    async createBuffer(bytes, label, usage) {
      if (label === "large" && refused++ === 0) throw new DeviceError("out-of-memory", "pretended");
      return device.createBuffer(bytes, label, usage);
    },
  };
  const executor = await createExecutor(scarce, { submitLimit: 1000 });
  const x = await executor.fill("f32", [length], ramp);
  const prepared = await executor.prepare(shifted);
  const { y } = await executor.run(prepared, { x }, { shift: 1 });
  executor.release(y!);
  await executor.finish();
  const large = executor.allocate({ dtype: "f32", shape: [2 ** 16], format: null }, "large");
  // recorded in memory that lies idle, while the other waits for the device
  const { y: next } = await executor.run(prepared, { x }, { shift: 2 });
  executor.release(next!);
  await large;
  assert.is(refused, 2);
  await executor.finish();
  const { y: last } = await executor.run(prepared, { x }, { shift: 3 });
  assert.equal(await executor.values(last!), doubled(3));
  executor.close();
  device.close();
});

test.run();
