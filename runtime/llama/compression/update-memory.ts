/** What a training computes with on the device beside its passes: gradients of what recipes store, and that itself. */
import { compileStages } from "../../../compiler/compile.js";
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { Treatment } from "../../../compiler/recipe/recipe.js";
import type { Target } from "../../../compiler/target.js";
import type { Linear } from "../../model/model.js";
import { bytesAtOnce } from "../../run/memory.js";
import { takesAnyFormat, treatmentGraphs } from "../training/gradients.js";
import type { ActivationDtype } from "../weights.js";
import { sizesOf } from "./host-pack.js";

/** What was counted of a treatment, which is asked for again for each block. */
const known = new WeakMap<SymbolicGraph, Map<string, number>>();

/** What is not known before the steps that stand before a training have run. */
const standIns = { sizes: { R: 1 }, formats: { F: { name: "f16", args: {}, of: null } } } as const;

/** The most bytes that the update of a layer's weight has at once; see `createUpdate`. */
export function bytesOfUpdate(
  target: Target,
  functions: ReadonlyMap<string, SymbolicGraph>,
  treatment: Treatment,
  linear: Linear,
  dtype: ActivationDtype,
): number {
  const sizes = sizesOf(linear);
  const key = `${target.name} ${dtype} ${sizes.N} ${sizes.K}`;
  const own = known.get(treatment.graph) ?? new Map<string, number>();
  known.set(treatment.graph, own);
  const found = own.get(key);
  if (found !== undefined) return found;
  const { stored, gradients } = treatmentGraphs(treatment, functions);
  const elements = sizes.N * sizes.K;
  const most = (graph: SymbolicGraph): number => {
    const stages = compileStages(graph, { ...standIns, sizes: { ...standIns.sizes, ...sizes } }, target);
    // a treatment that does not compile is refused elsewhere
    return "diagnostics" in stages ? 0 : bytesAtOnce(stages.program);
  };
  // weights are decoded for it, but where a function takes them as they are
  const decoded = treatment.inputs.filter(({ name, kind }) => {
    const input = treatment.graph.inputs.find((each) => each.name === name);
    const isWeight = kind === "start" || kind === "original" || kind === "packed";
    const graphs = [stored, ...gradients.values()].filter((graph) => graph.inputs.some((each) => each.name === name));
    return isWeight && input !== undefined && !graphs.every((graph) => takesAnyFormat(graph, name));
  }).length;
  // the gradients of all that is trained of a tensor are there before any of it is changed
  const before = (gradients.size - 1) * elements * 4;
  const gradient = before + Math.max(...[...gradients.values()].map(most));
  const used = most(stored) + elements * (dtype === "f16" ? 2 : 4);
  const bytes = decoded * elements * 4 + Math.max(gradient, used);
  own.set(key, bytes);
  return bytes;
}
