/** Ending a command that is asked to stop. */

const signals = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/**
 * Runs `clean` (at once and to its end, so without promises) when the process is asked to stop, then ends it with the
 * code that shells give to such an end. The function returned takes this back.
 */
export function onInterrupt(clean: () => void, note: (line: string) => void): () => void {
  const handlers = Object.entries(signals).map(([signal, code]) => {
    const handler = (): void => {
      try {
        clean();
      } catch (error) {
        note(`error: cleaning up failed: ${error instanceof Error ? error.message : String(error)}`);
      }
      process.exit(code);
    };
    process.once(signal, handler);
    return { signal, handler };
  });
  return () => {
    for (const { signal, handler } of handlers) process.removeListener(signal, handler);
  };
}
