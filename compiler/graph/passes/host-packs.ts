/** Packing that is done on the host, put in as equations: for graphs whose result is computed with in a training. */
import { InternalError } from "../../diagnostic.js";
import { formatOf } from "../../formats/registry.js";
import { full, type SymbolicFormat, type TensorType } from "../../types/type.js";
import { constantSize } from "../../types/size.js";
import { binary, indexOf, integer, load, sizeScalar } from "../build.js";
import { freshIndices, renameValues, withFreshIndices } from "../eqn.js";
import { copyHost } from "../gradient/host.js";
import type { SymbolicGraph, ValueId } from "../graph.js";
import { withSize } from "./numbered.js";

/**
 * The graph whose output of that name has the values that packing on the host gives it, in a format that a device packs:
 *
 *   pack x as bitmask of V  =>  pack x as V
 *   pack x as q4_0          =>  pack straight_through(x, rounded(x)) as f32
 *
 * `rounded` gives the function of the library, of one weight f32[N, K] and the sizes of a block (`Format.block`), that
 * rounds as such a format does. A graph that
 * packs nothing so stays the same object.
 */
export function withHostPacks(
  graph: SymbolicGraph,
  name: string,
  rounded: (format: string) => SymbolicGraph | undefined,
): SymbolicGraph {
  const output = graph.outputs.find((each) => each.name === name);
  const plus = graph.eqns.find((eqn) => eqn.kind === "plus" && eqn.out === output?.value);
  const packed = plus?.kind === "plus" ? plus.packed : output?.value;
  const pack = graph.eqns.find((eqn) => eqn.kind === "pack" && eqn.out === packed);
  const format = graph.values[pack?.out ?? -1]?.type.format ?? null;
  if (pack?.kind !== "pack" || format === null || "parameter" in format) return graph;
  if (formatOf(format.name)?.packsOnHost !== true) return graph;
  const inside = format.of ?? { name: "f32", args: {}, of: null };
  const formatted = withFormats(graph, pack.out, inside, plus?.out ?? null);
  if (format.of !== null) return formatted;
  const meaning = rounded(format.name);
  const block = formatOf(format.name)?.block;
  if (meaning === undefined || block === undefined)
    throw new InternalError(`the library does not say how ${format.name} rounds`);
  const sized = withSize(withSize(meaning, "group", constantSize(block.group)), "many", constantSize(block.many));
  return withRounding(formatted, pack.out, sized);
}

/** The graph with another format of a packed value, and of the same with a correction. */
function withFormats(
  graph: SymbolicGraph,
  packed: ValueId,
  format: SymbolicFormat,
  corrected: ValueId | null,
): SymbolicGraph {
  const typed = (type: TensorType, id: ValueId): TensorType => {
    if (id === packed) return { ...type, format };
    if (id !== corrected || type.format === null || "parameter" in type.format) return type;
    return { ...type, format: { ...type.format, of: format } };
  };
  return { ...graph, values: graph.values.map((value) => ({ ...value, type: typed(value.type, value.id) })) };
}

/** The graph whose `pack` takes what a function makes of its source. */
function withRounding(graph: SymbolicGraph, packed: ValueId, meaning: SymbolicGraph): SymbolicGraph {
  const host = copyHost(graph, freshIndices(graph));
  const pack = graph.eqns.find((eqn) => eqn.out === packed);
  const [input, ...more] = meaning.inputs;
  const [output] = meaning.outputs;
  if (pack?.kind !== "pack" || input === undefined || output === undefined || more.length > 0)
    throw new InternalError(`${meaning.name} does not take one weight`);
  const source = host.value(pack.source);
  const names = new Map<ValueId, ValueId>([[input.value, pack.source]]);
  const rename = (id: ValueId): ValueId => names.get(id) ?? id;
  for (const eqn of meaning.eqns) {
    if (eqn.kind === "scan") throw new InternalError(`${meaning.name} has a scan`);
    const { name, type } = meaning.values[eqn.out]!;
    const define = (out: ValueId): typeof eqn => {
      names.set(eqn.out, out);
      return renameValues(withFreshIndices(eqn, host.range), rename) as typeof eqn;
    };
    host.define(name, { ...type, pattern: full }, define, packed);
  }
  const type: TensorType = { ...source.type, pattern: full, format: null };
  const through = host.define(
    `${source.name}_rounded`,
    type,
    (out) => {
      const indices = type.shape.map((size, axis) => host.range(`i${axis}`, integer(0), sizeScalar(size)));
      const at = indices.map(indexOf);
      const body = binary("straight_through", load(source, at), load(host.value(rename(output.value)), at));
      return { kind: "map", out, indices, body };
    },
    packed,
  );
  host.replace(packed, { ...pack, source: through });
  return { ...host.graph(), constraints: [...graph.constraints, ...meaning.constraints] };
}
