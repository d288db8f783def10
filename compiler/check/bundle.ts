/** A recipe with all that it uses, so that it can be kept where its files are not. */
import { freeName } from "../names.js";
import { parse } from "../syntax/parse.js";
import { resolveUse, type Host } from "./modules.js";

/** The files of a recipe, made to lie side by side in one folder: they use each other by their new names only. */
export interface Bundle {
  /** The recipe's own text, to be called `recipe.esp`. */
  readonly source: string;
  /** The texts of other files by name, `recipe-mine.esp`; those of the standard library are not among them. */
  readonly modules: ReadonlyMap<string, string>;
  /** The texts of the modules of the standard library that are used, however far, by name: `prune`. */
  readonly standard: ReadonlyMap<string, string>;
}

/** The name of a bundle's first file. */
export const bundleName = "recipe.esp";

/**
 * The bundle of a file that checks; null where it, or a file that it uses, cannot be read or parsed. Texts stay as they
 * are but for the paths after `use`; a file that uses no other stays to the byte.
 */
export function bundle(file: string, host: Host): Bundle | null {
  const files = new Map<string, { readonly text: string; readonly uses: readonly Found[] }>();
  const queue = [file];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    if (files.has(path)) continue;
    const text = host.read(path);
    const ast = text === null ? null : (host.known?.(path)?.ast ?? parse(text, path).value);
    if (text === null || ast === null) return null;
    const uses = ast.uses.flatMap(({ modules }) =>
      modules.map((module): Found => ({ ...module.span, path: resolveUse(host, path, module) })),
    );
    files.set(path, { text, uses });
    queue.push(...uses.map((use) => use.path));
  }
  const names = namesOf(file, [...files.keys()]);
  const moved = (path: string): string => {
    const { text = "", uses = [] } = files.get(path) ?? {};
    return [...uses]
      .sort((a, b) => b.start - a.start)
      .reduce((done, use) => done.slice(0, use.start) + wordOf(use.path) + done.slice(use.end), text);
  };
  const wordOf = (path: string): string => standardName(path) ?? `"./${names.get(path) ?? path}"`;
  const local = [...files.keys()].filter((path) => path !== file && standardName(path) === null);
  const standard = [...files].flatMap(([path, { text }]) => {
    const name = path === file ? null : standardName(path);
    return name === null ? [] : [[name, text] as const];
  });
  return {
    source: moved(file),
    modules: new Map(local.map((path) => [names.get(path) ?? path, moved(path)])),
    standard: new Map(standard.sort(([a], [b]) => (a < b ? -1 : 1))),
  };
}

/** A module after `use`: where it stands in the text, and the path of its file. */
interface Found {
  readonly start: number;
  readonly end: number;
  readonly path: string;
}

/** The name of a module of the standard library, null for another file. */
function standardName(path: string): string | null {
  return /^stdlib\/(\w+)\.esp$/.exec(path)?.[1] ?? null;
}

/** Most characters of a name that are kept. */
const longestName = 80;

/**
 * A name for each file that is not of the standard library, made of its own, so that none leads out of the folder, and
 * no two are the same on a disk that does not distinguish capitals. Names that were given so before stay.
 */
function namesOf(first: string, paths: readonly string[]): ReadonlyMap<string, string> {
  const names = new Map([[first, bundleName]]);
  const taken = new Set([bundleName]);
  for (const path of paths) {
    if (names.has(path) || standardName(path) !== null) continue;
    const own = (path.split(/[/\\]/).at(-1) ?? "").replace(/\.esp$/i, "").replace(/^recipe-/, "");
    const word = own.replace(/[^A-Za-z0-9_.-]+/g, "-").slice(0, longestName) || "module";
    const name = freeName(
      `recipe-${word}.esp`,
      (other) => taken.has(other.toLowerCase()),
      (number) => `recipe-${word}-${number}.esp`,
    );
    taken.add(name.toLowerCase());
    names.set(path, name);
  }
  return names;
}
