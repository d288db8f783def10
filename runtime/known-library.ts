/**
 * The standard library as it was found to mean when Espalier was built, so that a command need not read and check it
 * anew. It is taken only by the code that made it, to the byte, and where no module has been edited since.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { deserialize, serialize } from "node:v8";
import type { KnownModule } from "../compiler/check/modules.js";
import { thisCode } from "./build.js";
import { packageRoot } from "./package.js";

interface Saved {
  /** `thisCode` of what made it. */
  readonly code: string;
  /** Texts of all modules by path. */
  readonly sources: ReadonlyMap<string, string>;
  /** A KnownModule each, serialised: objects that are shared in a graph are shared in what is read back. */
  readonly modules: ReadonlyMap<string, Uint8Array>;
}

const file = join("dist", "bundle", "library.bin");

/** The modules by path, if `read` gives the same texts still; null otherwise. */
export function knownLibrary(read: (path: string) => string | null): ((path: string) => KnownModule | null) | null {
  const library = saved();
  if (library === null) return null;
  for (const [path, text] of library.sources) if (read(path) !== text) return null;
  return library.module;
}

/** Writes what `knownLibrary` reads. */
export function saveLibrary(sources: ReadonlyMap<string, string>, modules: ReadonlyMap<string, KnownModule>): void {
  const parts = new Map([...modules].map(([path, module]) => [path, serialize(module)]));
  const library: Saved = { code: thisCode(), sources, modules: parts };
  writeFileSync(join(packageRoot(), file), serialize(library));
}

/** Read at most once a process: it does not change. */
const saved = once(() => {
  try {
    const library = deserialize(readFileSync(join(packageRoot(), file))) as Saved;
    if (library.code !== thisCode()) return null;
    const known = new Map(
      [...library.modules].map(([path, bytes]) => [path, once(() => deserialize(bytes) as KnownModule)]),
    );
    return { sources: library.sources, module: (path: string): KnownModule | null => known.get(path)?.() ?? null };
  } catch {
    return null; // there is none, or another version of Node wrote it
  }
});

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}
