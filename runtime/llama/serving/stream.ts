/** Values that one side makes and another reads in its own time. */

export interface Stream<T> {
  push(value: T): void;
  /** No more come, or the reader is told what went wrong, after those that are there. Only the first counts. */
  end(): void;
  fail(error: unknown): void;
  /** For one reader, once. */
  readonly values: AsyncIterable<T>;
}

/** Makes a stream; `onLeave` hears of a reader that stops before the end, or at it. */
export function createStream<T>(onLeave: () => void): Stream<T> {
  const waiting: T[] = [];
  let taken = 0;
  let ended: { readonly error: unknown } | "well" | null = null;
  let wake = (): void => {};

  async function* read(): AsyncGenerator<T, void, undefined> {
    try {
      for (;;) {
        for (; taken < waiting.length; ) {
          const value = waiting[taken++]!;
          if (taken === waiting.length) waiting.length = taken = 0;
          yield value;
        }
        if (ended !== null) {
          if (ended !== "well") throw ended.error;
          return;
        }
        await new Promise<void>((resolve) => (wake = resolve));
      }
    } finally {
      onLeave();
    }
  }

  return {
    push(value) {
      waiting.push(value);
      wake();
    },
    end() {
      ended ??= "well";
      wake();
    },
    fail(error) {
      ended ??= { error };
      wake();
    },
    values: read(),
  };
}
