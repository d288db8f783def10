/** Where a kernel's buffer is bound, and whether it may be written there. */
export interface Place {
  readonly binding: number;
  readonly access: "read" | "read_write";
}

const declaration = /^@group\(0\) @binding\((\d+)\) var<storage, (?:read|read_write)> (\w+): array<([\w<>]+)>;$/gm;

/** The types of the elements of a module's buffers that `emitWgsl` has written, by their bindings. */
export function boundElements(wgsl: string): ReadonlyMap<number, string> {
  return new Map([...wgsl.matchAll(declaration)].map(([, at, , element]) => [Number(at), element!]));
}

/** A module that `emitWgsl` has written, with buffer i bound at `places[i]`. */
export function rebind(wgsl: string, places: readonly Place[]): string {
  return wgsl.replace(declaration, (_, at: string, name: string, element: string) => {
    const { binding, access } = places[Number(at)]!;
    return `@group(0) @binding(${binding}) var<storage, ${access}> ${name}: array<${element}>;`;
  });
}
