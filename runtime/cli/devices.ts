import { formatBytes, listDevices } from "../device/device.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";

/** `espalier devices`: what this machine could compute on. */
export async function run(output: Output, _options: JsonOptions): Promise<number | void> {
  const devices = (await listDevices()).map(({ matrices: _, features, ...rest }, index) => ({
    index,
    ...rest,
    features: [...features].sort(),
  }));
  output.result(
    { devices },
    () =>
      devices
        .map(({ index, name, kind, default: chosen, place, reachable, features, limits }) =>
          [
            `${chosen ? "*" : " "} ${index} ${kind.padEnd(4)} ${output.paint.bold(name)}${place === null ? "" : ` at ${place}`}${reachable ? "" : " (cannot be chosen beside another of its name)"}`,
            `         features  ${features.join(", ") || "none"}`,
            `         limits    ${formatBytes(limits.maxStorageBufferBindingSize)} a binding, ${formatBytes(limits.maxComputeWorkgroupStorageSize)} of workgroup memory, ${limits.maxComputeInvocationsPerWorkgroup} threads a workgroup${limits.subgroupMaxSize > 1 ? `, subgroups of ${limits.subgroupMinSize} to ${limits.subgroupMaxSize}` : ""}`,
          ].join("\n"),
        )
        .join("\n") || "none",
  );
}
