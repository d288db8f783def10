import type { Span } from "../diagnostic.js";
import type { Range, Scalar, ValueId } from "../graph/graph.js";
import type { DtypeRef } from "../types/dtype.js";
import type { Size } from "../types/size.js";

/** What a name stands for. */
export type Binding =
  /** A tensor or scalar of the Graph. `mutable`: a `var`, which updates bind anew. */
  | { readonly kind: "tensor"; readonly value: ValueId; readonly mutable: boolean }
  /** A compile-time integer: a size symbol, a `size` parameter, or what was computed of such. */
  | { readonly kind: "size"; readonly size: Size }
  /** A constant without a dtype: it adapts to what it meets. */
  | { readonly kind: "number"; readonly value: number; readonly integer: boolean }
  | { readonly kind: "boolean"; readonly value: boolean }
  /** A recipe's parameter that is a name pattern. */
  | { readonly kind: "string"; readonly value: string }
  /** A constant list of numbers. */
  | { readonly kind: "table"; readonly values: readonly number[] }
  | { readonly kind: "index"; readonly range: Range }
  /** In a `scan`: what is computed of the step and of elements that no step changes, put in wherever it is used. */
  | { readonly kind: "scalar"; readonly scalar: Scalar; readonly dtype: DtypeRef }
  /** The model, its text, a block of it, and a linear layer: what only recipes have. */
  | { readonly kind: "model" | "text" | "block" }
  | { readonly kind: "layer" }
  /** The result of `observe`; `x[w]` is the statistic of a layer. */
  | { readonly kind: "statistic"; readonly observe: number }
  /** What a loop measures of each layer: all together once the loop is over, `x[w]` that of a layer. */
  | { readonly kind: "measured"; readonly measure: number }
  /** Something that has been reported already: whatever uses it stays silent. */
  | { readonly kind: "unknown" };

/** A name in a scope. `warn`: an unused `let`, to be reported. */
export interface Entry {
  binding: Binding;
  readonly span: Span | null;
  readonly warn: boolean;
  used: boolean;
}

/** Names by nesting: those of a scope hide those of its parent. Local to the checking of one function. */
export interface Scope {
  readonly parent: Scope | null;
  readonly entries: Map<string, Entry>;
  /** The names of blocks in it that are over: seen no more. */
  readonly ended: Map<string, Entry>;
}

/** A scope inside another. */
export function nest(parent: Scope | null): Scope {
  return { parent, entries: new Map(), ended: new Map() };
}

/** Binds a name. */
export function bind(scope: Scope, name: string, binding: Binding, span: Span | null = null, warn = false): void {
  scope.entries.set(name, { binding, span, warn, used: false });
}

/** The entry of a name without marking it used. */
export function peek(scope: Scope, name: string): Entry | null {
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    const entry = at.entries.get(name);
    if (entry !== undefined) return entry;
  }
  return null;
}

/** What a name stands for, or null; marks it used. */
export function lookup(scope: Scope, name: string): Binding | null {
  const entry = peek(scope, name);
  if (entry === null) return null;
  entry.used = true;
  return entry.binding;
}

/** Where a name is declared in a block that is over, or null; marks it used. */
export function endedAt(scope: Scope, name: string): Span | null {
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    const entry = at.ended.get(name);
    if (entry === undefined) continue;
    entry.used = true;
    return entry.span;
  }
  return null;
}

/** Every name that can be seen from a scope. */
export function visibleNames(scope: Scope): readonly string[] {
  const names: string[] = [];
  for (let at: Scope | null = scope; at !== null; at = at.parent) names.push(...at.entries.keys());
  return names;
}
