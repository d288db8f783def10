/** Where a kernel's buffer is bound, and whether it may be written there. */
export interface Place {
  readonly binding: number;
  readonly access: "read" | "read_write";
}

const declaration = /^@group\(0\) @binding\((\d+)\) var<storage, (?:read|read_write)> (\w+): array<([\w<>]+)>;$/gm;

/** The type of the elements of each buffer of a module that `emitWgsl` has written, in the order of its bindings. */
export function boundElements(wgsl: string): readonly string[] {
  return [...wgsl.matchAll(declaration)].map(([, , , element]) => element!);
}

/** The bindings that a module declares: of a group that several share some only. */
export function declaredBindings(wgsl: string): readonly number[] {
  return [...wgsl.matchAll(declaration)].map(([, at]) => Number(at));
}

/** A module that `emitWgsl` has written, with buffer i bound at `places[i]`. */
export function rebind(wgsl: string, places: readonly Place[]): string {
  return wgsl.replace(declaration, (_, at: string, name: string, element: string) => {
    const { binding, access } = places[Number(at)]!;
    return `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${element}>;`;
  });
}
