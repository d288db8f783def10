/** The pass that observes a block, compiled before its weights are there. */
import { isDense } from "../../../compiler/formats/registry.js";
import { constantSize, sizeValue, substituteSize } from "../../../compiler/types/size.js";
import type { Model } from "../../model/model.js";
import { mayBeLeft } from "../../run/outcomes.js";
import type { TensorForm } from "../../run/run.js";
import { blockCall, weightSizes } from "../blocks.js";
import { bind, type Arguments, type Caller } from "../call.js";
import { roundedIn, storedFormat, type ActivationDtype } from "../weights.js";

/**
 * Begins to compile the pass that observes a model's blocks, for batches of so many windows. Weights are taken for what
 * `unpackBlock` makes of those that f16 holds; should they turn out otherwise, the pass is compiled when it is run.
 */
export function preparePass(
  caller: Caller,
  model: Model,
  { dtype, batch, tokens }: { readonly dtype: ActivationDtype; readonly batch: number; readonly tokens: number },
): void {
  const [block] = model.blocks;
  if (block === undefined) return;
  const { layout } = block;
  const rounded = roundedIn(block, model.activations);
  // what is stored of activations is known on the device only
  if (rounded.activations !== undefined) return;
  const { graph, sizes } = blockCall(caller.functions, { layout }, { whole: true, received: "alone" });
  const x: TensorForm = { dtype, shape: [batch, tokens, model.config.hiddenSize], format: null };
  const known = { ...weightSizes(graph, block), ...bind(graph, { x }, { sizes }).sizes };
  const weights = new Map(
    block.linears.map(({ parameter, weight }) => {
      const stored = model.tensor(weight);
      const format = storedFormat(stored);
      const kept = format.name === dtype || (dtype === "f32" && isDense(format));
      const decoded = dtype === "f16" ? { name: "f16", args: {}, of: null } : null;
      return [parameter, { dtype: "f32", shape: stored.shape, format: kept ? format : decoded } as TensorForm];
    }),
  );
  const args: { [name: string]: TensorForm | number } = { ...layout.scalars, ...Object.fromEntries(weights), x };
  for (const { name, value } of graph.inputs) {
    const type = graph.values[value]!.type;
    const shape = type.shape.map((size) =>
      sizeValue(substituteSize(size, (symbol) => (known[symbol] === undefined ? null : constantSize(known[symbol])))),
    );
    if (args[name] !== undefined) continue;
    if (typeof type.dtype !== "string" || shape.includes(null)) return;
    args[name] = { dtype: type.dtype, shape: shape.map(Number), format: null };
  }
  const given: Arguments<TensorForm> = Object.fromEntries(graph.inputs.map(({ name }) => [name, args[name]!]));
  mayBeLeft(Promise.resolve().then(() => caller.preparedGraph(graph, given, { sizes })));
}
