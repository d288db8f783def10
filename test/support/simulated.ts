/**
 * Devices of the kernel evaluator for properties: each kind of target with the subgroup sizes it may turn out to have.
 */
import { baselineTarget, type Target } from "../../compiler/target.js";
import type { Simulated } from "./agreement.js";
import { targets } from "./targets.js";

/** More storage buffers than the least a device has, since random equations read many tensors. */
const plain: Target = { ...baselineTarget, maxStorageBuffers: 12 };
const cpu: Target = targets["a CPU driver"];

export const simulated: readonly Simulated[] = [
  { target: { ...plain, name: "no subgroups" }, subgroupSize: 1 },
  { target: { ...plain, name: "subgroups of 4", subgroups: { min: 4, max: 4 } }, subgroupSize: 4 },
  { target: { ...plain, name: "subgroups of 8", subgroups: { min: 8, max: 8 } }, subgroupSize: 8 },
  { target: targets["a GPU with subgroups of 32"], subgroupSize: 32 },
  { target: { ...plain, name: "subgroups of 4 to 64", subgroups: { min: 4, max: 64 } }, subgroupSize: 16 },
  { target: { ...plain, name: "small workgroups", maxInvocations: 64, maxWorkgroupMemory: 2048 }, subgroupSize: 1 },
  { target: cpu, subgroupSize: 4 },
  { target: { ...cpu, name: "cpu, subgroups of 4 to 8", subgroups: { min: 4, max: 8 } }, subgroupSize: 8 },
  { target: { ...cpu, name: "cpu without subgroups", subgroups: null }, subgroupSize: 1 },
];

/** A GPU that computes in f16. */
export const simulatedHalf: Simulated = {
  target: { ...plain, name: "f16", f16: true, subgroups: { min: 32, max: 32 }, maxWorkgroupMemory: 32768 },
  subgroupSize: 32,
};
