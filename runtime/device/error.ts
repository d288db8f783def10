/**
 * Why a device could not do what was asked.
 * - `no-gpu`: no device of the kind asked for on this machine
 * - `out-of-memory`: the driver refused an allocation
 * - `device-lost`: the device went away, or was closed
 * - `validation`: WebGPU refused the call: a fault of the caller (or of the compiler)
 * - `too-large`: one buffer beyond the device's limit, however much memory is free
 */
export type DeviceErrorCode = "no-gpu" | "out-of-memory" | "device-lost" | "validation" | "too-large";

/** The only error that the device layer throws; `message` is a full sentence for the user. */
export class DeviceError extends Error {
  override readonly name = "DeviceError";
  constructor(
    readonly code: DeviceErrorCode,
    message: string,
  ) {
    super(message);
  }
}

/** `1.5 GiB`, `640 B`: a byte count for messages. */
export function formatBytes(bytes: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"] as const;
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = unit === 0 || Number.isInteger(value) ? 0 : value < 10 ? 2 : 1;
  return `${value.toFixed(digits)} ${units[unit]}`;
}
