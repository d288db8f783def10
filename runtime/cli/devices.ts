import type { Command } from "commander";
import { formatBytes, listDevices } from "../device/device.js";
import { action, withJson, type JsonOptions } from "./context.js";

/** `espalier devices`: what this machine could compute on. */
export function addDevices(program: Command): void {
  withJson(
    program
      .command("devices")
      .description("list what this machine can compute on; * marks the device that is taken by itself"),
  ).action(
    action(async (output, _options: JsonOptions) => {
      const devices = (await listDevices()).map(({ name, kind, default: chosen, features, limits }) => ({
        name,
        kind,
        default: chosen,
        features: [...features].sort(),
        limits,
      }));
      output.result(
        { devices },
        () =>
          devices
            .map(({ name, kind, default: chosen, features, limits }) =>
              [
                `${chosen ? "*" : " "} ${kind.padEnd(4)} ${output.paint.bold(name)}`,
                `         features  ${features.join(", ") || "none"}`,
                `         limits    ${formatBytes(limits.maxStorageBufferBindingSize)} a binding, ${formatBytes(limits.maxComputeWorkgroupStorageSize)} of workgroup memory, ${limits.maxComputeInvocationsPerWorkgroup} threads a workgroup${limits.subgroupMaxSize > 1 ? `, subgroups of ${limits.subgroupMinSize} to ${limits.subgroupMaxSize}` : ""}`,
              ].join("\n"),
            )
            .join("\n") || "none",
      );
    }),
  );
}
