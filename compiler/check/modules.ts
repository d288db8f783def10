import { error, type Diagnostic } from "../diagnostic.js";
import { parse } from "../syntax/parse.js";
import type {
  ConstantDeclaration,
  Declaration,
  FunctionDeclaration,
  Module,
  RecipeDeclaration,
  Use,
} from "../syntax/ast.js";
import type { CheckedFunction } from "./checked.js";
import { suggestion } from "./suggestion.js";

/** Where the checker gets files from; it touches no file system itself. */
export interface Host {
  /** The text of a file, or null if there is none. A standard module `prune` is read from `stdlib/prune.esp`. */
  read(path: string): string | null;
  /**
   * Why what is at a path cannot be read, in words to be put behind the path; null where there is nothing, or where it
   * can be read.
   */
  problem?(path: string): string | null;
  /**
   * What was most likely meant by the path of a file that is not there, or null; `at` is where it was looked for, if
   * not there.
   */
  meant?(path: string, at?: string): string | null;
  /** The path of a module that the file `from` uses. Left out: `stdlib/NAME.esp`, and beside `from` where relative. */
  resolve?(from: string, path: string, relative: boolean): string;
  /** The standard modules there are, for suggestions. */
  readonly standardModules?: readonly string[];
  /**
   * What a file was found to mean by an earlier check of the same compiler, where it and all that it uses have the same
   * text still; null where that is not known, and the file is read and checked.
   */
  known?(path: string): KnownModule | null;
}

/** A module that was checked, and has nothing to report. */
export interface KnownModule {
  /** Its functions have no bodies any more. */
  readonly ast: Module;
  /** Its own functions. */
  readonly functions: ReadonlyMap<string, CheckedFunction>;
}

/** A declaration with the file it stands in. */
export interface Declared<D extends Declaration> {
  readonly declaration: D;
  readonly file: string;
}

/** A file, and the names that can be used in it: its own and those of the modules it uses. */
export interface FileScope {
  readonly file: string;
  readonly source: string;
  readonly ast: Module;
  readonly constants: ReadonlyMap<string, Declared<ConstantDeclaration>>;
  readonly functions: ReadonlyMap<string, Declared<FunctionDeclaration>>;
  readonly recipes: ReadonlyMap<string, RecipeDeclaration>;
  /** Whether a module that it uses could not be read: then names that are not there may be of that module. */
  readonly incomplete: boolean;
  /** Functions and constants of standard modules that it does not use, with their module; read when asked for. */
  readonly elsewhere: () => ReadonlyMap<string, string>;
}

interface Parsed {
  readonly file: string;
  readonly source: string;
  readonly ast: Module;
  readonly uses: readonly { readonly file: string; readonly use: Use["modules"][number] }[];
}

/**
 * Reads a file and the modules that it uses, however far. Files are given in the order in which they were met, the file
 * itself first; null if it cannot be read or parsed.
 */
export function loadModules(
  file: string,
  host: Host,
  report: (found: Diagnostic) => void,
  isBuiltin: (name: string) => boolean,
): ReadonlyMap<string, FileScope> | null {
  const parsed = new Map<string, Parsed | null>();
  const source = host.read(file);
  if (source === null) {
    const problem = host.problem?.(file) ?? null;
    const meant = problem === null ? (host.meant?.(file) ?? null) : null;
    report(
      error("E204", problem === null ? `there is no file ${file}` : `the file ${file} ${problem}`, null, {
        ...(meant === null ? {} : { help: `did you mean \`${meant}\`?` }),
      }),
    );
    return null;
  }
  const queue: Parsed[] = [];
  const open = (path: string, text: string): void => {
    const known = host.known?.(path) ?? null;
    const { value, diagnostics } = known === null ? parse(text, path) : { value: known.ast, diagnostics: [] };
    for (const found of diagnostics) report(found);
    const item =
      value === null
        ? null
        : {
            file: path,
            source: text,
            ast: value,
            uses: value.uses.flatMap((use) =>
              use.modules.map((module) => ({ file: resolveUse(host, path, module), use: module })),
            ),
          };
    parsed.set(path, item);
    if (item !== null) queue.push(item);
  };
  open(file, source);
  for (let at = 0; at < queue.length; at++) {
    for (const { file: path, use } of queue[at]?.uses ?? []) {
      if (parsed.has(path)) continue;
      const text = host.read(path);
      if (text !== null) open(path, text);
      else {
        parsed.set(path, null);
        const problem = host.problem?.(path) ?? null;
        const meant = use.relative && problem === null ? (host.meant?.(use.path, path) ?? null) : null;
        const help =
          meant !== null
            ? `did you mean \`use "${meant}"\`?`
            : use.relative || problem !== null
              ? null
              : suggestion(use.path, host.standardModules ?? [], "the standard modules are");
        report(
          error(
            "E204",
            problem === null ? `there is no module \`${use.path}\`` : `the module \`${use.path}\` cannot be read`,
            { span: use.span, message: `${path} ${problem ?? "cannot be read"}` },
            help === null ? {} : { help },
          ),
        );
      }
    }
  }
  if (parsed.get(file) == null) return null;
  const scopes = new Map<string, FileScope>();
  const standard = once(() => standardNames(host));
  for (const item of queue) scopes.set(item.file, fileScope(item, parsed, standard, report, isBuiltin));
  return scopes;
}

/** The path of a module that a file uses. */
export function resolveUse(host: Host, from: string, use: Use["modules"][number]): string {
  if (host.resolve !== undefined) return host.resolve(from, use.path, use.relative);
  if (!use.relative) return `stdlib/${use.path}.esp`;
  const parts: string[] = from.split("/").slice(0, -1);
  for (const part of use.path.split("/")) {
    if (part === "." || part === "") continue;
    if (part === ".." && parts.length > 0 && parts.at(-1) !== "..") parts.pop();
    else parts.push(part);
  }
  return (from.startsWith("/") && parts[0] !== "" ? "/" : "") + parts.join("/");
}

function fileScope(
  item: Parsed,
  parsed: ReadonlyMap<string, Parsed | null>,
  standard: () => ReadonlyMap<string, string>,
  report: (found: Diagnostic) => void,
  isBuiltin: (name: string) => boolean,
): FileScope {
  const constants = new Map<string, Declared<ConstantDeclaration>>();
  const functions = new Map<string, Declared<FunctionDeclaration>>();
  const recipes = new Map<string, RecipeDeclaration>();
  const first = new Map<string, { readonly declaration: Declaration; readonly file: string }>();
  const declare = (
    declaration: Declaration,
    file: string,
    at: { readonly span: Declaration["span"]; readonly message: string },
  ): void => {
    const name = declaration.name.name;
    if (isBuiltin(name)) {
      if (file === item.file)
        report(
          error("E203", `\`${name}\` is the name of a built-in operation`, {
            span: declaration.name.span,
            message: "give it another name",
          }),
        );
      return;
    }
    const known = first.get(name);
    if (known !== undefined) {
      if (known.declaration === declaration) return;
      const other = { span: known.declaration.name.span, message: "also declared here" };
      report(
        error("E203", `\`${name}\` is declared twice`, at, {
          labels: [other],
          ...(known.file === file ? {} : { notes: ["`use` brings in all declarations of a module"] }),
        }),
      );
      return;
    }
    first.set(name, { declaration, file });
    switch (declaration.kind) {
      case "constant":
        constants.set(name, { declaration, file });
        break;
      case "function":
        functions.set(name, { declaration, file });
        break;
      case "recipe":
        if (file === item.file) recipes.set(name, declaration);
        break;
      default:
        declaration satisfies never;
    }
  };
  for (const declaration of item.ast.declarations)
    declare(declaration, item.file, { span: declaration.name.span, message: "declared again" });
  for (const { file, use } of item.uses) {
    if (file === item.file) continue;
    for (const declaration of parsed.get(file)?.ast.declarations ?? []) {
      if (declaration.kind !== "recipe")
        declare(declaration, file, {
          span: use.span,
          message: `this module declares \`${declaration.name.name}\` too`,
        });
    }
  }
  const incomplete = item.uses.some(({ file }) => parsed.get(file) == null);
  const elsewhere = once(() => new Map([...standard()].filter(([name]) => !first.has(name))));
  const { file, source, ast } = item;
  return { file, source, ast, constants, functions, recipes, incomplete, elsewhere };
}

/** What the standard modules declare, with the module: found by the words that begin declarations. */
function standardNames(host: Host): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (const module of host.standardModules ?? [])
    for (const [, name = ""] of (host.read(`stdlib/${module}.esp`) ?? "").matchAll(/^(?:fn|const) +(\w+)/gm))
      if (!names.has(name)) names.set(name, module);
  return names;
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | null = null;
  return () => (made ??= { value: make() }).value;
}
