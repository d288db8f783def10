/** The first half of a step: passes through dense and trained blocks, the loss, and the way back, as one program. */
import type { LlamaConfig } from "../../model/config.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Scratch } from "../../run/memory.js";
import type { Arguments, Caller } from "../call.js";
import { createChain, type BoundChain, type Chain, type ChainValue } from "../inference/chain.js";
import { blockArguments, blockCall } from "../blocks.js";
import { embed, embedTokens, type Frame } from "../inference/pass.js";
import { angles, type Rotary } from "../inference/rope.js";
import { first } from "../results.js";
import type { ActivationDtype, BlockWeights } from "../weights.js";
import { backward, lossGradient, resultOf, totalOf } from "./gradients.js";
import type { BlockLoss, Loss } from "./loss.js";
import type { Trained } from "./trained.js";
import type { Optimizer } from "./update.js";
import { functionOf } from "../functions.js";

/** A block that is trained, or between others that are. */
export interface Student {
  readonly weights: BlockWeights;
  readonly trained: readonly Trained[];
}

/** What every pass needs. */
export interface PassParts {
  readonly arena: Arena;
  readonly caller: Caller;
  readonly config: LlamaConfig;
  readonly dtype: ActivationDtype;
  readonly loss: Loss;
  readonly optimizer: Pick<Optimizer, "state" | "step">;
  /** What losses are added to. */
  readonly total: DeviceTensor;
  /** Whether gradients are added to those of what is trained. */
  readonly learns: boolean;
  /** What passes compute in. */
  readonly scratch: Scratch;
}

/** What a pass over B windows of T tokens reads, written before each. */
export interface BatchTensors {
  /** i32 [B, T]: tokens, and those that follow. */
  readonly ids: DeviceTensor;
  readonly next: DeviceTensor;
  /** f32 [B, T]: 1 for tokens that count. */
  readonly scored: DeviceTensor;
  /** i32 [B], zeros. */
  readonly positions: DeviceTensor;
}

/** Makes the tensors of a batch, which the arena owns. */
export async function createBatch(
  arena: Arena,
  caller: Caller,
  windows: number,
  tokens: number,
): Promise<BatchTensors> {
  const fill = async (dtype: "i32" | "f32", shape: readonly number[], label: string): Promise<DeviceTensor> => {
    const count = shape.reduce((product, size) => product * size, 1);
    return arena.own(await caller.executor.fill(dtype, shape, new Float32Array(count), label));
  };
  return {
    ids: await fill("i32", [windows, tokens], "token ids"),
    next: await fill("i32", [windows, tokens], "the tokens that follow"),
    scored: await fill("f32", [windows, tokens], "which tokens count"),
    positions: await fill("i32", [windows], "positions"),
  };
}

/** A model that is trained: its frame, whose last gain is trained or not, and the model as it was given. */
export interface ModelParts {
  readonly frame: Frame;
  readonly students: readonly Student[];
  /** The gain of the last norm as it is trained. */
  readonly gain: { readonly weight: DeviceTensor; readonly trained: Trained | null };
  /** What logits are made with, dense and whole. */
  readonly head: DeviceTensor;
  /** The model as it was given; null where no loss looks at it. */
  readonly dense: {
    readonly frame: Frame;
    readonly head: DeviceTensor;
    readonly blocks: readonly BlockWeights[];
  } | null;
  /** What is asked of each block besides. */
  readonly beside: BlockLoss | null;
}

/**
 * Binds a pass over the whole model. Each block's input is kept for the way back, and what it gave in the model as it was
 * given where a loss compares it; all else is computed again.
 */
export async function createModelPass(
  parts: PassParts,
  { frame, students, gain, head, dense, beside }: ModelParts,
  batch: BatchTensors,
  rows: number,
): Promise<BoundChain> {
  const { arena, caller, config, dtype, learns } = parts;
  const chain = createChain(arena, caller, learns ? "train" : "watch", parts.scratch);
  const {
    x: start,
    cosine,
    sine,
  } = await embed(chain, { frame, dtype }, batch.ids, batch.positions, batch.ids.shape[1] ?? 0);
  const around = { positions: batch.positions, cosine, sine };
  let given = start;
  const targets: ChainValue[] = [];
  if (dense !== null && dense.frame.embedding !== frame.embedding)
    given = await embedTokens(chain, { frame: dense.frame, dtype }, batch.ids);
  for (const weights of dense?.blocks ?? []) {
    given = await runBlock(chain, weights, { x: given, ...around });
    targets.push(given);
  }
  const inputs: ChainValue[] = [];
  let x = start;
  for (const { weights } of students) {
    inputs.push(x);
    x = await runBlock(chain, weights, { x, ...around });
  }
  const [windows = 0, tokens = 0] = batch.ids.shape;
  const form: TensorForm = { dtype, shape: [windows, tokens, config.hiddenSize], format: null };
  const adjoint: TensorForm | null = learns ? await chain.empty(form, "the gradient of activations") : null;
  for (let begin = 0; begin < windows * tokens; begin += rows) {
    const part = { start: begin, tokens: Math.min(rows, windows * tokens - begin) };
    await headOf(chain, parts, { gain, head, dense, batch }, part, {
      x,
      given: dense === null ? null : given,
      adjoint: adjoint as ChainValue | null,
    });
  }
  /** The loss of a block, and its gradient by what the block gives, for all tokens of the pass. */
  async function besideAt(at: number): Promise<ChainValue | null> {
    if (beside === null) return null;
    const share = beside.weight / students.length;
    const all = { start: 0, tokens: windows * tokens };
    const args: Record<string, ChainValue> = { [beside.loss.own]: await tokenRows(chain, inputs[at + 1] ?? x, all) };
    const target = targets[at];
    if (beside.loss.dense !== null && target !== undefined)
      args[beside.loss.dense] = await tokenRows(chain, target, all);
    return lossOf(chain, { ...parts, loss: beside.loss, share }, args, batch, all);
  }
  if (adjoint !== null) await backThrough(chain, students, inputs, around, adjoint as ChainValue, besideAt);
  else for (const at of students.keys()) await besideAt(at);
  return chain.bind([]);
}

async function tokenRows(
  chain: Chain,
  x: ChainValue,
  { start, tokens }: { readonly start: number; readonly tokens: number },
): Promise<ChainValue> {
  return first(await chain.call("token_rows", { x, start }, { sizes: { tokens } }));
}

/** Logits of some rows, their losses, and the gradient of the activations that they are made of. */
async function headOf(
  chain: Chain,
  { config, dtype, loss, optimizer, total, learns }: PassParts,
  { gain, head, dense, batch }: Pick<ModelParts, "gain" | "head" | "dense"> & { readonly batch: BatchTensors },
  { start, tokens }: { readonly start: number; readonly tokens: number },
  {
    x,
    given,
    adjoint,
  }: { readonly x: ChainValue; readonly given: ChainValue | null; readonly adjoint: ChainValue | null },
): Promise<void> {
  const eps = config.normEpsilon;
  const sizes = { tokens };
  const rowsOf = (from: ChainValue): Promise<ChainValue> => tokenRows(chain, from, { start, tokens });
  const own = await rowsOf(x);
  const logits = first(await chain.call("token_logits_f32", { x: own, gain: gain.weight, w: head, eps }));
  const args: Record<string, ChainValue> = { [loss.own]: logits };
  if (loss.dense !== null && dense !== null && given !== null)
    args[loss.dense] = first(
      await chain.call("token_logits_f32", { x: await rowsOf(given), gain: dense.frame.gain, w: dense.head, eps }),
    );
  if (loss.next !== null)
    args[loss.next] = first(await chain.call("token_targets", { next: batch.next, start }, { sizes }));
  const logitsGradient = await lossOf(chain, { dtype, loss, optimizer, total, learns }, args, batch, { start, tokens });
  if (logitsGradient === null || adjoint === null) return;
  const logitsFunction = functionOf(chain.functions, "token_logits");
  const by = gain.trained === null ? [] : ["gain"];
  const graph = backward(logitsFunction, ["x"], by);
  const [rows] = await chain.callGraph(graph, {
    x: own,
    gain: gain.weight,
    w: head,
    eps,
    [`d_${resultOf(logitsFunction)}`]: logitsGradient,
    ...(gain.trained === null ? {} : { [totalOf("gain")]: gain.trained.total }),
  });
  if (rows !== undefined) await chain.call("put_token_rows", { x: adjoint, rows, start });
}

/** Adds up the losses of some tokens, times their share; the gradient by what the model gives, where it learns. */
async function lossOf(
  chain: Chain,
  {
    dtype,
    loss,
    optimizer,
    total,
    learns,
    share = null,
  }: Pick<PassParts, "dtype" | "loss" | "optimizer" | "total" | "learns"> & { readonly share?: number | null },
  args: Arguments<ChainValue | DeviceTensor>,
  { scored }: Pick<BatchTensors, "scored">,
  { start, tokens }: { readonly start: number; readonly tokens: number },
): Promise<ChainValue | null> {
  const losses = first(await chain.callGraph(loss.graph, args));
  if (share === null) await chain.call("add_losses", { loss: losses, scored, start, total });
  else await chain.call("add_block_losses", { loss: losses, scored, share, total });
  if (!learns) return null;
  const { state, step } = optimizer;
  const weights = first(
    share === null
      ? await chain.call("loss_weights", { scored, step, state, start }, { sizes: { tokens } })
      : await chain.call("block_loss_weights", { scored, step, state, share }),
  );
  return first(
    await chain.callGraph(lossGradient(loss.graph, loss.own, dtype), {
      ...args,
      [`d_${resultOf(loss.graph)}`]: weights,
    }),
  );
}

/**
 * The way back through blocks, as far as something is trained; `more` is a gradient by what a block gives, besides the
 * one that comes from behind it.
 */
async function backThrough(
  chain: Chain,
  students: readonly Student[],
  inputs: readonly ChainValue[],
  around: { readonly [name: string]: ChainValue | DeviceTensor },
  from: ChainValue,
  more: (at: number) => Promise<ChainValue | null> = async () => null,
): Promise<void> {
  const lowest = students.findIndex(({ trained }) => trained.length > 0);
  let adjoint = from;
  for (let at = students.length - 1; at >= lowest && lowest >= 0; at--) {
    const rows = await more(at);
    if (rows !== null) adjoint = first(await chain.call("added_rows", { x: adjoint, rows }));
    const { weights, trained } = students[at]!;
    const { graph: block, sizes } = blockCall(chain.functions, weights, { whole: true });
    const graph = backward(
      block,
      at === lowest ? [] : ["x"],
      trained.map(({ parameter }) => parameter),
    );
    const [next] = await chain.callGraph(
      graph,
      {
        ...blockArguments<ChainValue | DeviceTensor>(block, weights, { x: inputs[at]!, ...around }),
        [`d_${resultOf(block)}`]: adjoint,
        ...Object.fromEntries(trained.map(({ parameter, total }) => [totalOf(parameter), total])),
      },
      { sizes },
    );
    if (next !== undefined) adjoint = next;
  }
}

/**
 * Binds a pass over one block, whose inputs [B, T, D] are written before each: the block as it was given says what it
 * should give.
 */
export async function createBlockPass(
  parts: PassParts,
  student: Student,
  dense: BlockWeights,
  batch: BatchTensors & { readonly x: DeviceTensor; readonly rotary: Rotary },
): Promise<BoundChain> {
  const { arena, caller, config, dtype, loss, learns } = parts;
  const chain = createChain(arena, caller, learns ? "train a block" : "watch a block", parts.scratch);
  const [windows = 0, length = 0] = batch.ids.shape;
  const tokens = windows * length;
  const { positions, rotary } = batch;
  const [cosine, sine] = await angles(chain, rotary, positions, length, length);
  const around = { positions, cosine, sine };
  const rowsOf = (x: ChainValue): Promise<ChainValue> => tokenRows(chain, x, { start: 0, tokens });
  const args: Record<string, ChainValue> = {
    [loss.own]: await rowsOf(await runBlock(chain, student.weights, { x: batch.x, ...around })),
  };
  if (loss.dense !== null) args[loss.dense] = await rowsOf(await runBlock(chain, dense, { x: batch.x, ...around }));
  const rows = await lossOf(chain, parts, args, batch, { start: 0, tokens });
  if (rows === null) return chain.bind([]);
  const form: TensorForm = { dtype, shape: [windows, length, config.hiddenSize], format: null };
  const adjoint = await chain.empty(form, "the gradient of activations");
  await chain.call("put_token_rows", { x: adjoint, rows, start: 0 });
  await backThrough(chain, [student], [batch.x as unknown as ChainValue], around, adjoint);
  return chain.bind([]);
}

async function runBlock(
  chain: Chain,
  weights: BlockWeights,
  own: { readonly [name: string]: ChainValue | DeviceTensor },
): Promise<ChainValue> {
  const { graph, sizes } = blockCall(chain.functions, weights, { whole: true });
  return first(await chain.callGraph(graph, blockArguments<ChainValue | DeviceTensor>(graph, weights, own), { sizes }));
}
