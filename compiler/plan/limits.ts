/** What a device cannot hold of a graph, reported before anything is lowered. */
import type { Diagnostic } from "../diagnostic.js";
import type { ConcreteGraph } from "../graph/graph.js";
import type { StorageMap } from "../graph/storage.js";

/** What is asked of a device here. */
export interface BindingLimit {
  readonly name: string;
  /** Bytes of one storage binding. */
  readonly maxBinding: number;
}

/** A diagnostic for each tensor that takes more bytes than the device binds at once. */
export function unbindable(graph: ConcreteGraph, storage: StorageMap, target: BindingLimit): readonly Diagnostic[] {
  const reported = new Set<string>();
  return graph.values.flatMap(({ id, name, type, span }): Diagnostic[] => {
    const stored = storage[id];
    if (stored === null || stored === undefined || stored.bytes <= target.maxBinding || reported.has(stored.name))
      return [];
    reported.add(stored.name);
    const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;
    return [
      {
        code: "E609",
        severity: "error",
        message: `\`${name}\` of \`${graph.name}\`, with the shape [${type.shape.join(", ")}], takes ${mebibytes(stored.bytes)}, and ${target.name} binds at most ${mebibytes(target.maxBinding)} at once`,
        labels: span === null ? [] : [{ span, message: "this one" }],
        notes: [],
        help: "use a device that binds more, or smaller sizes",
      },
    ];
  });
}
