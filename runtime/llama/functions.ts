/** The functions of the standard library, by name. */
import { InternalError } from "../../compiler/diagnostic.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";

/** Functions by name. */
export interface Functions {
  get(name: string): SymbolicGraph | undefined;
}

/** The function of that name. @throws InternalError where there is none */
export function functionOf(functions: Functions, name: string): SymbolicGraph {
  const found = functions.get(name);
  if (found === undefined) throw new InternalError(`the standard library has no function ${name}`);
  return found;
}
