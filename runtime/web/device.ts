/** The device of a page. */
import { DeviceError } from "../device/error.js";
import { isSoftware, openAdapter, type Device } from "../device/opened.js";
import { plainWait } from "../device/wait.js";

interface PageNavigator {
  readonly gpu?: GPU;
  /** GiB of memory, at most 8, where the browser tells. */
  readonly deviceMemory?: number;
}

/**
 * Opens the GPU that the browser gives.
 * @throws DeviceError no-gpu where the browser has no WebGPU, or no adapter
 */
export async function openDevice(): Promise<Device> {
  const { navigator } = globalThis as { readonly navigator?: PageNavigator };
  const instance = navigator?.gpu;
  if (instance === undefined)
    throw new DeviceError(
      "no-gpu",
      "This browser has no WebGPU, or does not give it to this page: use a recent Chrome or Edge, and a page of https or of this machine (http://127.0.0.1).",
    );
  const adapter = await instance.requestAdapter({ powerPreference: "high-performance" }).catch(() => null);
  if (adapter === null || adapter === undefined)
    throw new DeviceError(
      "no-gpu",
      "The browser has WebGPU, but no adapter for it: chrome://gpu says why. On Linux it may need the flag --enable-unsafe-webgpu.",
    );
  const { description, device, architecture, vendor } = adapter.info;
  const software = isSoftware(adapter);
  const name = software && architecture === "swiftshader" ? "SwiftShader" : description || device || vendor || "GPU";
  return openAdapter(
    { kind: software ? "cpu" : "gpu", name: software ? `${name} (CPU)` : name, instance, adapter },
    { memory: (navigator?.deviceMemory ?? 4) * 2 ** 30, wait: plainWait },
  );
}
