import { readdirSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { createHost, standardLibrary } from "../../runtime/library.js";
import { createCaller } from "../../runtime/llama/call.js";
import { compress } from "../../runtime/llama/compression/compress.js";
import { openModel } from "../../runtime/model/model.js";
import { createExecutor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { classics, espalier, temporaryFolder, toyModel, type Ended } from "./support.js";

const commands = suite("commands");
const folder = temporaryFolder();
commands.after(() => folder.remove());
const out = join(folder.path, "int4");
const toy = await toyModel(commands);

/** The one document on stdout. */
function documentOf<T>({ code, stdout, stderr }: Ended): T {
  assert.is(code, 0, stderr);
  return JSON.parse(stdout) as T;
}

commands("devices: what there is, one of it the default", async () => {
  const { devices } = documentOf<{
    devices: readonly {
      name: string;
      kind: string;
      default: boolean;
      features: readonly string[];
      limits: Record<string, number>;
    }[];
  }>(await espalier("devices", "--json"));
  assert.is(devices.filter((device) => device.default).length, 1);
  for (const { features, limits } of devices) {
    assert.ok(Array.isArray(features));
    assert.type(limits["maxStorageBufferBindingSize"], "number");
  }
});

commands("compress writes a model that inspect, eval and generate take", async () => {
  const report = documentOf<{
    tensors: readonly Record<string, unknown>[];
    bytesBefore: number;
    bytesAfter: number;
    seconds: number;
  }>(await espalier("compress", "examples/int4.esp", "--model", toy, "--out", out, "--device", "cpu", "--json"));
  assert.is(report.tensors.length, 28);
  assert.equal(Object.keys(report.tensors[0] ?? {}).sort(), [
    "bitsPerWeight",
    "bytes",
    "format",
    "layerError",
    "name",
    "pattern",
    "relativeError",
    "seconds",
  ]);
  assert.ok(report.bytesAfter < 0.6 * report.bytesBefore);

  const inspected = documentOf<{
    tensors: readonly Record<string, unknown>[];
    parameters: number;
    bytes: number;
    bitsPerWeight: number;
  }>(await espalier("inspect", out, "--json"));
  assert.equal(Object.keys(inspected.tensors[0] ?? {}).sort(), [
    "bitsPerWeight",
    "bytes",
    "dtype",
    "format",
    "name",
    "pattern",
    "shape",
    "zeros",
  ]);
  assert.is(inspected.bytes, report.bytesAfter);

  const scored = documentOf<Record<string, unknown>>(
    await espalier(
      "eval",
      "--model",
      out,
      "--text",
      join(classics, "eval.txt"),
      "--window",
      "16",
      "--limit",
      "1",
      "--device",
      "cpu",
      "--json",
    ),
  );
  assert.equal(Object.keys(scored).sort(), ["device", "perplexity", "seconds", "tokens", "warnings", "windows"]);
  assert.is(scored["tokens"], 16);

  const spoken = documentOf<Record<string, unknown>>(
    await espalier(
      "generate",
      "--model",
      out,
      "--prompt",
      '"My dear Mr. Holmes," said he,',
      "--max-tokens",
      "2",
      "--device",
      "cpu",
      "--json",
    ),
  );
  assert.equal(Object.keys(spoken).sort(), [
    "decodeTokensPerSecond",
    "device",
    "ended",
    "ids",
    "newTextStart",
    "newTokens",
    "prefillTokensPerSecond",
    "promptTokens",
    "text",
  ]);
  assert.is((spoken["ids"] as readonly number[]).length, 14);
});

commands("the same output again is refused, and replaced with --force", async () => {
  const line = ["compress", "examples/int4.esp", "--model", toy, "--out", out, "--device", "cpu", "--json"];
  const refused = await espalier(...line);
  assert.is(refused.code, 1);
  assert.is((JSON.parse(refused.stdout) as { error: { code: string } }).error.code, "M150");
  documentOf(await espalier(...line, "--force", "--set", "group=64"));
  assert.equal(readdirSync(folder.path), ["int4"]);
});

commands("a device that runs out of memory is reported, and nothing is written", async () => {
  const device = await openDevice({ kind: "cpu" });
  let room = 2 ** 18;
  const small: Device = {
    ...device,
    async createBuffer(bytes, label, usage) {
      room -= bytes;
      if (room < 0) throw new DeviceError("out-of-memory", `${device.name} has no memory left for ${label}.`);
      return device.createBuffer(bytes, label, usage);
    },
  };
  const model = await openModel(toy);
  try {
    const caller = createCaller(await createExecutor(small), targetOf(small), standardLibrary());
    const recipe = check("examples/int4.esp", createHost()).value?.recipes.get("int4_nearest");
    assert.ok(recipe);
    const path = join(folder.path, "never");
    await compress(caller, model, recipe, { output: path, source: "" }).then(
      () => assert.unreachable(),
      (error: unknown) => {
        assert.instance(error, DeviceError);
        assert.is((error as DeviceError).code, "out-of-memory");
      },
    );
    assert.not(readdirSync(folder.path).some((name) => name !== "int4"));
  } finally {
    await model.close();
    device.close();
  }
});

commands.run();
