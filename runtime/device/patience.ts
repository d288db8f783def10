/** Waiting for the CPU driver without taking the processor from it. */

import type { Wait } from "./wait.js";

/** Milliseconds that one turn of the event loop sleeps: short at first, so that short work is not delayed. */
const shortest = 0.02;
const longest = 1;

/**
 * While one of its promises is pending, dawn.node polls without a pause. On a GPU that is harmless;
 * the CPU driver, though, computes on the very cores that the polling takes: on 2 cores it made
 * products 1.6 times and short dispatches 10 times slower. So each turn of the event loop sleeps
 * a little while anything is awaited.
 */
export function makePatientWait(): Wait {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  let waiting = 0;
  let turning = false; // one chain of turns, also for operations that follow on each other
  let pause = shortest;

  function turn(): void {
    turning = waiting > 0;
    if (!turning) return;
    Atomics.wait(cell, 0, 0, pause);
    pause = Math.min(longest, pause * 1.5);
    setImmediate(turn);
  }

  return async (promise) => {
    pause = shortest;
    waiting++;
    if (!turning) setImmediate(turn);
    turning = true;
    try {
      return await promise;
    } finally {
      waiting--;
    }
  };
}
