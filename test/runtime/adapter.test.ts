/** Which of a machine's devices are found, of adapters as Dawn would give them. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { listGpus, type FoundGpu, type RequestGpu } from "../../runtime/device/adapter.js";
import { deviceAt } from "../../runtime/device/device.js";
import { DeviceError } from "../../runtime/device/error.js";
import type { DeviceKind } from "../../runtime/device/opened.js";
import type { VulkanDevice } from "../../runtime/device/vulkan.js";

const test = suite("adapter");

/**
 * A machine whose adapters have these names, in the order in which Dawn has them: a request takes the first that fits.
 */
function machine(names: readonly string[], info: Partial<GPUAdapterInfo> = {}): RequestGpu {
  return (wanted) => {
    const at =
      wanted.kind === "only"
        ? (wanted.device.identity?.device[0] ?? -1)
        : names.findIndex((one) => wanted.kind === "preferred" || one.includes(wanted.name));
    const device = names[at]?.toLowerCase().replace(/[^a-z0-9]+/g, "-");
    const adapter = { info: { device, description: "", vendor: "", architecture: `the ${at}th`, ...info } };
    return Promise.resolve(
      device === undefined ? undefined : { instance: {} as GPU, adapter: adapter as unknown as GPUAdapter },
    );
  };
}

/** What Vulkan lists for such a machine. */
function listed(...names: readonly string[]): readonly VulkanDevice[] {
  return names.map((name, at) => ({
    name,
    software: false,
    identity: { device: Uint8Array.of(at), driver: new Uint8Array(16), driverVersion: 1 },
    place: `0000:0${at}:00.0`,
  }));
}

const reported = (found: readonly FoundGpu[]): readonly string[] =>
  found.map(({ name, reachable }) => `${name}${reachable ? "" : ", not reachable"}`);

test("each device is listed, under the name that the system has for it", async () => {
  const names = ["NVIDIA H100 80GB HBM3", "Intel(R) Arc A770"];
  assert.equal(reported(await listGpus(listed(...names), machine(names))), names);
  // Dawn prefers another one than the system lists first
  assert.equal(reported(await listGpus(listed(...names), machine([...names].reverse()))), [...names].reverse());
});

test("two devices of one name are two, of which Dawn opens the first", async () => {
  const twin = "NVIDIA H100 80GB HBM3";
  const names = [twin, "Intel(R) Arc A770", twin, twin];
  const found = await listGpus(listed(...names), machine(names));
  assert.equal(reported(found), [twin, `${twin}, not reachable`, `${twin}, not reachable`, "Intel(R) Arc A770"]);
  assert.is(deviceAt(found, 0), found[0]);
  assert.is(deviceAt(found, 3).name, "Intel(R) Arc A770");
});

test("where the loader can choose, each of several of one name is opened by itself", async () => {
  const twin = "NVIDIA H100 80GB HBM3";
  const names = ["Intel(R) Arc A770", twin, twin];
  const found = await listGpus(listed(...names), machine(names), () => true);
  assert.equal(reported(found), names);
  assert.equal(
    found.map(({ place }) => place),
    ["0000:00:00.0", "0000:01:00.0", "0000:02:00.0"],
  );
  const opened = await Promise.all(found.map(async (one) => (await one.itself?.()) ?? one));
  assert.equal(
    opened.map(({ name, adapter }) => [name, adapter.info.architecture]),
    [
      [names[0], "the 0th"],
      [twin, "the 1th"],
      [twin, "the 2th"],
    ],
  );
  // a card that is gone by then is not another one
  const gone: RequestGpu = (wanted) => (wanted.kind === "only" ? Promise.resolve(undefined) : machine(names)(wanted));
  const [, , last] = await listGpus(listed(...names), gone, () => true);
  const message = await last!.itself!().then(String, (error: Error) => error.message);
  assert.is(message, `${twin} at 0000:02:00.0 was not given when asked for alone.`);
});

test("a device whose name is part of another's is not taken for it", async () => {
  const names = ["NVIDIA A100", "NVIDIA A10"];
  assert.equal(reported(await listGpus(listed(...names), machine([...names].reverse()))), [...names].reverse());
  // Dawn gives the A100 for both
  assert.equal(reported(await listGpus(listed(...names), machine(names))), ["NVIDIA A100"]);
});

test("where the system lists nothing, Dawn is believed; software is no GPU", async () => {
  assert.equal(reported(await listGpus(null, machine(["Apple M3"]))), ["apple-m3"]);
  assert.equal(reported(await listGpus(null, machine([""], { description: "Some GPU" }))), ["Some GPU"]);
  assert.equal(reported(await listGpus(null, machine([""]))), ["unnamed GPU"]);
  assert.equal(await listGpus(null, machine([])), []);
  assert.equal(await listGpus(listed("llvmpipe"), machine(["llvmpipe"])), []);
  assert.equal(await listGpus(null, machine(["x"], { isFallbackAdapter: true })), []);
});

test("a number that no device has, or that cannot be distinguished from another, is refused with what there is", () => {
  const gpu = { name: "H100", kind: "gpu" } as const;
  const devices = [
    { ...gpu, reachable: true },
    { ...gpu, reachable: false },
    { name: "SwiftShader (CPU)", kind: "cpu" as const, reachable: true },
  ];
  const refusal = (index: number, kind: DeviceKind | null = null, of: typeof devices = devices): string => {
    try {
      deviceAt(of, index, kind);
    } catch (error) {
      assert.ok(error instanceof DeviceError && error.code === "no-gpu");
      return error.message;
    }
    return assert.unreachable() as never;
  };
  assert.is(refusal(3), "There is no device 3 on this machine. It has: 0 H100, 1 H100, 2 SwiftShader (CPU).");
  assert.is(refusal(0, null, []), "There is no device 0 on this machine. It has none.");
  assert.is(refusal(2, "gpu"), "There is no GPU 2 on this machine. It has: 0 H100, 1 H100.");
  assert.match(refusal(1), /^The device 1 is called H100 as device 0 is, and this machine's Vulkan loader does not/);
  assert.is(deviceAt(devices, 2).name, "SwiftShader (CPU)");
});

test.run();
