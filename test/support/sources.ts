/** The project's own TypeScript, as text: for the tests of its structure. */
import { readdirSync, readFileSync } from "node:fs";
import { posix } from "node:path";
import { projectFile } from "./project.js";

export interface SourceFile {
  /** From the root of the project, with "/". */
  readonly path: string;
  readonly text: string;
  /** The text with comments, texts and regular expressions blanked out; lines stay where they are. */
  readonly code: string;
  readonly imports: readonly Import[];
}

export interface Import {
  /** A path from the root of the project (`compiler/target.ts`), or the name of a package or of a module of Node. */
  readonly target: string;
  readonly local: boolean;
  /** Erased by the compiler: nothing is loaded at run time. */
  readonly typeOnly: boolean;
}

/** All files in and below folders, or single files, with this ending. */
export function filesBelow(paths: readonly string[], ending: string): readonly string[] {
  return paths.flatMap((path) =>
    path.endsWith(ending)
      ? [path]
      : readdirSync(projectFile(path), { recursive: true, encoding: "utf8" })
          .map((name) => posix.join(path, name.replaceAll("\\", "/")))
          .filter((name) => name.endsWith(ending))
          .sort(),
  );
}

/** Reads source files of the project. */
export function readSources(paths: readonly string[]): readonly SourceFile[] {
  return filesBelow(paths, ".ts").map((path) => {
    const text = readFileSync(projectFile(path), "utf8");
    return { path, text, code: blank(text), imports: importsOf(path, text) };
  });
}

/**
 * The text without what only looks like code. Regular expressions are taken where one can start; a `${}` in a template
 * is blanked with it.
 */
function blank(text: string): string {
  const skipped =
    /\/\*[\s\S]*?\*\/|\/\/[^\n]*|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|`(?:[^`\\]|\\[\s\S])*`|(?<=[(,=:[!&|?{};\n]\s*)\/(?![*/])(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/g;
  return text.replace(skipped, (found) => found.replace(/[^\n]/g, " "));
}

function importsOf(path: string, text: string): readonly Import[] {
  const statements = text.matchAll(/^(?:import|export)\s+(type\s)?(?:([^"';]*?)\sfrom\s+)?"([^"]+)"/gm);
  const found = [...statements].map(([, type, names = "", target = ""]) => ({
    target,
    typeOnly: type !== undefined || onlyTypes(names),
  }));
  const dynamic = [...text.matchAll(/\bimport\("([^"]+)"\)/g)].map(([, target = ""]) => ({ target, typeOnly: false }));
  return [...found, ...dynamic].map(({ target, typeOnly }) => {
    const local = target.startsWith(".");
    return {
      target: local ? posix.join(posix.dirname(path), target).replace(/\.js$/, ".ts") : target,
      local,
      typeOnly,
    };
  });
}

function onlyTypes(names: string): boolean {
  const listed = /^\{([^}]*)\}$/
    .exec(names.trim())?.[1]
    ?.split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
  return listed !== undefined && listed.length > 0 && listed.every((name) => name.startsWith("type "));
}
