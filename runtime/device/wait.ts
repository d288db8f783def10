/** Waits for `promise`; on a CPU the event loop sleeps between turns meanwhile (patience.ts). */
export type Wait = <T>(promise: Promise<T>) => Promise<T>;

/** For GPUs, and for browsers, whose device is in another process: nothing but the promise. */
export const plainWait: Wait = (promise) => promise;
