/** A file with all that is known of it: its names, what was found wrong, and what its functions mean. */
import { examine } from "../check/check.js";
import type { CheckedFunction } from "../check/checked.js";
import { resolveUse, type FileScope, type Host, type KnownModule } from "../check/modules.js";
import type { Diagnostic, Span } from "../diagnostic.js";
import type { SymbolicGraph } from "../graph/graph.js";
import type { Recipe } from "../recipe/recipe.js";
import type { Module } from "../syntax/ast.js";
import { readDocument, type Document, type Part, type ReadParts } from "./document.js";
import { resolveNames, type Used } from "./resolve.js";
import type { Names } from "./symbols.js";

/** What a check says of a file. */
export interface Meaning {
  readonly diagnostics: readonly Diagnostic[];
  /** Functions of the file without errors, by name. */
  readonly graphs: ReadonlyMap<string, SymbolicGraph>;
  readonly recipes: ReadonlyMap<string, Recipe>;
  readonly scope: FileScope | null;
}

/** Reads and checks files, and keeps what need not be done again. */
export interface Analyses {
  /** A file as it can be read; null where there is none. */
  document(file: string): Document | null;
  names(file: string): Names;
  /** What the modules that a file uses declare. */
  used(file: string): Used;
  /** Declarations of the modules that a file uses, each with its file. */
  usedModules(file: string): readonly { readonly file: string; readonly ast: Module }[];
  /** The result of a check, of the text as it is. */
  meaning(file: string): Meaning;
  /** What was read of a file, by text. */
  parts(file: string): ReadParts;
  /** To be called when the text of a file, or of any other, may have changed. */
  forget(file: string): void;
}

interface Kept {
  readonly text: string;
  readonly document: Document;
  readonly parts: ReadParts;
  names: Names | null;
  meaning: { readonly value: Meaning; readonly others: string } | null;
}

/** A function that had nothing to report, by all that it is made of. */
interface Right {
  readonly key: string;
  readonly checked: CheckedFunction;
  readonly start: number;
}

/** Makes the analyses of the files of a host; `parts` is what others have read of them. */
export function createAnalyses(host: Host, parts: (file: string) => ReadParts = () => new Map()): Analyses {
  const kept = new Map<string, Kept>();
  const right = new Map<string, ReadonlyMap<string, Right>>();
  const rightRecipes = new Map<string, ReadonlyMap<string, { readonly key: string; readonly recipe: Recipe }>>();

  function document(file: string): Document | null {
    return entry(file)?.document ?? null;
  }

  function entry(file: string): Kept | null {
    const text = host.read(file);
    if (text === null) return null;
    const before = kept.get(file);
    if (before !== undefined && before.text === text) return before;
    const { document: read, known } = readDocument(file, text, before?.parts ?? parts(file));
    const made: Kept = { text, document: read, parts: known, names: null, meaning: null };
    kept.set(file, made);
    return made;
  }

  function moduleOf(file: string): Module | null {
    return host.known?.(file)?.ast ?? document(file)?.ast ?? null;
  }

  function usedModules(file: string): readonly { readonly file: string; readonly ast: Module }[] {
    const files = (document(file)?.ast.uses ?? []).flatMap((use) =>
      use.modules.map((module) => resolveUse(host, file, module)),
    );
    return [...new Set(files)].flatMap((path) => {
      const ast = path === file ? null : moduleOf(path);
      return ast === null ? [] : [{ file: path, ast }];
    });
  }

  function used(file: string): Used {
    const modules = usedModules(file);
    return {
      file: (module) => resolveUse(host, file, module),
      declaration(name) {
        for (const { file: path, ast } of modules) {
          const declaration = ast.declarations.find((each) => each.kind !== "recipe" && each.name.name === name);
          if (declaration !== undefined) return { declaration, file: path };
        }
        return null;
      },
    };
  }

  function names(file: string): Names {
    const found = entry(file);
    if (found === null) return { symbols: [], references: [] };
    found.names ??= resolveNames(found.document.ast, used(file));
    return found.names;
  }

  function meaning(file: string): Meaning {
    const found = entry(file);
    if (found === null) return { ...examine(file, host), graphs: new Map() };
    const others = otherTexts(file);
    if (found.meaning?.others === others) return found.meaning.value;
    const value = checkDocument(found.document, others);
    found.meaning = { value, others };
    return value;
  }

  /** The texts of all files that a file uses, however far: what it means depends on them. */
  function otherTexts(file: string): string {
    const seen = new Set<string>([file]);
    const texts: string[] = [];
    const queue = [file];
    for (let at = queue.shift(); at !== undefined; at = queue.shift())
      for (const use of moduleOf(at)?.uses ?? [])
        for (const module of use.modules) {
          const path = resolveUse(host, at, module);
          if (seen.has(path)) continue;
          seen.add(path);
          queue.push(path);
          texts.push(`${path}\n${host.known?.(path) == null ? (host.read(path) ?? "") : ""}`);
        }
    return texts.join("\0");
  }

  function checkDocument(read: Document, others: string): Meaning {
    const { file } = read;
    const keys = functionKeys(read, others);
    const before = right.get(file) ?? new Map<string, Right>();
    const functions = new Map<string, CheckedFunction>();
    for (const declaration of read.ast.declarations) {
      const known = before.get(declaration.name.name);
      if (declaration.kind !== "function" || known === undefined || known.key !== keys.get(declaration.name.name))
        continue;
      const by = declaration.span.start - known.start;
      functions.set(declaration.name.name, { ...moved(known.checked, by), declaration });
    }
    const recipesBefore = rightRecipes.get(file);
    const recipes = new Map<string, Recipe>();
    for (const { kind, name } of read.ast.declarations) {
      const known = kind === "recipe" ? recipesBefore?.get(name.name) : undefined;
      if (known !== undefined && known.key === keys.get(name.name)) recipes.set(name.name, known.recipe);
    }
    const declarations = read.ast.declarations.filter(({ kind, name }) => kind !== "recipe" || !recipes.has(name.name));
    const own: KnownModule = { ast: { ...read.ast, declarations }, functions };
    const result = examine(file, { ...host, known: (path) => (path === file ? own : (host.known?.(path) ?? null)) });
    const diagnostics = [...read.diagnostics, ...result.diagnostics.filter((each) => !followsFrom(each, read.parts))];
    const next = new Map<string, Right>();
    const graphs = new Map<string, SymbolicGraph>();
    for (const { file: home, name, checked, graph } of result.functions) {
      if (home !== file || checked === null || graph === null) continue;
      graphs.set(name, graph);
      const span = checked.declaration.span;
      const key = keys.get(name);
      const told = diagnostics.some(({ labels }) => labels.some((label) => within(label.span, span)));
      if (key !== undefined && !told) next.set(name, { key, checked, start: span.start });
    }
    right.set(file, next);
    for (const [name, recipe] of result.recipes) recipes.set(name, recipe);
    const rightNow = read.ast.declarations.flatMap(({ name: { name }, span }) => {
      const [recipe, key] = [recipes.get(name), keys.get(name)];
      const told = diagnostics.some(({ labels }) => labels.some((label) => within(label.span, span)));
      return recipe === undefined || key === undefined || told ? [] : [[name, { key, recipe }] as const];
    });
    rightRecipes.set(file, new Map(rightNow));
    return { diagnostics, graphs, recipes, scope: result.scope };
  }

  return {
    document,
    names,
    used,
    usedModules,
    meaning,
    parts: (file) => entry(file)?.parts ?? new Map(),
    forget: (file) => void kept.delete(file),
  };
}

/** What each function is made of: its text, that of whatever of its file it names, however far, and the other files. */
function functionKeys(read: Document, others: string): ReadonlyMap<string, string> {
  const declaring = new Map<string, Part>();
  for (const part of read.parts) for (const name of part.names) declaring.set(name, part);
  const uses = read.ast.uses.map(({ modules }) => modules.map(({ path }) => path).join()).join();
  return new Map(
    [...declaring.keys()].map((name) => {
      const reached = new Set([name]);
      for (const each of reached)
        for (const word of declaring.get(each)?.words ?? []) if (declaring.has(word)) reached.add(word);
      return [name, [uses, others, ...[...reached].map((each) => declaring.get(each)?.text ?? "")].join("\0")] as const;
    }),
  );
}

/** A function whose declaration has moved in its file. */
function moved(checked: CheckedFunction, by: number): CheckedFunction {
  if (by === 0 || checked.graph === null) return checked;
  const { file } = checked.declaration.span;
  const move = <T extends Span | null>(span: T): T =>
    span === null || span.file !== file ? span : { ...span, start: span.start + by, end: span.end + by };
  const { graph } = checked;
  return {
    ...checked,
    params: checked.params.map((param) => ({ ...param, span: move(param.span) })),
    graph: {
      ...graph,
      span: move(graph.span),
      values: graph.values.map((value) => ({ ...value, span: move(value.span) })),
      constraints: graph.constraints.map((each) => ({ ...each, span: move(each.span) })),
    },
  };
}

/** Whether a finding is about a declaration that could not be read, or about a name that this may have declared. */
function followsFrom(found: Diagnostic, parts: readonly Part[]): boolean {
  const broken = parts.filter((part) => part.broken);
  const [label] = found.labels;
  if (broken.length === 0 || label === undefined) return false;
  const { span } = label;
  if (broken.some(({ start, end }) => start <= span.start && span.start < end)) return true;
  const lost = broken.flatMap(({ ast, names }) =>
    names.filter((name) => !ast?.declarations.some((declaration) => declaration.name.name === name)),
  );
  return lost.some((name) => found.message.includes(`\`${name}\``));
}

function within(a: Span, b: Span): boolean {
  return a.file === b.file && a.start >= b.start && a.end <= b.end;
}
