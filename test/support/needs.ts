/** What a test file needs beyond this process: by that the suite is split. */
import { readSources, type SourceFile } from "./sources.js";

/** What opens a device, and what starts another Espalier, which may open one. */
const opens = /\b(?:openDevice|listDevices|find(?:Gpus?|Only|Cpu|Null))\(|\bprocess\.execPath\b/;

/** The test files that need a device or another process, they or a helper in `test/` that they import. */
export function testsWithDevice(): ReadonlySet<string> {
  const sources = new Map(readSources(["test"]).map((source) => [source.path, source]));
  const needs = (path: string, seen: Set<string>): boolean => {
    const source = sources.get(path);
    if (source === undefined || seen.has(path)) return false;
    seen.add(path);
    return opens.test(source.code) || helpersOf(source).some((helper) => needs(helper, seen));
  };
  return new Set([...sources.keys()].filter((path) => path.endsWith(".test.ts") && needs(path, new Set())));
}

/** Test files that take the kernel evaluator, or a property, some ten seconds by themselves: not for each edit. */
export const longTests: ReadonlySet<string> = new Set([
  "test/llama/compression/channels.test.ts",
  "test/llama/compression/lowrank.test.ts",
  "test/cli/devices.test.ts",
  "test/formats/laws.test.ts",
  "test/lower/scan/library-scans.test.ts",
  "test/lower/scan/scan.test.ts",
  "test/lower/scan/scan-programs.test.ts",
  "test/lower/product/gradient-products.test.ts",
  "test/lower/schedules/matrix.test.ts",
  "test/lower/staged-packs.test.ts",
  "test/llama/serving/scheduler.test.ts",
  "test/llama/training/learned.test.ts",
  "test/llama/training/training.test.ts",
  "test/model/gguf/tensors.test.ts",
  "test/property/adjoints.test.ts",
  "test/property/gradients.test.ts",
  "test/property/scans.test.ts",
  "test/web/example.test.ts",
  "test/web/playground.test.ts",
]);

function helpersOf({ imports }: SourceFile): readonly string[] {
  return imports.filter(({ local, typeOnly }) => local && !typeOnly).map(({ target }) => target);
}
