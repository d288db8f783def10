import {
  error,
  hasErrors,
  InternalError,
  type Checked,
  type Diagnostic,
  type Label,
  type Span,
} from "../diagnostic.js";
import type { SymbolicGraph } from "../graph/graph.js";
import type { Recipe } from "../recipe/recipe.js";
import { verifyRecipe } from "../recipe/verify.js";
import { checkConstants } from "./constants.js";
import type { CheckedFunction } from "./checked.js";
import { fail } from "./frame.js";
import { checkFunction } from "./function.js";
import { loadModules, type FileScope, type Host, type KnownModule } from "./modules.js";
import { isBuiltin } from "./operation.js";
import { quotientCode } from "../syntax/parse.js";
import { together } from "./together.js";
import { failFunction } from "./unknown.js";
import { newBuilder } from "./builder.js";
import { checkRecipe, checkSettings, type Settings } from "./recipe.js";
import { nest, type Scope } from "./scope.js";

export type { Host } from "./modules.js";

/** What a file means. */
export interface CheckedModule {
  /**
   * Every function of the file and of the modules it uses, calls inlined. Where two files have a function of one name,
   * the one nearer to the file.
   */
  readonly functions: ReadonlyMap<string, SymbolicGraph>;
  /** The names of the functions that the file itself declares. */
  readonly declared: readonly string[];
  /** The recipes of the file itself. */
  readonly recipes: ReadonlyMap<string, Recipe>;
}

export interface CheckOptions {
  /** Parameters of recipes by name, as given with `--set`; text is read as a number or `true` and `false`. */
  readonly set?: Settings;
}

/**
 * Checks a file and everything it uses: names, types, sizes, patterns and formats. Functions become Graphs, recipes
 * their steps. Every error that can be distinguished is reported. Pure: files come from the host.
 */
export function check(file: string, host: Host, options: CheckOptions = {}): Checked<CheckedModule> {
  const { scope: main, functions: checked, recipes, diagnostics } = examine(file, host, options);
  if (main === null || hasErrors(diagnostics)) return { value: null, diagnostics };
  const functions = new Map<string, SymbolicGraph>();
  const wrong: string[] = [];
  for (const { name, graph } of checked) {
    if (graph === null) wrong.push(name);
    else if (!functions.has(name)) functions.set(name, graph);
  }
  if (wrong.length > 0 || recipes.size < main.recipes.size)
    throw new InternalError(`nothing is said of what is wrong in ${wrong[0] ?? "a recipe"}`);
  for (const [name, recipe] of recipes) {
    const faults = verifyRecipe(recipe);
    if (faults.length > 0) throw new InternalError(`the recipe ${name}: ${faults.join("; ")}`);
  }
  const declared = [...main.functions].filter(([, { file: home }]) => home === file).map(([name]) => name);
  return { value: { functions, declared, recipes }, diagnostics };
}

/** What can be said of a file, whether or not it is right. */
export interface Examined {
  /** The names that can be used in the file; null where it cannot be read. */
  readonly scope: FileScope | null;
  /** Every function of the file and of the modules it uses, the file's own first. */
  readonly functions: readonly {
    readonly file: string;
    readonly name: string;
    readonly checked: CheckedFunction | null;
    /** null where it has errors. */
    readonly graph: SymbolicGraph | null;
  }[];
  /** The recipes of the file that have no errors. */
  readonly recipes: ReadonlyMap<string, Recipe>;
  readonly diagnostics: readonly Diagnostic[];
}

/** Checks a file as `check` does, and gives what is right of it where something is wrong. */
export function examine(file: string, host: Host, options: CheckOptions = {}): Examined {
  const diagnostics: Diagnostic[] = [];
  const seen = new Set<string>();
  // a loop is unrolled and a treatment checked for each choice, but each finding is reported once
  const report = (found: Diagnostic): void => {
    const at = found.labels[0]?.span;
    const key = `${found.code} ${at?.file} ${at?.start} ${at?.end} ${found.message}`;
    if (seen.has(key)) return;
    seen.add(key);
    diagnostics.push(found);
  };
  const opened = open(file, host, report);
  if (opened === null) return { scope: null, functions: [], recipes: new Map(), diagnostics };
  const { main, scopes, constants, functionIn, missing } = opened;

  const functions = [...scopes.values()].flatMap((scope) =>
    [...scope.functions]
      .filter(([, declared]) => declared.file === scope.file)
      .map(([name, declared]) => {
        const checked = functionIn(scope)(name, declared.declaration.name.span);
        return { file: scope.file, name, checked, graph: checked?.graph ?? null };
      }),
  );
  const settings = checkSettings(main, options.set ?? {}, report);
  const recipes = new Map<string, Recipe>();
  for (const [name, declaration] of main.recipes) {
    const recipe = checkRecipe(
      declaration,
      { file: main, report, functionOf: functionIn(main) },
      constants.get(main.file) ?? nest(null),
      settings,
    );
    if (recipe !== null) recipes.set(name, recipe);
  }
  missingUses(missing).forEach(report);
  const files = [...scopes.keys()];
  const told = hasErrors(diagnostics)
    ? together(inOrder(withQuotients(diagnostics, scopes), files), scopes)
    : inOrder(diagnostics, files);
  return { scope: main, functions, recipes, diagnostics: told };
}

interface Opened {
  readonly main: FileScope;
  readonly scopes: ReadonlyMap<string, FileScope>;
  readonly constants: ReadonlyMap<string, Scope>;
  /** Checks a function that can be called in a file, once. */
  readonly functionIn: (scope: FileScope) => (name: string, at: Span) => CheckedFunction | null;
  /** Functions that were called and are of standard modules that the file does not use. */
  readonly missing: Missing[];
}

interface Missing {
  readonly name: string;
  readonly at: Span;
  readonly module: string;
}

/** Reads a file and everything that it uses; functions are checked when they are asked for. */
function open(file: string, host: Host, report: (found: Diagnostic) => void): Opened | null {
  const scopes = loadModules(file, host, report, isBuiltin);
  const main = scopes?.get(file) ?? null;
  if (scopes === null || main === null) return null;

  const constants = checkConstants(scopes, report);

  const missing: Missing[] = [];
  const done = new Map<string, CheckedFunction | "checking">();
  const functionIn =
    (scope: FileScope) =>
    (name: string, at: Span): CheckedFunction | null => {
      const declared = scope.functions.get(name);
      const frame = {
        file: scope,
        builder: newBuilder(),
        report,
        dtypes: new Set<string>(),
        formats: new Set<string>(),
        functionOf: () => null,
        layer: null,
      };
      if (declared === undefined) {
        // what could not be read may declare it, and that has been reported
        if (scope.incomplete) return null;
        const module = scope.elsewhere().get(name);
        if (module === undefined) return failFunction(name, at, { frame });
        missing.push({ name, at, module });
        return null;
      }
      const key = `${declared.file} ${name}`;
      const known = done.get(key) ?? host.known?.(declared.file)?.functions.get(name);
      if (known === "checking")
        return fail(frame, "E205", `\`${name}\` calls itself`, at, "recursion", {
          labels: [{ span: declared.declaration.name.span, message: "this function" }],
          help: "write it as a reduction, or as a `for` with constant bounds",
        });
      if (known !== undefined) return known;
      const home = scopes.get(declared.file) ?? scope;
      done.set(key, "checking");
      const checked = checkFunction(
        declared.declaration,
        { file: home, report, functionOf: functionIn(home) },
        constants.get(home.file) ?? nest(null),
      );
      done.set(key, checked);
      return checked;
    };
  return { main, scopes, constants, functionIn, missing };
}

/** One error for each file that does not use the modules whose functions it calls: all of them are one line. */
function missingUses(missing: readonly Missing[]): readonly Diagnostic[] {
  return [...new Set(missing.map(({ at }) => at.file))].map((file) => {
    const [first, ...others] = [...missing]
      .filter(({ at }) => at.file === file)
      .sort((a, b) => a.at.start - b.at.start);
    if (first === undefined) throw new InternalError("a file without a missing use");
    const label = ({ at, module }: Missing): Label => ({ span: at, message: `of the module ${module}` });
    const reported = [...new Set([first, ...others].map(({ module }) => module))];
    const more = others.filter(
      ({ name, at }, i) => name !== first.name && others.findIndex((o) => o.name === name) === i && at.file === file,
    );
    return error(
      "E202",
      `\`${first.name}\` is declared in the module ${first.module}, which this file does not use`,
      label(first),
      { labels: more.map(label), help: `write \`use ${reported.join(", ")}\` at the top of the file` },
    );
  });
}

/**
 * What `Host.known` gives for a file and everything that it uses, by path; null where a check has anything to report.
 */
export function knownModules(file: string, host: Host): ReadonlyMap<string, KnownModule> | null {
  const found: Diagnostic[] = [];
  const opened = open(file, host, (each) => found.push(each));
  if (opened === null) return null;
  const modules = new Map<string, KnownModule>();
  for (const scope of opened.scopes.values()) {
    const functions = new Map<string, CheckedFunction>();
    const declarations = scope.ast.declarations.map((declaration) => {
      if (declaration.kind !== "function") return declaration;
      const checked = opened.functionIn(scope)(declaration.name.name, declaration.name.span);
      const bodiless = { ...declaration, body: [] };
      if (checked !== null) functions.set(declaration.name.name, { ...checked, declaration: bodiless });
      return bodiless;
    });
    modules.set(scope.file, { ast: { ...scope.ast, declarations }, functions });
  }
  return found.length === 0 && opened.missing.length === 0 ? modules : null;
}

/**
 * A comment that was most likely meant as a quotient is the error where there is one on its line, for that one follows
 * from it.
 */
function withQuotients(
  diagnostics: readonly Diagnostic[],
  scopes: ReadonlyMap<string, FileScope>,
): readonly Diagnostic[] {
  const quotients = diagnostics
    .filter(({ code }) => code === quotientCode)
    .flatMap(({ labels }) => labels[0]?.span ?? []);
  const onOneLine = (span: Span): Span | undefined =>
    quotients.find(({ file, start }) => {
      const [from, to] = [span.start, start].sort((a, b) => a - b);
      return file === span.file && !(scopes.get(file)?.source.slice(from, to) ?? "\n").includes("\n");
    });
  const wrong = diagnostics.filter(
    ({ code, labels }) => code !== quotientCode && labels[0] !== undefined && onOneLine(labels[0].span),
  );
  const meant = wrong.map(({ labels }) => labels[0] && onOneLine(labels[0].span));
  return diagnostics
    .filter((found) => !wrong.includes(found))
    .map((found) =>
      found.code === quotientCode && meant.includes(found.labels[0]?.span) ? { ...found, severity: "error" } : found,
    );
}

/** By file, then by place. */
function inOrder(diagnostics: readonly Diagnostic[], files: readonly string[]): readonly Diagnostic[] {
  const rank = (found: Diagnostic): readonly [number, number] => {
    const span = found.labels[0]?.span;
    return span === undefined ? [-1, 0] : [files.indexOf(span.file), span.start];
  };
  return [...diagnostics].sort((a, b) => {
    const [[fileA, startA], [fileB, startB]] = [rank(a), rank(b)];
    return fileA - fileB || startA - startB;
  });
}
