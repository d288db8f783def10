/** What of a model reads and writes the residual stream: proved in the graphs of its functions. */
import { rotationOf, type Role, type Rotation } from "../../../compiler/graph/analysis/rotation.js";
import { InternalError } from "../../../compiler/diagnostic.js";
import { specialize } from "../../../compiler/graph/passes/specialize.js";
import type { Block } from "../../model/layout.js";
import { blockCall, receivedBy } from "../blocks.js";
import { functionOf, type Functions } from "../functions.js";
import { boundBlock, pairOf } from "./pairs.js";

/** How tensors of a block become rotated, or why they cannot. */
export type RotatedBlock =
  | {
      readonly kind: "rotates";
      /** By the parameters of the block's function; what reads with the parameter of the gain that is folded into it. */
      readonly roles: ReadonlyMap<string, Role & { readonly gain: string | null }>;
    }
  | { readonly kind: "none"; readonly reason: string };

/** The roles of a block's tensors: gains go into what reads behind them, and what is left commutes with a rotation. */
export function rotatedBlock(functions: Functions, block: Block): RotatedBlock {
  const { graph } = blockCall(functions, block, { whole: true });
  const own = new Set([...block.layout.tensors, ...(block.layout.zeros ?? [])].map(({ parameter }) => parameter));
  const found = rotationOf(boundBlock(graph, block), "x", true, (input) => own.has(input));
  if (found.kind === "none") return found;
  const gains = new Map<string, string>();
  const folded = new Set<string>();
  for (const { weights } of receivedBy(functions, block.layout.function)) {
    const layers = block.linears.filter(({ parameter }) => weights.includes(parameter));
    if (!layers.some(({ parameter }) => found.roles.get(parameter)?.kind === "reads")) continue;
    const pair = pairOf(functions, block, { layers }, null);
    if (pair.kind === "none") return { kind: "none", reason: pair.ways[0]?.reason ?? "a norm cannot be folded" };
    const [gain, ...more] = pair.producers;
    const alone = more.length === 0 && gain !== undefined && found.roles.get(gain.input)?.kind === "ones";
    if (!alone || gain.channels.some((channel, at) => channel !== at) || folded.has(gain.input))
      return { kind: "none", reason: `what ${layers[0]?.name} reads has no gain of its own` };
    folded.add(gain.input);
    for (const { parameter } of layers) gains.set(parameter, gain.input);
  }
  const left = [...found.roles].find(([name, { kind }]) => kind === "ones" && !folded.has(name));
  if (left !== undefined) return { kind: "none", reason: `\`${left[0]}\` is folded into no weight` };
  return {
    kind: "rotates",
    roles: new Map([...found.roles].map(([name, role]) => [name, { ...role, gain: gains.get(name) ?? null }])),
  };
}

/** Whether the embedding writes the stream and the head reads it behind a norm, and nothing else. */
export function rotatesFrame(functions: Functions): Rotation {
  const roles = (name: string, stream: string | null, inputs: readonly string[]): Rotation => {
    const graph = functionOf(functions, name);
    const bound = specialize(
      graph,
      {
        sizes: new Map(graph.parameters.sizes.map((size, at) => [size, 2 + at])),
        dtypes: new Map(graph.parameters.dtypes.map((dtype) => [dtype, "f32"])),
        formats: new Map(graph.parameters.formats.map((format) => [format, null])),
      },
      { f16: false },
    );
    if (!("graph" in bound)) throw new InternalError(`${name} cannot be bound`);
    return rotationOf(bound.graph, stream, stream === null, (input) => inputs.includes(input));
  };
  const embedding = roles("embed", null, ["table"]);
  return embedding.kind === "none" ? embedding : roles("logits", "x", ["gain", "w"]);
}
