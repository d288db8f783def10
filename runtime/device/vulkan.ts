/** The Vulkan loader of this process (Linux only; Dawn uses Metal or D3D12 elsewhere). */
import type { LibraryHandle } from "koffi";
import { cpuDriverRuns, unpackCpuDriver } from "./driver.js";

/** A device as Vulkan itself lists it. */
export interface VulkanDevice {
  readonly name: string;
  /** Software: a driver that computes on the CPU. */
  readonly software: boolean;
}

/**
 * The loaded library. Process-wide because dynamic libraries are: Dawn asks the system for
 * `libvulkan.so.1` by name and gets the one that is loaded already. Held forever because koffi
 * unloads a library whose handle is collected, under Dawn's feet.
 */
let loaded: Promise<LibraryHandle | undefined> | undefined;

/**
 * Loads the system's Vulkan loader or, where there is none, the one beside the CPU driver, which
 * finds the drivers of real GPUs just as well. Call before Dawn is imported.
 * @returns undefined where there is neither, or on other systems than Linux
 */
export function loadVulkan(): Promise<LibraryHandle | undefined> {
  return (loaded ??= load());
}

async function load(): Promise<LibraryHandle | undefined> {
  if (process.platform !== "linux") return undefined;
  const { default: koffi } = await import("koffi");
  try {
    return koffi.load("libvulkan.so.1");
  } catch {
    return cpuDriverRuns() ? koffi.load((await unpackCpuDriver()).loader) : undefined;
  }
}

/**
 * Asks Vulkan for its devices without Dawn, which prints a warning when there is none.
 * Which drivers are seen is up to VK_DRIVER_FILES and its like at the time of the call.
 */
export function listVulkanDevices(library: LibraryHandle): VulkanDevice[] {
  const createInstance = library.func(
    "int vkCreateInstance(const void *info, const void *allocator, _Out_ uint64_t *instance)",
  );
  const destroyInstance = library.func("void vkDestroyInstance(uint64_t instance, const void *allocator)");
  const enumerate = library.func(
    "int vkEnumeratePhysicalDevices(uint64_t instance, _Inout_ uint32_t *count, void *devices)",
  );
  const getProperties = library.func("void vkGetPhysicalDeviceProperties(uint64_t device, void *properties)");

  // VkInstanceCreateInfo: 64 bytes, all zero (no layers, no extensions) but the structure type 1.
  const info = Buffer.alloc(64);
  info.writeUInt32LE(1, 0);
  const instance: [number | bigint] = [0];
  if (createInstance(info, null, instance) !== 0) return []; // VK_ERROR_INCOMPATIBLE_DRIVER: no driver at all
  try {
    const handles = Buffer.alloc(8 * 64);
    const count: [number] = [64];
    const result = enumerate(instance[0], count, handles) as number;
    if (result !== 0 && result !== 5) return []; // 5: VK_INCOMPLETE, more than 64
    return Array.from({ length: count[0] }, (_, index) => {
      // VkPhysicalDeviceProperties, 824 bytes: deviceType at 16 (4 is CPU), deviceName[256] at 20.
      const properties = Buffer.alloc(1024);
      getProperties(handles.readBigUInt64LE(8 * index), properties);
      const end = properties.indexOf(0, 20);
      return { name: properties.toString("utf8", 20, end), software: properties.readUInt32LE(16) === 4 };
    });
  } finally {
    destroyInstance(instance[0], null);
  }
}

/**
 * Runs `work` with only the CPU driver visible to Vulkan. `work` must reach the driver before it
 * returns: the environment belongs to the whole process and is put back at once.
 */
export function withOnlyDriver<T>(manifest: string, work: () => T): T {
  // The second name is for loaders before 1.3.207, the third would keep a filter of the user's in force.
  const names = ["VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VK_LOADER_DRIVERS_SELECT"] as const;
  const before = names.map((name) => process.env[name]);
  process.env["VK_DRIVER_FILES"] = manifest;
  process.env["VK_ICD_FILENAMES"] = manifest;
  delete process.env["VK_LOADER_DRIVERS_SELECT"];
  try {
    return work();
  } finally {
    names.forEach((name, index) => {
      const value = before[index];
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    });
  }
}
