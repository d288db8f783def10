/** Finding the machine's devices: real GPUs, the CPU driver, Dawn's null backend. */
import { cpuDriverRuns, unpackCpuDriver } from "./driver.js";
import { DeviceError } from "./error.js";
import { isSoftware, type FoundAdapter } from "./opened.js";
import { listVulkanDevices, loadVulkan, withOnlyDriver } from "./vulkan.js";

/** Dawn's toggles; they belong to an instance, so that checked and unchecked devices can live in one process. */
function toggles(unchecked: boolean): string[] {
  // f16 and subgroup matrices on NVIDIA are behind the first two.
  const enabled = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"];
  // On SwiftShader, loads without clamps take 0.6 of the time, and zeroing 16 KiB of workgroup
  // memory takes 2 s to compile.
  if (unchecked) enabled.push("disable_robustness", "disable_workgroup_init");
  // Quantised to 100 us, timestamps would hide single kernels.
  return [`enable-dawn-features=${enabled.join(",")}`, "disable-dawn-features=timestamp_quantization"];
}

const installHint =
  "Install the GPU's driver with Vulkan support (on Linux its ICD file in /usr/share/vulkan/icd.d, or named in VK_DRIVER_FILES), " +
  "or compute on the CPU with --device cpu.";

/** A GPU of this machine. */
export interface FoundGpu extends FoundAdapter {
  /**
   * Whether it can be opened. Dawn finds devices by their names, so that of several of one name only the first can be;
   * what is reported of the others is what is known of that one.
   */
  readonly reachable: boolean;
}

/** Asks Dawn for a device: the preferred one, or one whose name has this in it. Undefined where there is none. */
export type RequestGpu = (name: string | null) => Promise<Pick<FoundAdapter, "instance" | "adapter"> | undefined>;

/** Every real GPU that this machine has and Dawn can use, the preferred one first. */
export async function findGpus(unchecked = false): Promise<readonly FoundGpu[]> {
  const names = await hardwareNames();
  if (names?.length === 0) return [];
  const dawn = await import("webgpu");
  return listGpus(names ?? null, async (name) => {
    const instance = dawn.create([...toggles(unchecked), ...(name === null ? [] : [`adapter=${name}`])]);
    const adapter = await request(instance, { powerPreference: "high-performance" });
    return adapter === undefined ? undefined : { instance, adapter };
  });
}

/**
 * The GPUs, by the names that the system lists, one for each device; null where it lists none, and Dawn is believed.
 * Dawn hands out one adapter a request.
 */
export async function listGpus(names: readonly string[] | null, ask: RequestGpu): Promise<readonly FoundGpu[]> {
  const found: FoundGpu[] = [];
  const take = async (name: string | null): Promise<void> => {
    const given = await ask(name);
    if (given === undefined || isSoftware(given.adapter)) return;
    const spelled = displayName(given.adapter, names ?? []);
    if (!found.some((other) => other.name === spelled))
      found.push({ kind: "gpu", name: spelled, ...given, reachable: true });
  };
  await take(null);
  for (const name of names ?? []) if (!found.some((other) => other.name === name)) await take(name);
  return found.flatMap((one) => {
    const others = (names ?? []).filter((name) => name === one.name).length - 1;
    return [one, ...Array.from({ length: Math.max(0, others) }, () => ({ ...one, reachable: false }))];
  });
}

/** The preferred GPU, or an error that says what to do. */
export async function findGpu(unchecked = false): Promise<FoundAdapter> {
  const [gpu] = await findGpus(unchecked);
  if (gpu !== undefined) return gpu;
  const seen = [...new Set((await hardwareNames()) ?? [])];
  const refused =
    seen.length > 0 ? ` Vulkan lists ${seen.join(", ")}, but its driver is too old or incomplete for WebGPU.` : "";
  throw new DeviceError("no-gpu", `No GPU was found on this machine.${refused} ${installHint}`);
}

/** SwiftShader where its binaries run, else whatever software driver the system has. */
export async function findCpu(unchecked = false): Promise<FoundAdapter> {
  const library = await loadVulkan();
  const dawn = await import("webgpu");
  const open = (): { instance: GPU; request: Promise<GPUAdapter | undefined> } => {
    const instance = dawn.create(toggles(unchecked));
    return { instance, request: request(instance, { forceFallbackAdapter: true }) };
  };
  const opened =
    library !== undefined && cpuDriverRuns() ? withOnlyDriver((await unpackCpuDriver()).manifest, open) : open();
  const adapter = await opened.request;
  if (adapter === undefined || !isSoftware(adapter)) {
    throw new DeviceError(
      "no-gpu",
      "No driver that computes on the CPU was found. On Linux x64 one comes with Espalier; " +
        "elsewhere install a software Vulkan driver such as Mesa's lavapipe, or use a GPU with --device gpu.",
    );
  }
  const name = adapter.info.architecture === "swiftshader" ? "SwiftShader" : displayName(adapter, []);
  return { kind: "cpu", name: `${name} (CPU)`, instance: opened.instance, adapter };
}

/** Dawn's null backend. */
export async function findNull(): Promise<FoundAdapter> {
  const dawn = await import("webgpu");
  const instance = dawn.create([...toggles(false), "backend=null"]);
  const adapter = await request(instance, {});
  if (adapter === undefined) throw new DeviceError("no-gpu", "This build of Dawn has no null backend.");
  return { kind: "null", name: "null (checks only)", instance, adapter };
}

async function request(instance: GPU, options: GPURequestAdapterOptions): Promise<GPUAdapter | undefined> {
  try {
    return (await instance.requestAdapter(options)) ?? undefined;
  } catch {
    return undefined; // dawn.node throws "no suitable backends found"
  }
}

/** Names of the GPUs that Vulkan lists, one for each; undefined where Vulkan is not what Dawn uses. */
async function hardwareNames(): Promise<readonly string[] | undefined> {
  if (process.platform !== "linux") return undefined;
  const library = await loadVulkan();
  if (library === undefined) return [];
  return listVulkanDevices(library)
    .filter((device) => !device.software)
    .map((device) => device.name);
}

/** Dawn lower-cases and hyphenates the device's name; Vulkan's own spelling is taken where one matches. */
function displayName(adapter: GPUAdapter, spelled: readonly string[]): string {
  const { device, description, vendor } = adapter.info;
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return spelled.find((name) => plain(name) === plain(device)) ?? (device || description || vendor || "unnamed GPU");
}
