import type { Span } from "../diagnostic.js";
import type { SymbolicGraph, ValueId } from "../graph/graph.js";
import type { Expr, FunctionDeclaration } from "../syntax/ast.js";

/** A function and what it means; `graph` is null where it has errors, which have been reported. */
export interface CheckedFunction {
  readonly declaration: FunctionDeclaration;
  readonly params: readonly CheckedParam[];
  readonly graph: SymbolicGraph | null;
}

/** A parameter: a `size` is a symbol of the graph, everything else an input. */
export type CheckedParam =
  | { readonly kind: "size"; readonly name: string; readonly fallback: Expr | null; readonly span: Span }
  | {
      readonly kind: "tensor";
      readonly name: string;
      readonly input: ValueId;
      readonly mutable: boolean;
      readonly fallback: Expr | null;
      readonly span: Span;
    };
