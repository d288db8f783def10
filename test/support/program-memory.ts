import type { Program } from "../../compiler/plan/program.js";

/** Bytes that a run of a program needs at most. */
export interface ProgramMemory {
  /** Of its inputs. */
  readonly inputs: number;
  /** Of outputs and temporaries, all that live at once. */
  readonly live: number;
  /** The same where memory is used again for buffers of the same size only, as the executor does. */
  readonly taken: number;
}

/** What memory the steps of a program take. Outputs are counted as made by the run. */
export function memoryOf(program: Program): ProgramMemory {
  const bytesOf = (buffer: number): number => program.buffers[buffer]?.bytes ?? 0;
  const idle = new Map<number, number>();
  let [now, live, taken] = [0, 0, 0];
  for (const step of program.steps) {
    if (step.kind !== "alloc" && step.kind !== "free") continue;
    const bytes = bytesOf(step.buffer);
    const spare = idle.get(bytes) ?? 0;
    if (step.kind === "free") {
      now -= bytes;
      idle.set(bytes, spare + 1);
      continue;
    }
    now += bytes;
    live = Math.max(live, now);
    if (spare > 0) idle.set(bytes, spare - 1);
    else taken += bytes;
  }
  const inputs = new Set(program.inputs.map(({ buffer }) => buffer));
  return { inputs: [...inputs].reduce((sum, buffer) => sum + bytesOf(buffer), 0), live, taken };
}
