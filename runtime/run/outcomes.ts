/** The outcomes of work that was begun and not waited for. */

export interface Outcomes {
  /** Keeps the outcome of work until it is asked for; the first fault is thrown, those that follow from it are not. */
  watch(work: Promise<unknown>): void;
  /**
   * What waits for the work begun so far, not for what follows meanwhile, and throws the first fault that nobody has
   * been notified of.
   */
  mark(): () => Promise<void>;
}

/** Makes a list of outcomes, empty. */
export function createOutcomes(): Outcomes {
  const outstanding = new Set<Promise<unknown>>();
  let failure: { readonly error: unknown } | null = null;
  return {
    watch(work) {
      const settled: Promise<unknown> = work
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => outstanding.delete(settled));
      outstanding.add(settled);
    },
    mark() {
      const begun = [...outstanding];
      return async () => {
        await Promise.all(begun);
        if (failure === null) return;
        const { error } = failure;
        failure = null;
        throw error;
      };
    },
  };
}

/**
 * The results of work that goes on side by side, when all of it has ended: what one part uses may be given back then,
 * also where another has failed. Throws the first failure in their order.
 */
export async function allDone<T extends readonly Promise<unknown>[] | []>(
  work: T,
): Promise<{ -readonly [At in keyof T]: Awaited<T[At]> }> {
  await Promise.allSettled(work);
  return Promise.all(work);
}

/**
 * A promise that may be left alone: if nobody waits for it, its failure ends nothing. Who waits for it is notified of
 * it as ever.
 */
export function mayBeLeft<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}
