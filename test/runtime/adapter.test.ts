/** Which of a machine's devices are found, of adapters as Dawn would give them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { listGpus, type FoundGpu, type RequestGpu } from "../../runtime/device/adapter.js";
import { deviceAt } from "../../runtime/device/device.js";
import { DeviceError } from "../../runtime/device/error.js";

const test = suite("adapter");

/**
 * A machine whose adapters have these names, in the order in which Dawn has them: a request takes the first that fits.
 */
function machine(names: readonly string[], info: Partial<GPUAdapterInfo> = {}): RequestGpu {
  return (name) => {
    const at = names.findIndex((one) => name === null || one.includes(name));
    const device = names[at]?.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    const adapter = { info: { device, description: "", vendor: "", architecture: "", ...info } };
    return Promise.resolve(
      device === undefined ? undefined : { instance: {} as GPU, adapter: adapter as unknown as GPUAdapter },
    );
  };
}

const reported = (found: readonly FoundGpu[]): readonly string[] =>
  found.map(({ name, reachable }) => `${name}${reachable ? "" : ", not reachable"}`);

test("each device is listed, under the name that the system has for it", async () => {
  const names = ["NVIDIA H100 80GB HBM3", "Intel(R) Arc A770"];
  assert.equal(reported(await listGpus(names, machine(names))), names);
  // Dawn prefers another one than the system lists first
  assert.equal(reported(await listGpus(names, machine([...names].reverse()))), [...names].reverse());
});

test("two devices of one name are two, of which Dawn opens the first", async () => {
  const twin = "NVIDIA H100 80GB HBM3";
  const names = [twin, "Intel(R) Arc A770", twin, twin];
  const found = await listGpus(names, machine(names));
  assert.equal(reported(found), [twin, `${twin}, not reachable`, `${twin}, not reachable`, "Intel(R) Arc A770"]);
  assert.is(deviceAt(found, 0), found[0]);
  assert.is(deviceAt(found, 3).name, "Intel(R) Arc A770");
});

test("a device whose name is part of another's is not taken for it", async () => {
  const names = ["NVIDIA A100", "NVIDIA A10"];
  assert.equal(reported(await listGpus(names, machine([...names].reverse()))), [...names].reverse());
  // Dawn gives the A100 for both
  assert.equal(reported(await listGpus(names, machine(names))), ["NVIDIA A100"]);
});

test("where the system lists nothing, Dawn is believed; software is no GPU", async () => {
  assert.equal(reported(await listGpus(null, machine(["Apple M3"]))), ["apple-m3"]);
  assert.equal(reported(await listGpus(null, machine([""], { description: "Some GPU" }))), ["Some GPU"]);
  assert.equal(reported(await listGpus(null, machine([""]))), ["unnamed GPU"]);
  assert.equal(await listGpus(null, machine([])), []);
  assert.equal(await listGpus(["llvmpipe"], machine(["llvmpipe"])), []);
  assert.equal(await listGpus(null, machine(["x"], { isFallbackAdapter: true })), []);
});

test("a number that no device has, or that cannot be distinguished from another, is refused with what there is", () => {
  const devices = [
    { name: "H100", reachable: true },
    { name: "H100", reachable: false },
    { name: "SwiftShader (CPU)", reachable: true },
  ];
  const refusal = (index: number, of = devices): string => {
    try {
      deviceAt(of, index);
    } catch (error) {
      assert.ok(error instanceof DeviceError && error.code === "no-gpu");
      return error.message;
    }
    return assert.unreachable() as never;
  };
  assert.is(refusal(3), "There is no device 3 on this machine. It has: 0 H100, 1 H100, 2 SwiftShader (CPU).");
  assert.is(refusal(0, []), "There is no device 0 on this machine. It has none.");
  assert.match(refusal(1), /^Device 1 is called H100 as device 0 is, and WebGPU opens the first of that name\./);
  assert.is(deviceAt(devices, 2).name, "SwiftShader (CPU)");
});

test.run();
