/** The Vulkan loader of this process (Linux only; Dawn uses Metal or D3D12 elsewhere). */
import type { LibraryHandle } from "koffi";
import { cpuDriverRuns, unpackCpuDriver } from "./driver.js";
import { withOnlyDevice, type VulkanIdentity } from "./vulkan-environment.js";

/** A device as Vulkan itself lists it. */
export interface VulkanDevice {
  readonly name: string;
  /** Software: a driver that computes on the CPU. */
  readonly software: boolean;
  /** What distinguishes it from others of its name; null for a driver of before Vulkan 1.1. */
  readonly identity: VulkanIdentity | null;
  /** Where it is on the bus, as `0000:3b:00.0`; null where its driver does not say. */
  readonly place: string | null;
}

/** A loaded library, and where the bytes of a buffer are for it: for as long as the buffer is in sight. */
export interface VulkanLibrary extends LibraryHandle {
  address(buffer: Buffer): bigint;
}

/**
 * The loaded library. Process-wide because dynamic libraries are: Dawn asks the system for
 * `libvulkan.so.1` by name and gets the one that is loaded already. Held forever because koffi
 * unloads a library whose handle is collected, under Dawn's feet.
 */
let loaded: Promise<VulkanLibrary | undefined> | undefined;

/**
 * Loads the system's Vulkan loader or, where there is none, the one beside the CPU driver, which
 * finds the drivers of real GPUs just as well. Call before Dawn is imported.
 * @returns undefined where there is neither, or on other systems than Linux
 */
export function loadVulkan(): Promise<VulkanLibrary | undefined> {
  return (loaded ??= load());
}

async function load(): Promise<VulkanLibrary | undefined> {
  if (process.platform !== "linux") return undefined;
  const { default: koffi } = await import("koffi");
  const open = (path: string): VulkanLibrary => Object.assign(koffi.load(path), { address: koffi.address });
  // without the one beside the CPU driver there may still be the system's
  const ownPath = async (): Promise<string | undefined> =>
    cpuDriverRuns()
      ? unpackCpuDriver().then(
          ({ loader }) => loader,
          () => undefined,
        )
      : undefined;
  let system: VulkanLibrary;
  try {
    system = open("libvulkan.so.1");
  } catch {
    const path = await ownPath();
    return path === undefined ? undefined : open(path);
  }
  const found = listVulkanDevices(system);
  const twin = found.find((one) => !one.software && twinsOf(found, one).length > 1);
  if (twin === undefined || canChoose(system, twin)) return system;
  // a loader of before 1.4.323 does not choose among equal cards; ours does
  const path = await ownPath();
  if (path === undefined) return system;
  system.unload();
  return open(path);
}

/** The devices of the same name, itself among them. */
export function twinsOf<T extends { readonly name: string }>(
  devices: readonly T[],
  { name }: { readonly name: string },
): readonly T[] {
  return devices.filter((one) => one.name === name);
}

/** Whether `withOnlyDevice` works for this device: whether this loader then lists it, and nothing else. */
export function canChoose(library: VulkanLibrary, device: VulkanDevice): boolean {
  const { identity } = device;
  if (identity === null) return false;
  const [only, ...others] = withOnlyDevice(identity, () => listVulkanDevices(library));
  const found = only?.identity?.device;
  return others.length === 0 && found !== undefined && Buffer.compare(found, identity.device) === 0;
}

/**
 * Asks Vulkan for its devices without Dawn, which prints a warning when there is none.
 * Which drivers are seen is up to VK_DRIVER_FILES and its like at the time of the call.
 */
export function listVulkanDevices(library: VulkanLibrary): VulkanDevice[] {
  const instance = createInstance(library);
  if (instance === null) return []; // VK_ERROR_INCOMPATIBLE_DRIVER: no driver at all
  const enumerate = library.func(
    "int vkEnumeratePhysicalDevices(uint64_t instance, _Inout_ uint32_t *count, void *devices)",
  );
  try {
    const handles = Buffer.alloc(8 * mostDevices);
    const count: [number] = [mostDevices];
    const result = enumerate(instance, count, handles) as number;
    if (result !== 0 && result !== 5) return []; // 5: VK_INCOMPLETE, more than those
    return Array.from({ length: count[0] }, (_, index) => describe(library, handles.readBigUInt64LE(8 * index)));
  } finally {
    library.func("void vkDestroyInstance(uint64_t instance, const void *allocator)")(instance, null);
  }
}

const mostDevices = 64;

/** An instance of Vulkan 1.1, which has the identities of devices. */
function createInstance(library: VulkanLibrary): number | bigint | null {
  const create = library.func(
    "int vkCreateInstance(const void *info, const void *allocator, _Out_ uint64_t *instance)",
  );
  // VkApplicationInfo: 48 bytes, all zero but the version of Vulkan at 44
  const application = Buffer.alloc(48);
  application.writeUInt32LE((1 << 22) | (1 << 12), 44);
  // VkInstanceCreateInfo: 64 bytes, all zero (no layers, no extensions) but the structure type 1 and the former at 24
  const info = Buffer.alloc(64);
  info.writeUInt32LE(1, 0);
  info.writeBigUInt64LE(library.address(application), 24);
  const instance: [number | bigint] = [0];
  return create(info, null, instance) === 0 ? instance[0] : null;
}

/** Structure types of Vulkan. */
const structures = { properties2: 1000059001, identity: 1000071004, place: 1000212000 } as const;

function describe(library: VulkanLibrary, device: bigint): VulkanDevice {
  // VkPhysicalDeviceProperties, 824 bytes: apiVersion at 0, driverVersion at 4, deviceType at 16 (4 is CPU),
  // deviceName[256] at 20. In its second form they are at 16, and before them what else is asked for.
  const plain = Buffer.alloc(1024);
  library.func("void vkGetPhysicalDeviceProperties(uint64_t device, void *properties)")(device, plain);
  const name = plain.toString("utf8", 20, plain.indexOf(0, 20));
  const software = plain.readUInt32LE(16) === 4;
  if (plain.readUInt32LE(0) < ((1 << 22) | (1 << 12))) return { name, software, identity: null, place: null };

  // VkPhysicalDeviceIDProperties: deviceUUID[16] at 16, driverUUID[16] at 32
  const identity = Buffer.alloc(64);
  identity.writeUInt32LE(structures.identity, 0);
  // VkPhysicalDevicePCIBusInfoPropertiesEXT: domain, bus, device and function at 16 and on
  const place = Buffer.alloc(32);
  place.writeUInt32LE(structures.place, 0);
  const onBus = hasExtension(library, device, "VK_EXT_pci_bus_info");
  if (onBus) identity.writeBigUInt64LE(library.address(place), 8);
  const properties = Buffer.alloc(1024);
  properties.writeUInt32LE(structures.properties2, 0);
  properties.writeBigUInt64LE(library.address(identity), 8);
  library.func("void vkGetPhysicalDeviceProperties2(uint64_t device, void *properties)")(device, properties);
  const hex = (at: number, digits: number): string => place.readUInt32LE(at).toString(16).padStart(digits, "0");
  return {
    name,
    software,
    identity: {
      device: Uint8Array.from(identity.subarray(16, 32)),
      driver: Uint8Array.from(identity.subarray(32, 48)),
      driverVersion: plain.readUInt32LE(4),
    },
    place: onBus ? `${hex(16, 4)}:${hex(20, 2)}:${hex(24, 2)}.${hex(28, 1)}` : null,
  };
}

/** Whether a device has an extension. */
function hasExtension(library: VulkanLibrary, device: bigint, name: string): boolean {
  const enumerate = library.func(
    "int vkEnumerateDeviceExtensionProperties(uint64_t device, const char *layer, _Inout_ uint32_t *count, void *found)",
  );
  // VkExtensionProperties: extensionName[256], specVersion
  const most = 1024;
  const found = Buffer.alloc(260 * most);
  const count: [number] = [most];
  const result = enumerate(device, null, count, found) as number;
  if (result !== 0 && result !== 5) return false;
  return Array.from({ length: count[0] }, (_, at) => 260 * at).some(
    (at) => found.toString("latin1", at, found.indexOf(0, at)) === name,
  );
}
