/** What pages load, and what runs Programs only. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { readSources } from "../support/sources.js";

const test = suite("architecture of what is loaded");

const sources = readSources(["run.ts", "web.ts", "compiler", "runtime"]);

test("what a page loads knows nothing of Node", () => {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const wrong: string[] = [];
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    const source = byPath.get(path);
    for (const { target, local, typeOnly } of source?.imports ?? [])
      if (typeOnly) continue;
      else if (local) visit(target);
      else if (target.startsWith("node:") || ["tokenizers", "webgpu", "koffi", "tar-stream"].includes(target))
        wrong.push(`${path} imports ${target}`);
    for (const [name] of (source?.code ?? "").matchAll(/(?<![.\w])(?:process\.|Buffer\b|setImmediate\b)/g))
      wrong.push(`${path} names ${name}`);
  };
  visit("web.ts");
  assert.equal(wrong, []);
  for (const part of ["session", "generate"]) assert.ok(reached.has(`runtime/llama/inference/${part}.ts`));
  assert.ok(reached.has("runtime/llama/compression/follow-recipe.ts"));
});

test("running a Program loads no stage of the compiler", () => {
  const byPath = new Map(sources.map((source) => [source.path, source]));
  const reached = new Set<string>();
  const visit = (path: string): void => {
    if (reached.has(path)) return;
    reached.add(path);
    for (const { target, local, typeOnly } of byPath.get(path)?.imports ?? []) if (local && !typeOnly) visit(target);
  };
  visit("run.ts");
  // the host rounds to f16 as kernels do
  const known = /^(?:run\.ts|runtime\/(?:device|run)\/.*|compiler\/(?:float|diagnostic|target|types\/shape)\.ts)$/;
  assert.equal(
    [...reached].filter((path) => !known.test(path)),
    [],
  );
});

test.run();
