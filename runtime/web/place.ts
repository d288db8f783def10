/** A compression that writes to memory: what it has finished, and the models that it makes. */
import type { DirectoryPlan, DirectoryWriter } from "../model/directory-plan.js";
import { ModelError, quoted } from "../model/error.js";
import { layoutFile } from "../model/safetensors-layout.js";
import { mapDirectory } from "./directory.js";
import { openModelIn } from "../model/opened.js";
import { scriptTokenizers } from "./tokenizers.js";
import type { Place } from "../llama/compression/place.js";
import { noFacts } from "../llama/long-runs/facts.js";
import type { WeightRecord } from "../llama/long-runs/manifest.js";
import type { SavedState } from "../llama/long-runs/saved-state.js";
import type { Spill } from "../llama/long-runs/spill.js";

/** The files of models by the paths that they were written to. */
export type WrittenModels = Map<string, ReadonlyMap<string, Uint8Array>>;

/** A place in memory; `models` receives what is written. A run that is stopped leaves nothing. */
export function memoryPlace(version: string, models: WrittenModels): Place {
  return {
    version,
    async hash(text) {
      const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
      return `sha256:${[...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}`;
    },
    realPath: async (path) => path,
    within: (directory, name) => `${directory}/${name}`,
    async checkOutputs(_, __, { output, force }) {
      if (force !== true && models.has(output))
        throw new ModelError(
          "M150",
          `The output ${quoted(output)} exists already.`,
          "replace it (force), or choose another",
        );
      return [];
    },
    openState: async () => memoryState(models),
    openModel: async (directory) => {
      const files = models.get(directory);
      return files === undefined ? null : openModelIn(mapDirectory(directory, files), scriptTokenizers);
    },
    keptTraining: async () => null,
    keepTraining: async () => undefined,
    forgetTraining: async () => undefined,
    createDirectory: async (path, plan) => memoryDirectory(path, plan, models),
    announce: async (directory) => ({ directory, files: [] }),
    stands: async () => false,
    createSpill: async (slots, slotBytes) => memorySpill(slots, slotBytes),
  };
}

function memoryState(models: WrittenModels): SavedState {
  const weights = new Map<string, WeightRecord>();
  const bytes = new Map<string, Uint8Array>();
  return {
    directory: "",
    finished: 0,
    facts: noFacts,
    weights,
    async add(record, pieces) {
      const whole = new Uint8Array(record.bytes);
      let end = 0;
      for await (const piece of pieces) {
        whole.set(piece, end);
        end += piece.length;
      }
      if (end !== record.bytes) throw new RangeError(`${record.name} has ${record.bytes} bytes, not ${end}`);
      weights.set(record.name, record);
      bytes.set(record.name, whole);
    },
    async read(name, target, begin) {
      const found = bytes.get(name);
      if (found === undefined) throw new RangeError(`${name} is not finished`);
      target.set(found.subarray(begin, begin + target.length));
    },
    commit: async () => undefined,
    leave: async () => null,
    async remove() {
      bytes.clear();
      weights.clear();
      for (const path of [...models.keys()]) if (path.startsWith("/narrowed-")) models.delete(path);
    },
  };
}

/** One file of weights, whatever its size: it is in memory anyway. */
async function memoryDirectory(path: string, plan: DirectoryPlan, models: WrittenModels): Promise<DirectoryWriter> {
  const { header, dataStart, places, bytes } = layoutFile(plan.layouts, new Map([["format", "pt"]]));
  const weights = new Uint8Array(bytes);
  weights.set(header);
  const done = new Map<string, number>();
  const companions = await plan.source.companions();
  return {
    bytes: bytes - dataStart,
    staging: path,
    async append(name, piece) {
      const place = places.get(name);
      const at = done.get(name) ?? 0;
      if (place === undefined) throw new RangeError(`the plan has no tensor ${name}`);
      if (at + piece.length > place.end - place.begin) throw new RangeError(`tensor ${name} has too many bytes`);
      weights.set(piece, dataStart + place.begin + at);
      done.set(name, at + piece.length);
    },
    async finish(before) {
      for (const [name, { begin, end }] of places)
        if ((done.get(name) ?? 0) !== end - begin) throw new RangeError(`tensor ${name} lacks bytes`);
      const files = new Map<string, Uint8Array>([["model.safetensors", weights]]);
      for (const { name, read } of companions) files.set(name, await read());
      for (const [name, text] of plan.texts()) files.set(name, new TextEncoder().encode(text));
      await before?.(path, path);
      models.set(path, files);
      return { directory: path, files: [...files.keys()].sort(), bytes: bytes - dataStart };
    },
    discard: async () => undefined,
  };
}

function memorySpill(slots: number, slotBytes: number): Spill {
  const kept = new Map<number, Uint8Array>();
  return {
    bytes: slots * slotBytes,
    async write(slot, bytes) {
      kept.set(slot, bytes.slice());
    },
    async read(slot, target) {
      const found = kept.get(slot);
      if (found === undefined) throw new RangeError(`nothing is in slot ${slot}`);
      target.set(found.subarray(0, target.length));
    },
    async close() {
      kept.clear();
    },
  };
}
