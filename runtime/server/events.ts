/** Server-sent events to a reader that may be slow. */

export interface EventStream {
  readonly body: ReadableStream<Uint8Array>;
  /** Sends a value as JSON, or a text as it is. After the end, nothing. */
  send(value: unknown): void;
  end(): void;
  readonly isOver: boolean;
}

/**
 * Opens a stream. A reader that has gone, or that lags behind by more than `unread` bytes, ends it: `onGone` hears of
 * that.
 */
export function openEvents(unread: number, onGone: () => void): EventStream {
  const encoder = new TextEncoder();
  let isOver = false;
  let control: ReadableStreamDefaultController<Uint8Array> | null = null;
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        control = controller;
      },
      cancel() {
        isOver = true;
        onGone();
      },
    },
    new ByteLengthQueuingStrategy({ highWaterMark: unread }),
  );
  return {
    body,
    get isOver() {
      return isOver;
    },
    send(value) {
      if (isOver || control === null) return;
      control.enqueue(encoder.encode(`data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`));
      if ((control.desiredSize ?? 0) > 0) return;
      isOver = true;
      // the code of what needs no trace: the reader's own doing
      control.error(Object.assign(new Error("the reader is too slow"), { code: "ERR_STREAM_PREMATURE_CLOSE" }));
      onGone();
    },
    end() {
      if (isOver || control === null) return;
      isOver = true;
      control.close();
    },
  };
}
