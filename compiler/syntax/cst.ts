import type { CstNode, IToken } from "chevrotain";
import { InternalError } from "../diagnostic.js";

/** Typed access to chevrotain's concrete tree. A missing child is a fault of the grammar or of the caller. */

/** The nodes under `label`, in order. */
export function nodes(node: CstNode, label: string): readonly CstNode[] {
  return (node.children[label] ?? []).filter((child): child is CstNode => "children" in child);
}

/** The tokens under `label`, in order. */
export function tokensOf(node: CstNode, label: string): readonly IToken[] {
  return (node.children[label] ?? []).filter((child): child is IToken => !("children" in child));
}

/** The node under `label`, or null. */
export function optionalNode(node: CstNode, label: string): CstNode | null {
  return nodes(node, label)[0] ?? null;
}

/** The token under `label`, or null. */
export function optionalToken(node: CstNode, label: string): IToken | null {
  return tokensOf(node, label)[0] ?? null;
}

/** The node under `label`. */
export function child(node: CstNode, label: string): CstNode {
  const found = optionalNode(node, label);
  if (!found) throw new InternalError(`the parser's \`${node.name}\` has no \`${label}\``);
  return found;
}

/** The token under `label`. */
export function token(node: CstNode, label: string): IToken {
  const found = optionalToken(node, label);
  if (!found) throw new InternalError(`the parser's \`${node.name}\` has no token \`${label}\``);
  return found;
}

/** The only child, whatever its name: of a rule that is a choice. */
export function only(node: CstNode): CstNode {
  for (const children of Object.values(node.children)) {
    const first = children?.[0];
    if (first && "children" in first) return first;
  }
  throw new InternalError(`the parser's \`${node.name}\` is empty`);
}

/** Where the node begins and ends (exclusive). */
export function extent(node: CstNode): { readonly start: number; readonly end: number } {
  const location = node.location;
  if (!location) throw new InternalError(`the parser's \`${node.name}\` has no place`);
  return { start: location.startOffset, end: (location.endOffset ?? location.startOffset) + 1 };
}
