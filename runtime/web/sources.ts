/** Sources of the language in a page: the standard library, and what the page has. */
import { check } from "../../compiler/check/check.js";
import type { Host } from "../../compiler/check/modules.js";
import { hasErrors, InternalError } from "../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import { standardModules } from "../standard-modules.js";

/** Texts of the standard library by name of module, and the package's version, which the bundler writes in. */
declare const standardTexts: { readonly [module: string]: string } | undefined;
declare const versionOfBundle: string | undefined;

/** The version of this package. */
export function bundledVersion(): string {
  return typeof versionOfBundle === "undefined" ? "of no bundle" : versionOfBundle;
}

/** The text of each module of the standard library. */
export function bundledLibrary(): ReadonlyMap<string, string> {
  if (typeof standardTexts === "undefined") throw new InternalError("the standard library was not bundled");
  return new Map(Object.entries(standardTexts));
}

/** A host for the checker over texts by name, and the standard library. */
export interface TextHost extends Host {
  /** What was read, for rendering diagnostics. */
  readonly sources: ReadonlyMap<string, string>;
}

/** Reads sources from memory. */
export function createTextHost(
  files: ReadonlyMap<string, string>,
  library: ReadonlyMap<string, string> = bundledLibrary(),
): TextHost {
  const sources = new Map<string, string>();
  return {
    sources,
    standardModules,
    read(path) {
      const module = /^stdlib\/(\w+)\.esp$/.exec(path)?.[1];
      const text = files.get(path) ?? (module === undefined ? undefined : library.get(module)) ?? null;
      if (text !== null) sources.set(path, text);
      return text;
    },
    resolve: (_, path, relative) => (relative ? path.replace(/^\.\//, "") : `stdlib/${path}.esp`),
  };
}

/** Every function of the standard library by name. */
export function standardFunctions(
  library: ReadonlyMap<string, string> = bundledLibrary(),
): ReadonlyMap<string, SymbolicGraph> {
  const all = "stdlib.esp";
  const host = createTextHost(new Map([[all, `use ${standardModules.join(", ")}\n`]]), library);
  const { value, diagnostics } = check(all, host);
  if (value === null || hasErrors(diagnostics))
    throw new InternalError(
      `the standard library does not check: ${diagnostics.map((found) => found.message).join("; ")}`,
    );
  return value.functions;
}
