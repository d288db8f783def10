import { InternalError, type Checked } from "../diagnostic.js";
import type { Module } from "./ast.js";
import { parse } from "./parse.js";
import { print } from "./print.js";

/**
 * A file in its one layout, or its errors: a file with errors has no layout. What is written stays the same, comments
 * too; formatting again changes nothing.
 */
export function format(source: string, file: string): Checked<string> {
  const { value, diagnostics } = parse(source, file);
  if (value === null) return { value: null, diagnostics };
  const text = print(value);
  const again = parse(text, file).value;
  if (again === null || withoutSpans(again) !== withoutSpans(value))
    throw new InternalError(`the layout of ${file} is not read back as the file`);
  return { value: text, diagnostics: diagnostics.filter(({ severity }) => severity === "error") };
}

/** An Ast as text without its places in the source. */
function withoutSpans(module: Module): string {
  return JSON.stringify(module, (key, value: unknown) => (key === "span" ? undefined : value));
}
