import { readFileSync, realpathSync, statSync } from "node:fs";
import { dirname, isAbsolute, join, resolve } from "node:path";
import { check } from "../compiler/check/check.js";
import { hasErrors, InternalError } from "../compiler/diagnostic.js";
import type { Host } from "../compiler/check/modules.js";
import type { SymbolicGraph } from "../compiler/graph/graph.js";
import { packageRoot } from "./package.js";

export { packageRoot } from "./package.js";

/** The modules of the standard library, in the order in which they build on each other. */
export const standardModules = [
  "statistics",
  "prune",
  "quantize",
  "solve",
  "gptq",
  "sparsegpt",
  "refine",
  "llama",
  "sampling",
] as const;

/** Source files of recipes are small; more is a mistake, and is not read. */
const largestSource = 1024 * 1024;

/** A host for the checker over the file system. It remembers what it read, for rendering diagnostics. */
export interface SourceHost extends Host {
  readonly sources: ReadonlyMap<string, string>;
}

/** Reads sources from disk; the standard library from the package. */
export function createHost(): SourceHost {
  const root = packageRoot();
  const sources = new Map<string, string>();
  /** The path by which a file was named first, by its real one: a file that is named twice is one module. */
  const known = new Map<string, string>();
  return {
    sources,
    standardModules,
    read(path) {
      const before = sources.get(path);
      if (before !== undefined) return before;
      const file = path.startsWith("stdlib/") ? join(root, path) : path;
      try {
        const found = statSync(file);
        if (!found.isFile() || found.size > largestSource) return null;
        const text = readFileSync(file, "utf8");
        sources.set(path, text);
        const real = realpathSync(file);
        if (!known.has(real)) known.set(real, path);
        return text;
      } catch {
        return null;
      }
    },
    resolve(from, path, relative) {
      if (!relative) return `stdlib/${path}.esp`;
      const wanted = isAbsolute(path) ? path : join(dirname(resolve(from)), path);
      const real = realPath(wanted);
      const first = known.get(real) ?? wanted;
      known.set(real, first);
      return first;
    },
  };
}

/** The path without links; the path itself where there is nothing. */
function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    return path;
  }
}

/** Every function of the standard library by name. */
export function standardLibrary(): ReadonlyMap<string, SymbolicGraph> {
  const host = createHost();
  // one file that uses them all, so that each module is checked once
  const all = "stdlib.esp";
  const { value, diagnostics } = check(all, {
    ...host,
    read: (path) => (path === all ? `use ${standardModules.join(", ")}\n` : host.read(path)),
  });
  if (value === null || hasErrors(diagnostics))
    throw new InternalError(
      `the standard library does not check: ${diagnostics.map((found) => found.message).join("; ")}`,
    );
  return value.functions;
}
