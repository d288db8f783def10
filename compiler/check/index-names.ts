import { printSize, sameSize, type Size } from "../types/size.js";
import { typeOf } from "./builder.js";
import type { Place } from "./frame.js";
import { peek, visibleNames, type Binding, type Scope } from "./scope.js";

/** Names for the indices of a tensor, as people give them: the first letter of each axis' size, each name once. */
export function indexNames(shape: readonly Size[], taken: readonly string[] = []): readonly string[] {
  const names: string[] = [];
  for (const size of shape) {
    const letter = printSize(size)
      .toLowerCase()
      .replace(/[^a-z]/g, "")
      .charAt(0);
    const free = [letter, "i", "j", "l", "m", "p", "q", "r"].filter((name) => name !== "" && !taken.includes(name));
    names.push(free.find((name) => !names.includes(name)) ?? `i${names.length}`);
  }
  return names;
}

/** An element of a tensor as it would be written here: of the indices that are bound, those that run over its axes. */
export function elementText(name: string, binding: Binding | undefined, place: Place): string {
  if (binding?.kind === "layer") return place.frame.layer?.of === "vector" ? `${name}[k]` : `${name}[n, k]`;
  if (binding?.kind !== "tensor") return `${name}[...]`;
  const { shape } = typeOf(place.frame.builder, binding.value);
  const bound = boundIndices(place.scope);
  const used: string[] = [];
  const usual = indexNames(shape);
  const kinds = usual.map((each) => peek(place.scope, each)?.binding.kind);
  if (kinds.every((kind) => kind === "index" || kind === "unknown")) return `${name}[${usual.join(", ")}]`;
  const names = shape.map((size, axis) => {
    const found = bound.find((index) => sameSize(index.size, size) && !used.includes(index.name))?.name;
    const chosen = found ?? [usual[axis] ?? "i", ...usual, "i", "j"].find((each) => !used.includes(each)) ?? "i";
    used.push(chosen);
    return chosen;
  });
  return `${name}[${names.join(", ")}]`;
}

/** The indices that are bound here and run from 0 to a size. */
function boundIndices(scope: Scope): readonly { readonly name: string; readonly size: Size }[] {
  return visibleNames(scope).flatMap((name) => {
    const binding = peek(scope, name)?.binding;
    return binding?.kind === "index" && binding.range.high.kind === "size"
      ? [{ name, size: binding.range.high.size }]
      : [];
  });
}
