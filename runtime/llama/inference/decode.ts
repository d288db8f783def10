/** Decoding one token after the other: the pass, and the choice of the next token and where it stands, as bound programs. */
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Caller } from "../call.js";
import { createChain, type BoundChain, type Calls } from "./chain.js";
import { first } from "../results.js";
import { forward, logits, type Cache, type Layers } from "./pass.js";

/** Logits f32 [B, V], and the positions [B] of the tokens they follow -> the next tokens, i32 [B, 1]. */
export type Choose = <T extends TensorForm>(
  calls: Calls<T>,
  logits: T | DeviceTensor,
  positions: T | DeviceTensor,
) => Promise<T>;

/** The likeliest token; of equals the first. */
export const greedy: Choose = async (calls, logits) => first(await calls.call("greedy", { logits }));

/** What stands on the device between two steps. */
export interface DecodeState {
  /** i32 [B, 1]: the tokens that the model sees next, one of each sequence; -1 after logits that are not all finite. */
  readonly ids: DeviceTensor;
  /** i32 [B]: where they stand. */
  readonly positions: DeviceTensor;
}

/** Steps of one token of each sequence. */
export interface Decoder {
  /** Records a step: the model sees the tokens of the state, which becomes the tokens chosen, one position on. */
  step(): void;
  /** Dispatches of a step. */
  readonly dispatches: number;
}

/**
 * Binds the choice of the next tokens by logits, which the state becomes, for as long as the arena lives. It is a program
 * of its own, so that a prompt's first token and those of decoding are chosen by the same kernels.
 * @throws DeviceError
 */
export async function bindChoice(
  arena: Arena,
  caller: Caller,
  logits: DeviceTensor,
  { ids, positions }: DecodeState,
  choose: Choose,
): Promise<BoundChain> {
  const chain = createChain(arena, caller, "choose");
  const next = await choose(chain, logits, positions);
  await chain.call("follow", { ids, positions, next, logits });
  return chain.bind([]);
}

/**
 * Binds a step of decoding to a model's weights, a cache and a state, for as long as the arena lives. Nothing is
 * allocated, compiled or bound at a step.
 * @throws DeviceError
 */
export async function createDecoder(
  arena: Arena,
  caller: Caller,
  layers: Layers,
  cache: Cache,
  state: DecodeState,
  choose: Choose,
): Promise<Decoder> {
  const chain = createChain(arena, caller, "decode");
  const pick = arena.own(await caller.executor.fill("i32", [cache.batch], new Int32Array(cache.batch), "pick"));
  const x = await forward(chain, layers, state.ids, state.positions, cache);
  const found = await logits(chain, layers, x, pick);
  const pass = await chain.bind([found]);
  const choice = await bindChoice(arena, caller, pass.tensor(found), state, choose);
  return {
    step() {
      pass.replay();
      choice.replay();
    },
    dispatches: pass.dispatches + choice.dispatches,
  };
}
