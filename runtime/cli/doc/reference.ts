/** What a reference tells of modules: every declaration with its comment, its equation, its types and an example. */
import { check } from "../../../compiler/check/check.js";
import { hasErrors } from "../../../compiler/diagnostic.js";
import { equationOf } from "../../../compiler/documentation/equation.js";
import type { Line } from "../../../compiler/documentation/formula.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { comment, printHead } from "../../../compiler/language-service/describe.js";
import type { Declaration } from "../../../compiler/syntax/ast.js";
import { parse } from "../../../compiler/syntax/parse.js";
import { printExpression } from "../../../compiler/syntax/print.js";
import type { SourceHost } from "../../library.js";
import { DiagnosticsError } from "../failure.js";
import { runWritten, splitComment, type Example } from "./example.js";

/** A declaration. */
export interface Entry {
  readonly kind: Declaration["kind"];
  readonly name: string;
  /** What its comment says, without the example. */
  readonly words: string;
  /** Name and types, as they are laid out. */
  readonly head: string;
  /** None for recipes, which are programs for a model. */
  readonly equation: readonly Line[];
  /** As a command, and what it prints; null where the comment has none. */
  readonly example: { readonly command: string; readonly printed: string } | null;
  /** The declaration as it is written, without its comment. */
  readonly program: string;
}

/** A file. */
export interface ModuleReference {
  /** The name of the file without its ending. */
  readonly name: string;
  readonly file: string;
  /** The comment that the file begins with. */
  readonly words: string;
  readonly entries: readonly Entry[];
}

/**
 * Reads a file. What is wrong with its examples is put into `problems`.
 * @throws DiagnosticsError if it has errors
 */
export function readModule(file: string, host: SourceHost, problems: string[]): ModuleReference {
  const { value, diagnostics } = check(file, host);
  if (value === null || hasErrors(diagnostics)) throw new DiagnosticsError(diagnostics, host.sources);
  const source = host.read(file) ?? "";
  const declarations = parse(source, file).value?.declarations ?? [];
  return {
    name: nameOf(file),
    file,
    words: beginning(source),
    entries: declarations.map((each) => {
      const { words, example } = splitComment(comment(each));
      const graph = each.kind === "function" ? value.functions.get(each.name.name) : undefined;
      const found = graph === undefined || example === null ? null : runWritten(graph, example, host.sources);
      if (typeof found === "string") problems.push(`${file}: ${found}`);
      return {
        kind: each.kind,
        name: each.name.name,
        words,
        head: headOf(each),
        equation: each.kind === "function" ? equationOf(each) : [],
        example:
          graph === undefined || found === null || typeof found === "string" ? null : asCommand(file, graph, found),
        program: source.slice(each.span.start, each.span.end),
      };
    }),
  };
}

function nameOf(file: string): string {
  return (file.split("/").at(-1) ?? file).replace(/\.esp$/, "");
}

/** The comment lines that a file begins with, unless they are of its first declaration. */
function beginning(source: string): string {
  const lines = source.split("\n");
  const end = lines.findIndex((line) => !/^\/\/(?!\/)/.test(line));
  return lines
    .slice(0, Math.max(0, end))
    .map((line) => line.replace(/^\/\/ ?/, ""))
    .join("\n");
}

function headOf(declaration: Declaration): string {
  if (declaration.kind !== "constant") return printHead(declaration);
  const { name, value } = declaration;
  return `const ${name.name} = ${printExpression(value)}`;
}

function asCommand(file: string, graph: SymbolicGraph, { arg, size, printed }: Example): NonNullable<Entry["example"]> {
  const words = [...arg.map((each) => `--arg ${quoted(each)}`), ...size.map((each) => `--size ${each}`)];
  return { command: `espalier run ${quoted(file)} --fn ${graph.name} ${words.join(" ")} --evaluate`, printed };
}

/** For a shell. */
function quoted(text: string): string {
  return /^[\w./=:-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
