/**
 * Who owns memory of the device: tensors, and whatever else has to be given back, belong to an arena and go with it,
 * however the work that made them ends.
 *
 * ```ts
 * return withArena(executor, async (arena) => {
 *   const x = arena.own(await executor.fill("f32", [4], values)); // released at the end
 *   const y = arena.own(first(await caller.call("square", { x })));
 *   return arena.keep(y); // the caller's
 * });
 * ```
 */
import { DeviceError } from "../device/error.js";
import type { Executor } from "./executor.js";
import type { DeviceTensor } from "./tensor.js";

export interface Arena {
  /**
   * Takes a tensor over, which is released at the end.
   * @throws DeviceError validation when the arena has ended; the tensor is released then
   */
  own(tensor: DeviceTensor): DeviceTensor;
  /** The same for several. */
  ownAll(tensors: readonly DeviceTensor[]): readonly DeviceTensor[];
  /** Something else to be done at the end; what came last is done first. */
  defer(release: () => void): void;
  /** Releases a tensor that the arena owns before its end. */
  release(tensor: DeviceTensor): void;
  /** Gives a tensor that the arena owns to whoever asks for it. */
  keep(tensor: DeviceTensor): DeviceTensor;
}

/** An arena that lives as long as something that is not a call: a session, say. */
export interface OpenArena extends Arena {
  /** Gives everything back; what is owned later is the next round's. */
  clear(): void;
  /** Gives everything back, for good. Twice is harmless. */
  close(): void;
}

/** Opens an arena; who does so closes it. */
export function openArena(executor: Pick<Executor, "release">): OpenArena {
  /** What undoes each thing, in the order in which they came; a tensor stands for itself. */
  const owned = new Map<object, () => void>();
  let isOpen = true;

  function add(key: object, release: () => void): void {
    if (!isOpen) {
      release();
      throw new DeviceError("validation", "Something was made for an arena that has ended.");
    }
    owned.set(key, release);
  }

  function take(tensor: DeviceTensor): () => void {
    const release = owned.get(tensor);
    if (release === undefined) throw new DeviceError("validation", "A tensor is not of the arena that is to give it.");
    owned.delete(tensor);
    return release;
  }

  function clear(): void {
    const failures: unknown[] = [];
    for (const [key, release] of [...owned].reverse()) {
      owned.delete(key);
      try {
        release();
      } catch (error) {
        failures.push(error);
      }
    }
    if (failures.length > 0) throw failures[0];
  }

  function own(tensor: DeviceTensor): DeviceTensor {
    add(tensor, () => executor.release(tensor));
    return tensor;
  }

  return {
    own,
    ownAll(tensors) {
      // each is taken over, also where the first finds that the arena has ended
      const failures: unknown[] = [];
      for (const tensor of tensors) {
        try {
          own(tensor);
        } catch (error) {
          failures.push(error);
        }
      }
      if (failures.length > 0) throw failures[0];
      return tensors;
    },
    defer: (release) => add({}, release),
    release: (tensor) => take(tensor)(),
    keep(tensor) {
      take(tensor);
      return tensor;
    },
    clear,
    close() {
      isOpen = false;
      clear();
    },
  };
}

/** Does work in an arena of its own: at its end, good or bad, what the arena still owns is given back. */
export async function withArena<T>(
  executor: Pick<Executor, "release">,
  work: (arena: Arena) => Promise<T>,
): Promise<T> {
  return ending(executor, work, true);
}

/**
 * Makes something that owns memory: if that fails, what the arena owns is given back, else it lives on and is for the
 * result to close.
 */
export async function building<T>(
  executor: Pick<Executor, "release">,
  work: (arena: OpenArena) => Promise<T>,
): Promise<T> {
  return ending(executor, work, false);
}

async function ending<T>(
  executor: Pick<Executor, "release">,
  work: (arena: OpenArena) => Promise<T>,
  closes: boolean,
): Promise<T> {
  const arena = openArena(executor);
  let result: T;
  try {
    result = await work(arena);
  } catch (error) {
    try {
      arena.close();
    } catch {
      // the first error says more
    }
    throw error;
  }
  if (closes) arena.close();
  return result;
}
