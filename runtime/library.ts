import { readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { check, knownModules } from "../compiler/check/check.js";
import { hasErrors, InternalError } from "../compiler/diagnostic.js";
import type { Host } from "../compiler/check/modules.js";
import type { SymbolicGraph } from "../compiler/graph/graph.js";
import { suggest } from "../compiler/suggest.js";
import { knownLibrary, saveLibrary } from "./known-library.js";
import { examples, packageRoot } from "./package.js";
import { standardModules } from "./standard-modules.js";

export { packageRoot } from "./package.js";
export { standardModules } from "./standard-modules.js";

/** Source files of recipes are small; more is a mistake, and is not read. */
const largestSource = 1024 * 1024;

/** A host for the checker over the file system. It remembers what it read, for rendering diagnostics. */
export interface SourceHost extends Host {
  readonly sources: ReadonlyMap<string, string>;
  problem(path: string): string | null;
  meant(path: string, at?: string): string | null;
}

/** Reads sources from disk; the standard library from the package. */
export function createHost(): SourceHost {
  const root = packageRoot();
  const sources = new Map<string, string>();
  /** The path by which a file was named first, by its real one: a file that is named twice is one module. */
  const named = new Map<string, string>();
  const fileOf = (path: string): string => (path.startsWith("stdlib/") ? join(root, path) : path);
  const nameOf = (file: string, path: string): string => {
    const real = realPath(file);
    const first = named.get(real) ?? path;
    named.set(real, first);
    return first;
  };
  const readSource = (path: string): string | null => readText(fileOf(path));
  const known = knownLibrary(readSource);
  return {
    sources,
    standardModules,
    read(path) {
      const text = sources.get(path) ?? readSource(path);
      if (text !== null && !sources.has(path)) {
        sources.set(path, text);
        nameOf(fileOf(path), path);
      }
      return text;
    },
    problem: (path) => problemOf(fileOf(path)),
    meant: (path, at = path) => meantFile(path, fileOf(at)),
    resolve(from, path, relative) {
      if (!relative) return `stdlib/${path}.esp`;
      const file = isAbsolute(path) ? path : join(dirname(resolve(from)), path);
      return nameOf(file, file);
    },
    ...(known === null ? {} : { known }),
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

function readText(file: string): string | null {
  try {
    const found = statSync(file);
    return found.isFile() && found.size <= largestSource ? readFileSync(file, "utf8") : null;
  } catch {
    return null;
  }
}

/** The path with the name of a source file that is beside it, or for a bare name the name of an example. */
function meantFile(path: string, file: string): string | null {
  const name = basename(path);
  const bare = name === path && !name.includes(".") ? suggest(name, examples()) : null;
  if (bare !== null) return bare;
  const found = suggest(`${name.replace(/\.esp$/, "")}.esp`, sourcesIn(dirname(file)));
  return found === null ? null : path.slice(0, path.length - name.length) + found;
}

function sourcesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder).filter((name) => name.endsWith(".esp"));
  } catch {
    return [];
  }
}

/** Why what is there cannot be read, null where there is nothing or nothing is wrong. */
function problemOf(file: string): string | null {
  try {
    const found = statSync(file);
    if (found.isDirectory()) return "is a directory";
    if (!found.isFile()) return "is no regular file";
    if (found.size > largestSource)
      return `has ${found.size} bytes; at most ${largestSource} are read of a source file`;
    readFileSync(file);
    return null;
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : null;
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    return code === "EACCES" || code === "EPERM"
      ? "may not be read: permission denied"
      : `cannot be read: ${String(code)}`;
  }
}

/** One file that uses all modules of the standard library, so that each is checked once. */
const all = "stdlib.esp";

function hostOfAll(): SourceHost {
  const host = createHost();
  return { ...host, read: (path) => (path === all ? `use ${standardModules.join(", ")}\n` : host.read(path)) };
}

/** Every function of the standard library by name. */
export function standardLibrary(): ReadonlyMap<string, SymbolicGraph> {
  const { value, diagnostics } = check(all, hostOfAll());
  if (value === null || hasErrors(diagnostics))
    throw new InternalError(
      `the standard library does not check: ${diagnostics.map((found) => found.message).join("; ")}`,
    );
  return value.functions;
}

/** Checks the standard library and keeps what it means beside what is built, for the commands to come. */
export function keepLibrary(): void {
  const host = hostOfAll();
  const modules = knownModules(all, { ...host, known: () => null });
  if (modules === null)
    throw new InternalError("the standard library has something to report: espalier check stdlib/*.esp");
  saveLibrary(host.sources, new Map([...modules].filter(([path]) => path !== all)));
}
