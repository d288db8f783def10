/**
 * What a process's Vulkan loader sees. The loader reads the environment when an instance is created, so each function
 * here changes that for the time of a call: the environment belongs to the whole process and is put back at once.
 */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What the loader knows a device by: each 16 bytes, and the driver's version as it stands in its properties. */
export interface VulkanIdentity {
  readonly device: Uint8Array;
  readonly driver: Uint8Array;
  readonly driverVersion: number;
}

/**
 * Runs `work` with only the CPU driver visible to Vulkan. `work` must reach the driver before it returns.
 */
export function withOnlyDriver<T>(manifest: string, work: () => T): T {
  return withEnvironment(
    {
      VK_DRIVER_FILES: manifest,
      // for loaders before 1.3.207
      VK_ICD_FILENAMES: manifest,
      // would keep a filter of the user's in force
      VK_LOADER_DRIVERS_SELECT: undefined,
    },
    work,
  );
}

/**
 * Runs `work` with only one device visible to Vulkan, by a settings file for the loader; one of before 1.4.323 knows no
 * such thing and shows all. `work` must reach the driver before it returns.
 */
export function withOnlyDevice<T>(identity: VulkanIdentity, work: () => T): T {
  const folder = mkdtempSync(join(tmpdir(), "espalier-device-"));
  try {
    const place = join(folder, "vulkan", "loader_settings.d");
    mkdirSync(place, { recursive: true });
    writeFileSync(join(place, "vk_loader_settings.json"), settingsOf(identity));
    return withEnvironment({ XDG_CONFIG_HOME: folder }, work);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** The loader's settings: the device alone, of the drivers that the environment names. */
function settingsOf({ device, driver, driverVersion }: VulkanIdentity): string {
  // a loader that is told of devices does not look at these itself
  const only = process.env["VK_DRIVER_FILES"] ?? process.env["VK_ICD_FILENAMES"];
  const added = process.env["VK_ADD_DRIVER_FILES"];
  return JSON.stringify({
    file_format_version: "1.0.1",
    settings: {
      additional_drivers_use_exclusively: only !== undefined,
      additional_drivers: manifestsOf(only ?? added ?? "").map((path) => ({ path })),
      device_configurations: [
        {
          deviceUUID: [...device],
          driverUUID: [...driver],
          // read as a signed number, and compared as the 32 bits it is: NVIDIA's are above 2^31
          driverVersion: driverVersion | 0,
        },
      ],
    },
  });
}

/** The manifests that a variable names, itself or by their folders. */
function manifestsOf(paths: string): readonly string[] {
  return paths
    .split(":")
    .filter((path) => path !== "")
    .flatMap((path) => {
      try {
        if (!statSync(path).isDirectory()) return [path];
        return readdirSync(path)
          .filter((name) => name.endsWith(".json"))
          .map((name) => join(path, name));
      } catch {
        return [];
      }
    });
}

function withEnvironment<T>(values: Readonly<Record<string, string | undefined>>, work: () => T): T {
  const set = (name: string, value: string | undefined): void => {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  };
  const before = Object.keys(values).map((name) => [name, process.env[name]] as const);
  for (const [name, value] of Object.entries(values)) set(name, value);
  try {
    return work();
  } finally {
    for (const [name, value] of before) set(name, value);
  }
}
