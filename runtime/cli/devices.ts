import type { Command } from "commander";
import { listDevices } from "../device/device.js";
import { action, withJson } from "./context.js";

/** `espalier devices`: what this machine could compute on. */
export function addDevices(program: Command): void {
  withJson(program.command("devices").description("what this machine can compute on"))
    .action(action(async (output, _options: { readonly json?: boolean }) => {
      const devices = (await listDevices()).map(({ name, kind, default: chosen, features, limits }) => ({ name, kind, default: chosen, features: [...features].sort(), limits }));
      output.result({ devices }, () => devices.map((device) => `${device.default ? "*" : " "} ${device.kind.padEnd(4)} ${device.name}\n    ${device.features.join(", ")}\n    binding ${device.limits.maxStorageBufferBindingSize} bytes, workgroup memory ${device.limits.maxComputeWorkgroupStorageSize} bytes, ${device.limits.maxComputeInvocationsPerWorkgroup} invocations`).join("\n"));
    }));
}
