/** What a whole model takes: tokens a second of decoding and of prompts, the host's share included. */
import type { ScheduleChoices } from "../../compiler/compile.js";
import { printFormat } from "../../compiler/formats/registry.js";
import type { SymbolicGraph } from "../../compiler/graph/graph.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import type { Device } from "../device/device.js";
import { createCaller } from "../llama/call.js";
import { createDecoder } from "../llama/inference/decode.js";
import { first } from "../llama/results.js";
import type { ActivationChoice } from "../llama/rounding.js";
import type { Session } from "../llama/inference/session.js";
import type { LlamaConfig } from "../model/config.js";
import { createExecutor, type Executor } from "../run/run.js";
import { withArena, type Arena } from "../run/arena.js";
import { targetOf } from "../run/target.js";
import { syntheticSession } from "./synthetic.js";

/** Decoding of so many sequences at once. */
export interface DecodeRow {
  readonly format: string;
  readonly sequences: number;
  /** Tokens that each sequence has seen when the timed steps begin. */
  readonly context: number;
  /** Of all sequences together. */
  readonly tokensPerSecond: number;
  readonly msPerStep: number;
  /** Of it, what the host spends recording and submitting: of the steps the median, for others interrupt it. */
  readonly hostMsPerStep: number;
  readonly dispatchesPerStep: number;
}

/** A prompt that a model sees at once. */
export interface PrefillRow {
  readonly format: string;
  readonly tokens: number;
  readonly tokensPerSecond: number;
  readonly ms: number;
}

export interface ModelBenchReport {
  readonly device: string;
  readonly shape: string;
  readonly blocks: number;
  readonly decode: readonly DecodeRow[];
  readonly prefill: readonly PrefillRow[];
  /** With `profile`: GPU time by kernel over one step, or one prompt, of the row that it follows. */
  readonly kernels: readonly ModelKernelRow[];
}

export interface ModelKernelRow {
  readonly row: string;
  readonly kernel: string;
  readonly schedule: string;
  readonly dispatches: number;
  readonly us: number;
}

export interface ModelBenchOptions {
  readonly shape: string;
  readonly config: LlamaConfig;
  /** Those of the standard library. */
  readonly functions: ReadonlyMap<string, SymbolicGraph>;
  /** The schedules that were found for the device. */
  readonly choices: ScheduleChoices;
  readonly formats: readonly FormatSpec[];
  readonly activations: ActivationChoice;
  readonly sequences: readonly number[];
  readonly contexts: readonly number[];
  /** Lengths of prompts. */
  readonly prompts: readonly number[];
  /** Also measure each kernel, with a pass of its own around each dispatch. */
  readonly profile: boolean;
  /** Steps of decoding that are timed; 64 by default. */
  readonly steps?: number;
  /** Time before that, in which a GPU's clocks come up; 1500 ms by default. */
  readonly warmUpMs?: number;
}

/** How long each row is timed. */
interface Pace {
  readonly steps: number;
  readonly warmUpMs: number;
}

/**
 * Builds the model of each format from random weights on the device and times what `generate` does with a real one.
 * `progress` receives each row.
 * @throws DeviceError, LlamaError
 */
export async function benchModel(
  device: Device,
  options: ModelBenchOptions,
  progress: (done: number, total: number) => void,
): Promise<ModelBenchReport> {
  const decode: DecodeRow[] = [];
  const prefill: PrefillRow[] = [];
  const kernels: ModelKernelRow[] = [];
  const pace: Pace = { steps: options.steps ?? 64, warmUpMs: options.warmUpMs ?? 1500 };
  const total = options.formats.length * (options.sequences.length * options.contexts.length + options.prompts.length);
  for (const spec of options.formats) {
    const format = printFormat(spec, "short");
    for (const profile of options.profile ? [false, true] : [false]) {
      const executor = await createExecutor(device, { profile });
      try {
        const caller = createCaller(executor, targetOf(device), options.functions, {
          choices: options.choices,
          interleave: true,
        });
        const session = await syntheticSession(caller, options.config, spec, options.activations);
        try {
          const noted = async (row: string, runs: number): Promise<void> => {
            for (const { kernel, schedule, dispatches, nanoseconds } of await executor.profile())
              kernels.push({ row, kernel, schedule, dispatches: dispatches / runs, us: nanoseconds / runs / 1000 });
          };
          for (const sequences of options.sequences)
            for (const context of options.contexts) {
              const row = await timeDecode(session, executor, pace, { format, sequences, context });
              if (profile) await noted(`${format}, ${sequences} x 1 token after ${context}`, pace.steps);
              else progress(decode.push(row) + prefill.length, total);
            }
          for (const tokens of options.prompts) {
            const { runs, ...row } = await timePrefill(session, executor, pace, { format, tokens });
            if (profile) await noted(`${format}, a prompt of ${tokens}`, runs);
            else progress(prefill.push(row) + decode.length, total);
          }
        } finally {
          session.release();
        }
      } finally {
        executor.close();
      }
    }
  }
  return { device: device.name, shape: options.shape, blocks: options.config.layers, decode, prefill, kernels };
}

async function timeDecode(
  session: Session,
  executor: Executor,
  { steps, warmUpMs }: Pace,
  given: { readonly format: string; readonly sequences: number; readonly context: number },
): Promise<DecodeRow> {
  const { sequences, context } = given;
  return withArena(executor, async (arena) => {
    const cache = await filledCache(arena, session, executor, sequences, context + 1 + steps);
    const start = new Int32Array(sequences).fill(context);
    const ids = arena.own(
      await executor.fill(
        "i32",
        [sequences, 1],
        Int32Array.from({ length: sequences }, (_, at) => 1 + at),
      ),
    );
    const positions = arena.own(await executor.fill("i32", [sequences], start));
    const decoder = await createDecoder(
      arena,
      session.caller,
      session,
      cache,
      { ids, positions },
      async (calls, found) => first(await calls.call("greedy", { logits: found })),
    );
    await warmUp(warmUpMs, async () => {
      await executor.write(positions, start);
      for (let step = 0; step < 8; step++) decoder.step();
      await executor.finish();
    });
    await executor.write(positions, start);
    await executor.finish();
    await executor.profile();
    const host: number[] = [];
    const started = performance.now();
    let reading = executor.values(ids);
    for (let step = 0; step < steps; step++) {
      const recording = performance.now();
      decoder.step();
      // as `generate` does: the read of a token is on its way while the next is computed
      const next = executor.values(ids);
      host.push(performance.now() - recording);
      await reading;
      reading = next;
    }
    await reading;
    const ms = performance.now() - started;
    return {
      ...given,
      tokensPerSecond: (1000 * sequences * steps) / ms,
      msPerStep: ms / steps,
      hostMsPerStep: median(host),
      dispatchesPerStep: decoder.dispatches,
    };
  });
}

/**
 * Runs until no run has become clearly faster for so long, up to five times as long: where the host has compiled for
 * seconds, a GPU's clocks come back late, and little by little.
 */
async function warmUp(ms: number, run: () => Promise<unknown>): Promise<void> {
  const started = performance.now();
  let [since, mark] = [started, Infinity];
  for (;;) {
    const begun = performance.now();
    await run();
    const now = performance.now();
    if (now - begun < 0.97 * mark) [since, mark] = [now, now - begun];
    if (now - since >= ms || now - started >= 5 * ms) return;
  }
}

async function timePrefill(
  session: Session,
  executor: Executor,
  { warmUpMs }: Pace,
  given: { readonly format: string; readonly tokens: number },
): Promise<PrefillRow & { readonly runs: number }> {
  const { tokens } = given;
  return withArena(executor, async (arena) => {
    const cache = await filledCache(arena, session, executor, 1, tokens);
    const ids = arena.own(
      await executor.fill(
        "i32",
        [1, tokens],
        Int32Array.from({ length: tokens }, (_, at) => 1 + (at % 1000)),
      ),
    );
    const positions = arena.own(await executor.fill("i32", [1], [0]));
    const once = async (): Promise<number> => {
      const begun = performance.now();
      executor.release(await session.forward(ids, positions, cache));
      await executor.finish();
      return performance.now() - begun;
    };
    await warmUp(warmUpMs, once);
    await executor.profile();
    const runs = 5;
    const times: number[] = [];
    for (let run = 0; run < runs; run++) times.push(await once());
    const ms = median(times);
    return { ...given, tokensPerSecond: (1000 * tokens) / ms, ms, runs };
  });
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}

/** A cache of zeros, which a model reads as well as any. */
async function filledCache(
  arena: Arena,
  session: Session,
  executor: Executor,
  sequences: number,
  tokens: number,
): ReturnType<Session["allocateCache"]> {
  const cache = await session.allocateCache(sequences, Math.ceil(tokens / 64) * 64);
  arena.defer(() => session.releaseCache(cache));
  const piece = new Uint8Array(2 ** 24);
  for (const { keys, values } of cache.blocks)
    for (const tensor of [keys, values])
      for (let done = 0; done < tensor.bytes; done += piece.length)
        await executor.write(tensor, piece.subarray(0, Math.min(piece.length, tensor.bytes - done)), done);
  return cache;
}
