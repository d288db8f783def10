import { baselineTarget, type Target } from "../../compiler/target.js";

/** Devices to compile for in tests: without subgroups, with small and with large ones, and a CPU driver. */
export const targets = {
  baseline: baselineTarget,
  "a GPU with subgroups of 32": {
    ...baselineTarget,
    name: "subgroups",
    subgroups: { min: 32, max: 32 },
    maxInvocations: 1024,
    maxWorkgroupMemory: 49152,
    maxStorageBuffers: 16,
  },
  "a CPU driver": {
    ...baselineTarget,
    name: "cpu",
    kind: "cpu",
    subgroups: { min: 4, max: 4 },
    maxWorkgroupMemory: 32768,
    maxStorageBuffers: 12,
  },
} as const satisfies Record<string, Target>;

/** A large GPU with matrices of subgroups and f16. */
export const matrixTarget: Target = {
  ...targets["a GPU with subgroups of 32"],
  name: "matrices",
  f16: true,
  matrices: true,
  maxBinding: 2 ** 31 - 4,
};
