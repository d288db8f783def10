/** Finding the cuts with which a model's passes are fastest on a device. */
import type { Cut, ScheduleChoices } from "../../compiler/compile.js";
import type { Session } from "../llama/inference/session.js";
import { withArena } from "../run/arena.js";
import { search, type Trial } from "./search.js";
import { readyWorkload, type Workload } from "./workload.js";

export interface TuneOptions {
  /** What is known before: it is taken as it is, and no key of it is tried again. */
  readonly known: ScheduleChoices;
  /** For all trials together; what was found until then is kept. */
  readonly seconds: number;
  readonly onProgress?: (done: number, total: number, note: string) => void;
}

export interface TuneReport {
  readonly workloads: readonly TunedWorkload[];
  /** Those that were known, and each that makes a workload faster. */
  readonly choices: ScheduleChoices;
}

export interface TunedWorkload extends Workload {
  /** ms of its passes through the blocks of the session: as they are without a choice, and with all. */
  readonly msBefore: number;
  readonly msAfter: number;
  readonly keys: readonly TunedKey[];
  readonly trials: readonly Trial[];
}

/** What became of a key. */
export interface TunedKey {
  readonly key: string;
  readonly candidates: number;
  /** The cut that is taken by itself, and the one that is taken now. */
  readonly usual: Cut;
  readonly chosen: ScheduleChoices[string];
}

/**
 * Tries the candidates of the products and attentions in the passes of a session, each held to the plain schedules
 * before it is timed.
 * @throws DeviceError, LlamaError
 */
export async function tune(
  session: Session,
  workloads: readonly Workload[],
  { known, seconds, onProgress }: TuneOptions,
): Promise<TuneReport> {
  const until = performance.now() + 1000 * seconds;
  // what one leaves is for those after it
  const shareOf = (at: number): number =>
    performance.now() + Math.max(0, until - performance.now()) / (workloads.length - at);
  const done: TunedWorkload[] = [];
  let choices = known;
  let tried = 0;
  for (const [at, workload] of workloads.entries())
    await withArena(session.caller.executor, async (arena) => {
      const ready = await readyWorkload(arena, session, workload);
      const end = shareOf(at);
      const open = ready.tunables.filter(({ key }) => !Object.hasOwn(choices, key.text));
      const found = await search(
        open,
        choices,
        (table, most) => {
          tried++;
          onProgress?.(done.length, workloads.length, `trial ${tried}`);
          return ready.measure(table, most);
        },
        () => performance.now() < end,
      );
      choices = found.choices;
      done.push({
        ...workload,
        msBefore: found.msBefore,
        msAfter: found.msAfter,
        trials: found.trials,
        keys: open.map(({ key, cuts }) => ({
          key: key.text,
          candidates: cuts.length,
          usual: cuts[0]!,
          chosen: choices[key.text] ?? { ...cuts[0]! },
        })),
      });
      onProgress?.(done.length, workloads.length, `trial ${tried}`);
    });
  return { workloads: done, choices };
}
