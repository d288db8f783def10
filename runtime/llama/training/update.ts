/** The second half of a step: the norm of all gradients, the optimiser, and the weights that the next passes use. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { DeviceTensor } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Arguments, Caller } from "../call.js";
import { createChain, type BoundChain, type Chain, type ChainValue } from "../inference/chain.js";
import { first } from "../results.js";
import type { ActivationDtype } from "../weights.js";
import type { TrainSettings } from "../../../compiler/recipe/recipe.js";
import type { Rounding, Trained } from "./trained.js";

/** What a training keeps on the device beside the tensors that it trains. See `next_state` and `report_step`. */
export interface Optimizer {
  readonly state: DeviceTensor;
  /** The rate of this step, and one by the number of tokens that count in it. */
  readonly step: DeviceTensor;
  readonly squares: DeviceTensor;
  /** The sum of losses. */
  readonly total: DeviceTensor;
  readonly report: DeviceTensor;
}

/** The scale of the loss where activations are f16, and the steps without overflow after which it is doubled. */
const halfScale = { begins: 65536, patience: 2000 } as const;

/** Makes the optimiser's own tensors, which the arena owns. */
export async function createOptimizer(
  arena: Arena,
  caller: Caller,
  tensors: number,
  dtype: ActivationDtype,
): Promise<Optimizer> {
  const fill = async (values: readonly number[], label: string): Promise<DeviceTensor> =>
    arena.own(await caller.executor.fill("f32", [values.length], values, label));
  const scale = dtype === "f16" ? halfScale.begins : 1;
  return {
    state: await fill([scale, 0, 1, 1, 0, 0, 0, 0], "the optimiser's state"),
    step: await fill([0, 0], "the rate"),
    squares: await fill(new Array<number>(tensors).fill(0), "squares of gradients"),
    total: await fill([0], "the loss"),
    report: await fill([0, 0, 0, 0], "the report"),
  };
}

/** Binds the update of all trained tensors, for as long as the arena lives. */
export async function createUpdate(
  arena: Arena,
  caller: Caller,
  trained: readonly Trained[],
  { state, step, squares, total, report }: Optimizer,
  { clip, beta1, beta2, epsilon, decay }: TrainSettings,
  dtype: ActivationDtype,
): Promise<BoundChain> {
  const chain = createChain(arena, caller, "update");
  const into = new Map<ChainValue, DeviceTensor>();
  // computed twice, so that those of all tensors need not be kept until the norm is known
  const gradientBy = async ({ rounding, master, gradient }: Trained): Promise<ChainValue | DeviceTensor> =>
    rounding === null
      ? gradient
      : first(
          await chain.callGraph(
            rounding.gradient,
            { ...(await givenOf(chain, rounding)), [rounding.weight]: master, [rounding.adjoint]: gradient },
            { sizes: rounding.sizes },
          ),
        );
  for (const [place, each] of trained.entries())
    await chain.call("put_squares", { g: await gradientBy(each), squares, place });
  const patience = dtype === "f16" ? halfScale.patience : 3e38;
  await chain.call("next_state", { state, squares, clip, beta1, beta2, patience });
  for (const each of trained) {
    const { master: w, first: m, second: v, gradient } = each;
    const g = await gradientBy(each);
    await chain.call("adamw", { w, m, v, g, state, step, beta1, beta2, epsilon, decay });
    await chain.call("clear_gradient", { x: gradient });
    const used = await usedOf(chain, each, dtype);
    if (used !== null) into.set(used, each.forward);
  }
  await chain.call("report_step", { report, total, state });
  return chain.bind([], into);
}

/** Binds what makes the weights that passes use of those that are trained. */
export async function createRefresh(
  arena: Arena,
  caller: Caller,
  trained: readonly Trained[],
  dtype: ActivationDtype,
): Promise<BoundChain> {
  const chain = createChain(arena, caller, "refresh");
  const into = new Map<ChainValue, DeviceTensor>();
  for (const each of trained) {
    const used = await usedOf(chain, each, dtype);
    if (used !== null) into.set(used, each.forward);
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
  for (const { master, best } of trained) {
    if (best === null) throw new InternalError("no best weights are kept");
    const [to, x] = direction === "keep" ? [best, master] : [master, best];
    await chain.call("copy_weights", { to, x });
  }
  return chain.bind([]);
}

/** What passes use of a weight; null for one that is used as it is. */
async function usedOf(
  chain: Chain,
  { rounding, master, forward }: Trained,
  dtype: ActivationDtype,
): Promise<ChainValue | null> {
  if (forward.shape.length === 1) return null;
  const stored: ChainValue | DeviceTensor =
    rounding === null
      ? master
      : first(
          await chain.callGraph(
            rounding.stored,
            { ...(await givenOf(chain, rounding)), [rounding.weight]: master },
            { sizes: rounding.sizes },
          ),
        );
  return first(await chain.call(dtype === "f16" ? "dense_f16" : "dense", { w: stored }));
}

/** The other inputs of what a recipe stores, dense where they are weights, but those that are taken in any format. */
async function givenOf(chain: Chain, { given, stored }: Rounding): Promise<Arguments<ChainValue | DeviceTensor>> {
  const args: Record<string, ChainValue | DeviceTensor | number> = {};
  for (const [name, value] of Object.entries(given)) {
    const input = stored.inputs.find((each) => each.name === name);
    if (input === undefined) continue;
    const takesAny = stored.values[input.value]?.type.format !== null;
    args[name] =
      typeof value === "number" || value.format === null || takesAny
        ? value
        : first(await chain.call("dense", { w: value }));
  }
  return args;
}
