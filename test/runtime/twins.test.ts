/** Cards of one name, chosen by the Vulkan loader: of two copies of the CPU driver, with identities of their own. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { findOnly } from "../../runtime/device/adapter.js";
import { cpuDriverRuns, unpackCpuDriver } from "../../runtime/device/driver.js";
import { canChoose, listVulkanDevices, loadVulkan } from "../../runtime/device/vulkan.js";

const test = suite("twins");
const folder = mkdtempSync(join(tmpdir(), "espalier-twins-"));
test.after(() => rmSync(folder, { recursive: true, force: true }));

/** A copy of the CPU driver; `mark` is a letter of its identity, and of its name, by which the test sees what it got. */
async function driver(mark: string): Promise<string> {
  const { manifest } = await unpackCpuDriver();
  const place = join(folder, mark);
  mkdirSync(place);
  const library = readFileSync(join(dirname(manifest), "libvk_swiftshader.so"));
  for (const [from, to] of [
    ["SwiftShaderUUID\0", `SwiftShaderUUI${mark}\0`],
    ["SwiftShader Device\0", `SwiftShader Devic${mark}\0`],
  ] as const)
    library.write(to, library.indexOf(from), "latin1");
  writeFileSync(join(place, "libvk_swiftshader.so"), library);
  writeFileSync(join(place, "driver.json"), readFileSync(manifest));
  return join(place, "driver.json");
}

// the driver's binaries run on Linux x64 alone; other systems have a Dawn that does not ask Vulkan
if (cpuDriverRuns())
  test("each of two devices is opened by its identity, in one process", async () => {
    const library = await loadVulkan();
    assert.ok(library !== undefined);
    const before = process.env["VK_DRIVER_FILES"];
    process.env["VK_DRIVER_FILES"] = [await driver("A"), await driver("B")].join(":");
    try {
      const devices = listVulkanDevices(library);
      assert.is(devices.length, 2);
      const opened: string[] = [];
      for (const device of [...devices, ...devices]) {
        const mark = String.fromCharCode(device.identity!.device[14]!);
        assert.ok(canChoose(library, device));
        const found = await findOnly({ kind: "only", device });
        const adapter = found?.adapter;
        assert.match(adapter?.info.device ?? "", `swiftshader-devic${mark.toLowerCase()}`);
        const queue = (await adapter!.requestDevice()).queue;
        await queue.onSubmittedWorkDone();
        opened.push(mark);
      }
      assert.equal([...opened].sort(), ["A", "A", "B", "B"]);
      // one that is not there, and one whose driver is another by now
      const [device] = devices;
      const { identity } = device!;
      assert.not.ok(canChoose(library, { ...device!, identity: { ...identity!, device: new Uint8Array(16) } }));
      assert.not.ok(canChoose(library, { ...device!, identity: { ...identity!, driverVersion: 1 } }));
      assert.not.ok(canChoose(library, { ...device!, identity: null }));
    } finally {
      if (before === undefined) delete process.env["VK_DRIVER_FILES"];
      else process.env["VK_DRIVER_FILES"] = before;
    }
  });

test.run();
