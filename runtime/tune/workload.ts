/** What is timed while schedules are tried: the passes of a session, by tables of cuts, held to the plain schedules. */
import {
  compileFunction,
  compileStages,
  tunables,
  type ScheduleChoices,
  type Tunable,
} from "../../compiler/compile.js";
import { CompileError } from "../../compiler/diagnostic.js";
import { f16Bits } from "../../compiler/float.js";
import { DeviceError } from "../device/device.js";
import { bind, createCaller, type Caller, type Compiled } from "../llama/call.js";
import { createChain, type BoundChain, type ChainValue } from "../llama/inference/chain.js";
import { forward, logits, type Cache, type Layers } from "../llama/inference/pass.js";
import type { Session } from "../llama/inference/session.js";
import { roundingFor } from "../llama/rounding.js";
import { withArena, type Arena } from "../run/arena.js";
import type { DeviceTensor, HostValues, Prepared } from "../run/run.js";
import type { Measured } from "./search.js";
import { functionOf } from "../llama/functions.js";

/** Tokens that go through a model at once. */
export interface Workload {
  /** Sequences, and the tokens of each. */
  readonly batch: number;
  readonly tokens: number;
  /** Tokens that each has seen before. */
  readonly context: number;
}

/** A workload whose passes can be timed by tables of cuts. */
export interface ReadyWorkload {
  /** What has a choice in it, in order. */
  readonly tunables: readonly Tunable[];
  /** By a table: its results first, against the plain schedules', then its time. */
  measure(choices: ScheduleChoices, most: number): Promise<Measured>;
}

/**
 * The errors that results may have, over the root mean square of the plain schedules': sums in another order, of values
 * that are rounded to f16 at each equation; rounded to int8, where one that is moved over the middle between two codes
 * moves by a whole step.
 */
const allowedError = { f32: 1e-4, f16: 5e-3, int8: 3e-2 } as const;

/** Time of a sample, ms, and samples. */
const sampleMs = 15;
const samples = 3;

/** What the clocks of a GPU need to come up, ms: while something is compiled and checked they go down. */
const warmUpMs = 200;

/**
 * Makes a workload of a session's model ready; the arena owns what it has on the device. A decoding step ends in logits,
 * a prompt in the activations after the last block.
 * @throws DeviceError
 */
export async function readyWorkload(arena: Arena, session: Session, workload: Workload): Promise<ReadyWorkload> {
  const { caller, config, dtype } = session;
  const { executor } = caller;
  const { batch, tokens, context } = workload;
  const cache = await session.allocateCache(batch, Math.ceil((context + tokens) / 64) * 64);
  arena.defer(() => session.releaseCache(cache));
  await fillCache(session, cache);
  const ids = arena.own(
    await executor.fill(
      "i32",
      [batch, tokens],
      Int32Array.from({ length: batch * tokens }, (_, at) => 1 + ((7 * at) % (config.vocabSize - 1))),
    ),
  );
  const positions = arena.own(await executor.fill("i32", [batch], new Int32Array(batch).fill(context)));
  const pick = arena.own(await executor.fill("i32", [batch], new Int32Array(batch)));
  const layers: Layers = { ...session };
  const alone: Layers = { ...layers, blocks: session.blocks.slice(0, 1) };

  /** The passes of these layers as one program; its results stay as long as the arena lives. */
  async function bound(
    within: Arena,
    by: Caller,
    some: Layers,
  ): Promise<{ readonly chain: BoundChain; readonly results: readonly DeviceTensor[] }> {
    const chain = createChain(within, by, "tune");
    const x = await forward(chain, some, ids, positions, cache);
    const results: readonly ChainValue[] = tokens === 1 ? [x, await logits(chain, some, x, pick)] : [x];
    const made = await chain.bind(results);
    return { chain: made, results: results.map((value) => made.tensor(value)) };
  }

  async function resultsOf(by: Caller): Promise<readonly HostValues[]> {
    return withArena(executor, async (within) => {
      const { chain, results } = await bound(within, by, alone);
      chain.replay();
      const values: HostValues[] = [];
      for (const tensor of results) values.push(await executor.values(tensor));
      return values;
    });
  }

  const functions = functionsOf(caller);
  const plain = createCaller(executor, caller.target, caller.functions, {
    schedule: "loops",
    fuse: false,
    merge: false,
  });
  const expected = await resultsOf(plain);
  const int8 = session.blocks.some(
    (block) => roundingFor(session.activations, block, caller.target, batch * tokens) !== null,
  );
  const allowed = allowedError[int8 ? "int8" : dtype];
  const checked = new Set<string>();

  async function checkedTime(choices: ScheduleChoices, most: number): Promise<Measured> {
    const by = functions.caller(choices);
    const text = JSON.stringify(choices);
    if (!checked.has(text)) {
      const error = errorOf(await resultsOf(by), expected);
      if (!(error <= allowed)) return { kind: "wrong", error };
      checked.add(text);
    }
    return withArena(executor, async (within) => {
      const { chain } = await bound(within, by, layers);
      const time = async (runs: number): Promise<number> => {
        const begun = performance.now();
        for (let run = 0; run < runs; run++) chain.replay();
        await executor.finish();
        return (performance.now() - begun) / runs;
      };
      let first = await time(1);
      // the first run of all is slower than the next, but not by so much
      if (first > most && first < 10 * most) first = Math.min(first, await time(1));
      if (first > most) return { kind: "slow", ms: first };
      const until = performance.now() + (caller.target.kind === "gpu" ? warmUpMs : 0);
      let one = await time(1);
      while (performance.now() < until) one = Math.min(one, await time(Math.max(1, Math.ceil(sampleMs / one / 2))));
      const runs = Math.max(1, Math.min(100, Math.ceil(sampleMs / one)));
      // the least: whatever else a machine does only adds to it
      let least = Infinity;
      for (let sample = 0; sample < samples; sample++) least = Math.min(least, await time(runs));
      return { kind: "time", ms: least };
    });
  }

  // what is called is known when it has been: by the cuts that are taken without any choice
  await resultsOf(functions.caller({}));
  return {
    tunables: functions.tunables(),
    async measure(choices, most) {
      try {
        return await checkedTime(choices, most);
      } catch (error) {
        const passing = error instanceof DeviceError && error.code !== "device-lost";
        if (!passing && !(error instanceof CompileError)) throw error;
        return { kind: "refused", reason: error.message };
      }
    },
  };
}

/** Functions as they are compiled by tables: again only where a table has another choice for something in them. */
function functionsOf(caller: Caller): {
  caller(choices: ScheduleChoices): Caller;
  tunables(): readonly Tunable[];
} {
  // graphs of one name differ: a block's, and what is made of it
  const numbers = new Map<Parameters<Caller["preparedGraph"]>[0], number>();
  const numberOf = (graph: Parameters<Caller["preparedGraph"]>[0]): number => {
    const known = numbers.get(graph) ?? numbers.size;
    numbers.set(graph, known);
    return known;
  };
  const found = new Map<string, readonly Tunable[]>();
  const programs = new Map<string, Compiled["program"]>();
  const ready = new Map<string, Promise<Prepared>>();
  return {
    caller: (choices) => {
      const compiled = (...[graph, args, extra]: Parameters<Caller["programOf"]>): Compiled => {
        const binding = bind(graph, args, extra);
        const call = `${numberOf(graph)} ${JSON.stringify(binding)}`;
        let own = found.get(call);
        if (own === undefined) {
          const stages = compileStages(graph, binding, caller.target);
          if ("diagnostics" in stages) throw new CompileError(stages.diagnostics);
          own = tunables(stages, caller.target);
          found.set(call, own);
        }
        const wanted = Object.fromEntries(
          own.flatMap(({ key: { text } }) => (Object.hasOwn(choices, text) ? [[text, choices[text]!]] : [])),
        );
        const whole = `${call} ${JSON.stringify(wanted)}`;
        const program = programs.get(whole) ?? compileFunction(graph, binding, caller.target, { choices: wanted });
        programs.set(whole, program);
        return { whole, program };
      };
      const preparedGraph: Caller["preparedGraph"] = async (graph, args, extra) => {
        const { whole, program } = compiled(graph, args, extra);
        let prepared = ready.get(whole);
        if (prepared === undefined) {
          prepared = caller.executor.prepare(program);
          ready.set(whole, prepared);
          prepared.catch(() => ready.delete(whole));
        }
        return prepared;
      };
      return {
        ...caller,
        preparedGraph,
        prepared: async (name, args, extra) => preparedGraph(functionOf(caller.functions, name), args, extra),
        programOf: (graph, args, extra) => compiled(graph, args, extra).program,
        program: (name, args, extra) => compiled(functionOf(caller.functions, name), args, extra).program,
      };
    },
    tunables: () => {
      const all = new Map([...found.values()].flat().map((each) => [each.key.text, each]));
      return [...all.values()];
    },
  };
}

/** Of all results together: the root mean square of what differs, over that of what is expected. */
function errorOf(found: readonly HostValues[], expected: readonly HostValues[]): number {
  return Math.max(
    ...expected.map((values, at) => {
      let [error, norm] = [0, 0];
      for (let i = 0; i < values.length; i++) {
        error += (values[i]! - (found[at]?.[i] ?? NaN)) ** 2;
        norm += values[i]! ** 2;
      }
      return Math.sqrt(error / norm);
    }),
  );
}

/** Keys and values in -1 .. 1, the same each time: of zeros attention would make nothing. */
async function fillCache({ caller, dtype }: Session, cache: Cache): Promise<void> {
  const values = Float32Array.from({ length: 2 ** 16 }, (_, at) => Math.fround(((at * 40503) % 65536) / 32768 - 1));
  const piece = new Uint8Array(dtype === "f32" ? values.buffer : Uint16Array.from(values, f16Bits).buffer);
  for (const { keys, values: own } of cache.blocks)
    for (const tensor of [keys, own])
      for (let done = 0; done < tensor.bytes; done += piece.length)
        await caller.executor.write(tensor, piece.subarray(0, Math.min(piece.length, tensor.bytes - done)), done);
}
