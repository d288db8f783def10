/** Finding the machine's devices: real GPUs, the CPU driver, Dawn's null backend. */
import { cpuDriverRuns, unpackCpuDriver } from "./driver.js";
import { DeviceError } from "./error.js";
import { isSoftware, type FoundAdapter } from "./opened.js";
import { withOnlyDevice, withOnlyDriver } from "./vulkan-environment.js";
import { canChoose, listVulkanDevices, loadVulkan, twinsOf, type VulkanDevice } from "./vulkan.js";

/** What Dawn need not check: nothing, what kernels do (`"kernels"`), or that and what is asked of it at each call. */
export type Unchecked = boolean | "kernels";

/** Dawn's toggles; they belong to an instance, so that checked and unchecked devices can live in one process. */
function toggles(unchecked: Unchecked): string[] {
  // f16 and subgroup matrices on NVIDIA are behind the first two.
  const enabled = ["allow_unsafe_apis", "vulkan_enable_f16_on_nvidia"];
  // On SwiftShader, loads without clamps take 0.6 of the time, and zeroing 16 KiB of workgroup
  // memory takes 2 s to compile.
  if (unchecked !== false) enabled.push("disable_robustness", "disable_workgroup_init");
  // What WebGPU would refuse the compiler and the executor have ruled out; asked again at every call, it is a tenth of the
  // host's time for a token.
  if (unchecked === true) enabled.push("skip_validation");
  // Quantised to 100 us, timestamps would hide single kernels.
  return [`enable-dawn-features=${enabled.join(",")}`, "disable-dawn-features=timestamp_quantization"];
}

const installHint =
  "Install the GPU's driver with Vulkan support (on Linux its ICD file in /usr/share/vulkan/icd.d, or named in VK_DRIVER_FILES), " +
  "or compute on the CPU with --device cpu.";

/** A GPU of this machine. */
export interface FoundGpu extends FoundAdapter {
  /** Where it is on the bus, as `0000:3b:00.0`; null where that is not known. */
  readonly place: string | null;
  /** Whether it can be opened. */
  readonly reachable: boolean;
  /**
   * Of several of one name: this one itself. What is reported of it is what is known of the one of them that Dawn gives
   * for that name.
   */
  readonly itself?: () => Promise<FoundAdapter>;
}

/** What Dawn is asked for: what it prefers, one whose name has this in it, or a device that Vulkan lists. */
export type WantedGpu =
  | { readonly kind: "preferred" }
  | { readonly kind: "named"; readonly name: string }
  | { readonly kind: "only"; readonly device: VulkanDevice };

/** Asks Dawn for a device. Undefined where there is none. */
export type RequestGpu = (wanted: WantedGpu) => Promise<Pick<FoundAdapter, "instance" | "adapter"> | undefined>;

/** Every real GPU that this machine has and Dawn can use, the preferred one first. */
export async function findGpus(unchecked: Unchecked = false): Promise<readonly FoundGpu[]> {
  const listed = await hardwareDevices();
  if (listed?.devices.length === 0) return [];
  return listGpus(listed?.devices ?? null, (wanted) => findOnly(wanted, unchecked), listed?.canChoose);
}

/** What Dawn gives for one request. */
export async function findOnly(
  wanted: WantedGpu,
  unchecked: Unchecked = false,
): Promise<Pick<FoundAdapter, "instance" | "adapter"> | undefined> {
  const dawn = await import("webgpu");
  const open = (): { readonly instance: GPU; readonly asked: Promise<GPUAdapter | undefined> } => {
    const name = wanted.kind === "named" ? [`adapter=${wanted.name}`] : [];
    const instance = dawn.create([...toggles(unchecked), ...name]);
    return { instance, asked: request(instance, { powerPreference: "high-performance" }) };
  };
  const identity = wanted.kind === "only" ? wanted.device.identity : null;
  const { instance, asked } = identity === null ? open() : withOnlyDevice(identity, open);
  const adapter = await asked;
  return adapter === undefined ? undefined : { instance, adapter };
}

/**
 * The GPUs, of the devices that the system lists; null where it lists none, and Dawn is believed. Dawn hands out one
 * adapter a request, for a name the first that has it: of several of one name each is asked for by itself, if the system
 * can choose it.
 */
export async function listGpus(
  devices: readonly VulkanDevice[] | null,
  ask: RequestGpu,
  canBeChosen: (device: VulkanDevice) => boolean = () => false,
): Promise<readonly FoundGpu[]> {
  const listed = devices ?? [];
  const found: FoundAdapter[] = [];
  const take = async (wanted: WantedGpu): Promise<void> => {
    const given = await ask(wanted);
    if (given === undefined || isSoftware(given.adapter)) return;
    const name = displayName(
      given.adapter,
      listed.map((one) => one.name),
    );
    if (!found.some((other) => other.name === name)) found.push({ kind: "gpu", name, ...given });
  };
  await take({ kind: "preferred" });
  for (const { name } of listed) if (!found.some((other) => other.name === name)) await take({ kind: "named", name });
  return found.flatMap((one): readonly FoundGpu[] => {
    const twins = twinsOf(listed, one);
    const [first] = twins;
    if (first === undefined || twins.length < 2) return [{ ...one, place: first?.place ?? null, reachable: true }];
    const choosable = canBeChosen(first);
    return twins.map((device, at) => ({
      ...one,
      place: device.place,
      ...(choosable
        ? { reachable: true, itself: async () => ({ ...one, ...(await chosen(device)) }) }
        : { reachable: at === 0 }),
    }));
  });

  async function chosen(device: VulkanDevice): Promise<Pick<FoundAdapter, "instance" | "adapter">> {
    const given = await ask({ kind: "only", device });
    if (given !== undefined && !isSoftware(given.adapter)) return given;
    throw new DeviceError(
      "no-gpu",
      `${device.name}${device.place === null ? "" : ` at ${device.place}`} was not given when asked for alone.`,
    );
  }
}

/** The preferred GPU, or an error that says what to do. */
export async function findGpu(unchecked: Unchecked = false): Promise<FoundAdapter> {
  const [gpu] = await findGpus(unchecked);
  if (gpu !== undefined) return gpu;
  const seen = [...new Set((await hardwareDevices())?.devices.map(({ name }) => name))];
  const refused =
    seen.length > 0 ? ` Vulkan lists ${seen.join(", ")}, but its driver is too old or incomplete for WebGPU.` : "";
  throw new DeviceError("no-gpu", `No GPU was found on this machine.${refused} ${installHint}`);
}

/** SwiftShader where its binaries run, else whatever software driver the system has. */
export async function findCpu(unchecked: Unchecked = false): Promise<FoundAdapter> {
  const library = await loadVulkan();
  const dawn = await import("webgpu");
  const open = (): { instance: GPU; request: Promise<GPUAdapter | undefined> } => {
    const instance = dawn.create(toggles(unchecked));
    return { instance, request: request(instance, { forceFallbackAdapter: true }) };
  };
  const opened = library !== undefined && cpuDriverRuns() ? withOnlyDriver(await cpuManifest(), open) : open();
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

/** Where the CPU driver is. @throws DeviceError no-gpu, where it cannot be unpacked: there may be GPUs all the same */
async function cpuManifest(): Promise<string> {
  try {
    return (await unpackCpuDriver()).manifest;
  } catch (error) {
    throw new DeviceError("no-gpu", error instanceof Error ? error.message : String(error));
  }
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

/** The GPUs that Vulkan lists, and whether one of them can be chosen; undefined where Vulkan is not what Dawn uses. */
async function hardwareDevices(): Promise<
  { readonly devices: readonly VulkanDevice[]; canChoose(device: VulkanDevice): boolean } | undefined
> {
  if (process.platform !== "linux") return undefined;
  const library = await loadVulkan();
  if (library === undefined) return { devices: [], canChoose: () => false };
  return {
    devices: listVulkanDevices(library).filter((device) => !device.software),
    canChoose: (device) => canChoose(library, device),
  };
}

/** Dawn lower-cases and hyphenates the device's name; Vulkan's own spelling is taken where one matches. */
function displayName(adapter: GPUAdapter, spelled: readonly string[]): string {
  const { device, description, vendor } = adapter.info;
  const plain = (text: string): string => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");
  return spelled.find((name) => plain(name) === plain(device)) ?? (device || description || vendor || "unnamed GPU");
}
