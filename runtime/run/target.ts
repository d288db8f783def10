/** What the compiler may count on of a device. */
import { matrixSize, type Target } from "../../compiler/target.js";
import type { DeviceDescription } from "../device/device.js";

/** The target that programs for this device are compiled for. */
export function targetOf(device: DeviceDescription): Target {
  const { name, kind, features, limits, matrices } = device;
  return {
    name,
    kind: kind === "cpu" ? "cpu" : "gpu",
    f16: features.has("shader-f16"),
    subgroups: features.has("subgroups") ? { min: limits.subgroupMinSize, max: limits.subgroupMaxSize } : null,
    matrices: matrices.some(
      ({ componentType, resultComponentType, M, N, K }) =>
        componentType === "f16" &&
        resultComponentType === "f32" &&
        M === matrixSize &&
        N === matrixSize &&
        K === matrixSize,
    ),
    maxInvocations: Math.min(limits.maxComputeInvocationsPerWorkgroup, limits.maxComputeWorkgroupSizeX),
    maxWorkgroupMemory: limits.maxComputeWorkgroupStorageSize,
    maxStorageBuffers: limits.maxStorageBuffersPerShaderStage,
    maxBinding: limits.maxStorageBufferBindingSize,
  };
}
