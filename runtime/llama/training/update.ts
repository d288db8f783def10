/** The second half of a step: the norm of all gradients, the optimiser, and the weights that the next passes use. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { DeviceTensor } from "../../run/run.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { Arena } from "../../run/arena.js";
import type { Scratch } from "../../run/memory.js";
import type { Arguments, Caller } from "../call.js";
import { createChain, createScratch, type BoundChain, type Chain, type ChainValue } from "../inference/chain.js";
import { first } from "../results.js";
import type { ActivationDtype } from "../weights.js";
import { inAnyFormat, takesAnyFormat } from "./gradients.js";
import type { TrainSettings } from "../../../compiler/recipe/recipe.js";
import type { Rounding, Trained, TrainedState } from "./trained.js";

/** What a training keeps on the device beside the tensors that it trains. See `next_state` and `report_step`. */
export interface Optimizer {
  readonly state: DeviceTensor;
  /** The rate of this step, and one by the number of tokens that count in it. */
  readonly step: DeviceTensor;
  /** f32 [2], as recipes see it: the step that is made, of so many; and the next, for what is made ready for it. */
  readonly clock: DeviceTensor;
  readonly next: DeviceTensor;
  readonly squares: DeviceTensor;
  /** The sum of losses. */
  readonly total: DeviceTensor;
  readonly report: DeviceTensor;
  /** What all that the training runs computes in, one after the other. */
  readonly scratch: Scratch;
}

/** The scale of the loss where activations are f16, and the steps without overflow after which it is doubled. */
const halfScale = { begins: 65536, patience: 2000 } as const;

/** Makes the optimiser's own tensors, which the arena owns. */
export async function createOptimizer(
  arena: Arena,
  caller: Caller,
  trained: readonly Trained[],
  steps: number,
  dtype: ActivationDtype,
): Promise<Optimizer> {
  const fill = async (values: readonly number[], label: string): Promise<DeviceTensor> =>
    arena.own(await caller.executor.fill("f32", [values.length], values, label));
  const scale = dtype === "f16" ? halfScale.begins : 1;
  return {
    state: await fill([scale, 0, 1, 1, 0, 0, 0, 0], "the optimiser's state"),
    step: await fill([0, 0], "the rate"),
    clock: await fill([0, steps], "the clock"),
    next: await fill([1, steps], "the clock of the next step"),
    squares: await fill(new Array<number>(placesOf(trained).rows).fill(0), "squares of gradients"),
    total: await fill([0], "the loss"),
    report: await fill([0, 0, 0, 0], "the report"),
    scratch: createScratch(arena, caller),
  };
}

/** What the optimiser changes, each with the tensor of the model that it is of. */
function statesOf(trained: readonly Trained[]): readonly { readonly state: TrainedState; readonly of: Trained }[] {
  return trained.flatMap((of) => of.states.map((state) => ({ state, of })));
}

/** Where the squares of each state's gradient begin, a row each, and how many rows there are in all. */
function placesOf(trained: readonly Trained[]): { readonly places: readonly number[]; readonly rows: number } {
  let rows = 0;
  const places = statesOf(trained).map(({ state: { master } }) => {
    const place = rows;
    rows += master.shape[0] ?? 0;
    return place;
  });
  return { places, rows };
}

/** Binds the update of all trained tensors, for as long as the arena lives. */
export async function createUpdate(
  arena: Arena,
  caller: Caller,
  trained: readonly Trained[],
  { state, step, clock, next, squares, total, report, scratch }: Optimizer,
  { clip, beta1, beta2, epsilon, decay }: TrainSettings,
  dtype: ActivationDtype,
): Promise<BoundChain> {
  const chain = createChain(arena, caller, "update", scratch);
  const into = new Map<ChainValue, DeviceTensor>();
  // computed twice, so that those of all tensors need not be kept until the norm is known
  const gradientBy = async ({ input }: TrainedState, of: Trained): Promise<ChainValue | DeviceTensor> => {
    const { rounding, gradient } = of;
    const derived = input === null ? undefined : rounding?.gradients.get(input);
    if (derived === undefined || rounding === null) return gradient;
    const { graph, args } = await taking(chain, derived, of, rounding, clock);
    return first(await chain.callGraph(graph, { ...args, [rounding.adjoint]: gradient }, { sizes: rounding.sizes }));
  };
  const { places } = placesOf(trained);
  for (const [at, { state: each, of }] of statesOf(trained).entries())
    await chain.call("put_squares", { g: await gradientBy(each, of), squares, place: places[at]! });
  const patience = dtype === "f16" ? halfScale.patience : 3e38;
  await chain.call("next_state", { state, squares, clip, beta1, beta2, patience });
  for (const each of trained) {
    // all of a tensor's before any is changed, for they may depend on each other
    const changes: { readonly state: TrainedState; readonly g: ChainValue | DeviceTensor }[] = [];
    for (const own of each.states) changes.push({ state: own, g: await gradientBy(own, each) });
    for (const { state: own, g } of changes) {
      const { master: w, first: m, second: v } = own;
      await chain.call("adamw", { w, m, v, g, state, step, beta1, beta2, epsilon, decay });
    }
    await chain.call("clear_gradient", { x: each.gradient });
    const used = await usedOf(chain, each, dtype, next);
    if (used !== null) into.set(used, usedForm(each, dtype));
  }
  await chain.call("report_step", { report, total, state });
  return chain.bind([], into);
}

/** Binds what makes the weights that passes use of those that are trained. */
export async function createRefresh(
  arena: Arena,
  caller: Caller,
  trained: readonly Trained[],
  { clock, scratch }: Pick<Optimizer, "clock" | "scratch">,
  dtype: ActivationDtype,
): Promise<BoundChain> {
  const chain = createChain(arena, caller, "refresh", scratch);
  const into = new Map<ChainValue, DeviceTensor>();
  for (const each of trained) {
    const used = await usedOf(chain, each, dtype, clock);
    if (used !== null) into.set(used, usedForm(each, dtype));
  }
  return chain.bind([], into);
}

/** Binds copies of all weights: to what is kept as the best, or back. */
export async function createCopies(
  arena: Arena,
  caller: Caller,
  trained: readonly Trained[],
  direction: "keep" | "restore",
): Promise<BoundChain> {
  const chain = createChain(arena, caller, direction);
  for (const { state } of statesOf(trained)) {
    const { master, best } = state;
    if (best === null) throw new InternalError("no best weights are kept");
    const [to, x] = direction === "keep" ? [best, master] : [master, best];
    await chain.call("copy_weights", { to, x });
  }
  return chain.bind([]);
}

/** What passes use of a weight, in the form of `usedForm`; null for one that is used as it is. */
async function usedOf(
  chain: Chain,
  of: Trained,
  dtype: ActivationDtype,
  clock: DeviceTensor,
): Promise<ChainValue | null> {
  const { rounding, states, forward } = of;
  if (forward.shape.length === 1) return null;
  let stored: ChainValue | DeviceTensor = first(states).master;
  if (rounding !== null) {
    const { graph, args } = await taking(chain, rounding.stored, of, rounding, clock);
    stored = first(await chain.callGraph(graph, args, { sizes: rounding.sizes }));
  }
  return first(await chain.call(dtype !== "f16" ? "dense" : isPlain(forward) ? "halves" : "dense_f16", { w: stored }));
}

/** Whether the elements of a weight in the format f16 lie as those of a tensor of f16 do. */
function isPlain({ shape }: DeviceTensor): boolean {
  return (shape[1] ?? 0) % 2 === 0;
}

/** What passes use of a weight, as the tensor that `usedOf` gives. */
function usedForm({ forward }: Trained, dtype: ActivationDtype): DeviceTensor {
  return dtype === "f16" && isPlain(forward) ? { ...forward, dtype: "f16", format: null } : forward;
}

/**
 * What a recipe stores, or a gradient of that, as a graph of what there is: weights are taken as they are stored, or decoded
 * for it, and what is trained.
 */
async function taking(
  chain: Chain,
  graph: SymbolicGraph,
  { states }: Trained,
  { given, clock: clockInput }: Rounding,
  clock: DeviceTensor,
): Promise<{ readonly graph: SymbolicGraph; readonly args: Arguments<ChainValue | DeviceTensor> }> {
  const args: Record<string, ChainValue | DeviceTensor | number> = {};
  const asStored: string[] = [];
  for (const [name, value] of Object.entries(given)) {
    const input = graph.inputs.find((each) => each.name === name);
    if (input === undefined) continue;
    const isDecoded = typeof value !== "number" && value.format !== null && !takesAnyFormat(graph, name);
    if (typeof value !== "number" && value.format !== null && !isDecoded) asStored.push(name);
    args[name] = isDecoded ? first(await chain.call("dense", { w: value })) : value;
  }
  for (const { input, master } of states)
    if (input !== null && graph.inputs.some(({ name }) => name === input)) args[input] = master;
  if (clockInput !== null && graph.inputs.some(({ name }) => name === clockInput)) args[clockInput] = clock;
  return { graph: inAnyFormat(graph, asStored), args };
}
