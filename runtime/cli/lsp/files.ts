/** Files of a language server: those that are open in the editor, and those on disk. */
import { readdirSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { LanguageHost } from "../../../compiler/language-service/service.js";
import { createHost, packageRoot, standardModules } from "../../library.js";

/** No more files of a workspace are looked at, nor folders within folders. */
const mostFiles = 2000;
const deepest = 8;

/** A host over open files and the disk. */
export interface EditorFiles extends LanguageHost {
  /** The file of a URI, as the compiler names it. */
  fileOf(uri: string): string;
  uriOf(file: string): string;
  /** To be called when a file on disk may have changed. */
  refresh(): void;
}

/** `open` gives the text of a file that is open in the editor, or null; `folders` are those of the workspace. */
export function editorFiles(
  open: { text(uri: string): string | null; uris(): readonly string[] },
  folders: () => readonly string[],
): EditorFiles {
  const root = packageRoot();
  let disk = createHost();
  let listed: readonly string[] | null = null;

  function fileOf(uri: string): string {
    if (!uri.startsWith("file:")) return uri;
    const path = fileURLToPath(uri);
    const inside = relative(root, path).split(sep).join("/");
    return /^stdlib\/\w+\.esp$/.test(inside) ? inside : path;
  }

  function uriOf(file: string): string {
    if (/^stdlib\/\w+\.esp$/.test(file)) return pathToFileURL(join(root, file)).href;
    return /^[\w-]{2,}:/.test(file) ? file : pathToFileURL(file).href;
  }

  // an editor may write a URI otherwise than Node does
  const openByFile = (): Map<string, string> => new Map(open.uris().map((uri) => [fileOf(uri), uri]));

  return {
    fileOf,
    uriOf,
    standardModules,
    read(path) {
      const uri = openByFile().get(path);
      return (uri === undefined ? null : open.text(uri)) ?? disk.read(path);
    },
    problem: (path) => disk.problem(path),
    meant: (path, at) => disk.meant(path, at),
    resolve: (from, path, isRelative) => disk.resolve?.(from, path, isRelative) ?? path,
    known(path) {
      // what is known of the library holds for its texts on disk
      for (const [file, uri] of openByFile())
        if (file.startsWith("stdlib/") && open.text(uri) !== disk.read(file)) return null;
      return disk.known?.(path) ?? null;
    },
    files() {
      listed ??= folders()
        .flatMap((folder) => sourcesBelow(folder, deepest))
        .slice(0, mostFiles);
      return [...new Set([...openByFile().keys(), ...listed])];
    },
    refresh() {
      disk = createHost();
      listed = null;
    },
  };

  function sourcesBelow(folder: string, depth: number): readonly string[] {
    try {
      return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
        if (entry.name.startsWith(".") || entry.name === "node_modules") return [];
        const path = join(folder, entry.name);
        if (entry.isDirectory()) return depth === 0 ? [] : sourcesBelow(path, depth - 1);
        return entry.isFile() && entry.name.endsWith(".esp") ? [fileOf(pathToFileURL(path).href)] : [];
      });
    } catch {
      return [];
    }
  }
}
