/** Reverse mode over equations: from a value and the values asked for, equations that compute the gradients. */
import type { Span } from "../../diagnostic.js";
import type { Level } from "../../types/type.js";
import { binary, constant, indexOf, integer, load, sizeScalar } from "../build.js";
import { definedBy, eqnOperands } from "../eqn.js";
import type { Eqn, Scalar, Value, ValueId } from "../graph.js";
import { formatOf } from "../../formats/registry.js";
import { adjointOf } from "./adjoint.js";
import { asF32, smoothOperands, type touches, type Derivation, type GradientFault } from "./derivation.js";
import { definition, hoistReductions, surroundings } from "./hoist.js";
import type { GradientHost } from "./host.js";
import { independent } from "./independent.js";
import { instantiate } from "./own.js";
import { contribute, reverseScalar } from "./scalar.js";

/** What is asked. */
export interface GradientRequest {
  readonly of: ValueId;
  /** The adjoint of `of`, of its shape; null: ones, so that the gradient is of the sum of its elements. */
  readonly seed: ValueId | null;
  readonly by: readonly ValueId[];
  /** Whether the gradient goes through rounding to a grid as if it were not there, or ends at it. */
  readonly packs: "stop" | "through";
  readonly span: Span | null;
}

/**
 * Adds to the host the equations of the gradients, and gives the value of each, in the order of `by`, of the shape and
 * dtype of that value; or why there are none. Equations on the way whose reductions are needed again are taken apart;
 * what they give stays the same.
 */
export function deriveGradients<L extends Level>(
  host: GradientHost<L>,
  { of, seed, by, packs, span }: GradientRequest,
): { readonly gradients: readonly ValueId[] } | { readonly faults: readonly GradientFault[] } {
  const derivation: Derivation<L> = {
    host,
    packs,
    active: new Set(by),
    contributions: new Map(),
    kept: new Map(),
    faults: [],
    ofRanges: new Set(),
    touched: new Map(),
  };
  for (const eqn of host.eqns())
    if (smoothSources(derivation, eqn).some((id) => derivation.active.has(id)))
      for (const out of definedBy(eqn)) derivation.active.add(out);
  const path = pathTo(derivation, of);
  for (const eqn of path)
    if ((eqn.kind === "scan" || eqn.kind === "factorize") && definedBy(eqn).some((out) => derivation.active.has(out)))
      derivation.faults.push({
        kind: "refused",
        message: `there is no gradient through ${eqn.kind === "scan" ? "a scan" : `\`${eqn.op}\``}`,
        span: host.value(eqn.out).span ?? span,
        help: "put `stop(...)` around it where it counts as a constant",
        labels: span === null ? [] : [{ span, message: "asked for here" }],
      });
  if (derivation.faults.length > 0) return { faults: derivation.faults };
  for (const eqn of path)
    if ((eqn.kind === "map" && eqn.adjoint === undefined) || eqn.kind === "update") hoistReductions(derivation, eqn);

  addSeed(derivation, of, seed);
  const order = host.eqns().map((eqn) => eqn.out);
  const found = new Map<ValueId, ValueId | null>();
  for (const out of [...order].reverse()) {
    if (!derivation.contributions.has(out)) continue;
    const adjoint = adjointOf(derivation, out);
    found.set(out, adjoint);
    if (adjoint !== null) reverseEqn(derivation, out, adjoint);
  }
  const gradients = by.map((id) => {
    const adjoint = found.has(id) ? found.get(id) : adjointOf(derivation, id);
    if (adjoint == null) derivation.faults.push(independent(host, of, id, span));
    return adjoint ?? -1;
  });
  return derivation.faults.length > 0 ? { faults: derivation.faults } : { gradients };
}

/** The tensors that a gradient of an equation's result goes on to. */
function smoothSources<L extends Level>(derivation: Derivation<L>, eqn: Eqn<L>): readonly ValueId[] {
  switch (eqn.kind) {
    case "map":
      return eqn.adjoint === undefined ? smoothLoads(derivation, eqn.body) : eqn.adjoint.gradients.map(({ by }) => by);
    case "update":
      return [eqn.base, ...smoothLoads(derivation, eqn.body)];
    case "pack":
      return letsThrough(derivation, eqn) ? [eqn.source] : [];
    case "top":
      return [];
    case "plus":
      return [eqn.packed, eqn.left, eqn.right];
    case "scan":
    case "factorize":
      return [...eqnOperands(eqn)];
    default:
      return eqn satisfies never;
  }
}

function smoothLoads<L extends Level>(
  derivation: Derivation<L>,
  scalar: Parameters<typeof touches<L>>[1],
): readonly ValueId[] {
  if (scalar.kind === "load") return [scalar.tensor];
  return smoothOperands(scalar).flatMap((each) => smoothLoads(derivation, each));
}

/** Whether a format is that of floating point numbers as they are. */
function isFloat(name: string): boolean {
  const dense = formatOf(name)?.dense ?? null;
  return dense === "f32" || dense === "f16" || dense === "bf16";
}

/** Whether a pack only rounds to a float, or its grid counts as fine. */
function letsThrough<L extends Level>(derivation: Derivation<L>, eqn: Extract<Eqn<L>, { kind: "pack" }>): boolean {
  if (derivation.packs === "through") return true;
  let format = derivation.host.value(eqn.out).type.format;
  while (format !== null && "name" in format && format.of !== null) format = format.of as L["format"];
  return format === null || ("name" in format && isFloat(format.name));
}

/** The equations between what counts and a value, in order. */
function pathTo<L extends Level>(derivation: Derivation<L>, of: ValueId): readonly Eqn<L>[] {
  const wanted = new Set([of]);
  const path: Eqn<L>[] = [];
  for (const eqn of [...derivation.host.eqns()].reverse()) {
    if (!definedBy(eqn).some((out) => wanted.has(out) && derivation.active.has(out))) continue;
    path.push(eqn);
    for (const id of smoothSources(derivation, eqn)) if (derivation.active.has(id)) wanted.add(id);
  }
  return path.reverse();
}

function addSeed<L extends Level>(derivation: Derivation<L>, of: ValueId, seed: ValueId | null): void {
  const { host } = derivation;
  if (!derivation.active.has(of)) return;
  const ranges = host
    .value(of)
    .type.shape.map((size, axis) => host.range(`i${axis}`, integer<L>(0), sizeScalar<L>(size)));
  const at = ranges.map((range) => indexOf<L>(range));
  const body = seed === null ? constant<L>(1, "f32" as L["dtype"]) : asF32(load(host.value(seed), at));
  contribute(derivation, of, { ranges, at, body });
}

/** Adds what the adjoint of an equation's result gives to what it reads. */
function reverseEqn<L extends Level>(derivation: Derivation<L>, out: ValueId, adjoint: ValueId): void {
  const { host } = derivation;
  const eqn = definition(host, out);
  if (eqn === undefined) return;
  const of = host.value(adjoint);
  const identity = (id: ValueId, from: ValueId): void => {
    if (!derivation.active.has(id)) return;
    const ranges = host
      .value(from)
      .type.shape.map((size, axis) => host.range(`i${axis}`, integer<L>(0), sizeScalar<L>(size)));
    const at = ranges.map((range) => indexOf<L>(range));
    contribute(derivation, id, { ranges, at, body: asF32(load(host.value(from), at)) });
  };
  switch (eqn.kind) {
    case "map": {
      if (eqn.adjoint !== undefined) {
        const found = instantiate(host, eqn.adjoint, adjoint, (by) => derivation.active.has(by));
        return found.forEach(({ by, value }) => identity(by, value));
      }
      const around = surroundings(eqn.indices, out, undefined, eqn.body);
      const here = eqn.indices.map((range) => indexOf<L>(range));
      return reverseInside(derivation, reverseScalar(derivation, eqn.body, asF32(load(of, here)), around));
    }
    case "update": {
      const around = surroundings(eqn.indices, out, undefined, eqn.body);
      // a place out of range is dropped, and so gives nothing
      const there = asF32(load(of, eqn.at, true));
      if (eqn.op === "set" && derivation.active.has(eqn.base)) {
        const kept = host.define(of.name, of.type, (id) => ({
          ...eqn,
          out: id,
          base: adjoint,
          body: constant<L>(0, of.type.dtype),
        }));
        identity(eqn.base, kept);
      } else identity(eqn.base, adjoint);
      return reverseInside(derivation, reverseScalar(derivation, eqn.body, there, around));
    }
    case "pack":
      return letsThrough(derivation, eqn) ? identity(eqn.source, adjoint) : undefined;
    case "plus":
      identity(eqn.packed, adjoint);
      return reverseCorrection(derivation, eqn, adjoint);
    case "top":
    case "scan":
    case "factorize":
      return;
    default:
      return eqn satisfies never;
  }
}

/** With g the adjoint of packed + a b: g b^T to a, and a^T g to b. */
function reverseCorrection<L extends Level>(
  derivation: Derivation<L>,
  { left, right }: Extract<Eqn<L>, { kind: "plus" }>,
  adjoint: ValueId,
): void {
  const { host } = derivation;
  const [of, a, b] = [host.value(adjoint), host.value(left), host.value(right)];
  const axis = (name: string, size: L["size"]) => host.range(name, integer<L>(0), sizeScalar<L>(size));
  const [rows, rank] = a.type.shape as [L["size"], L["size"]];
  const columns = b.type.shape[1] as L["size"];
  const term = (
    other: Value<L>,
    place: readonly [0 | 1 | 2, 0 | 1 | 2],
    to: ValueId,
    at: readonly [0 | 2, 2 | 1],
  ): void => {
    if (!derivation.active.has(to)) return;
    const ranges = [axis("n", rows), axis("k", columns), axis("r", rank)] as const;
    const index = ranges.map((range) => indexOf<L>(range)) as [Scalar<L>, Scalar<L>, Scalar<L>];
    const g = asF32(load(of, [index[0], index[1]]));
    contribute(derivation, to, {
      ranges: [...ranges],
      at: at.map((which) => index[which]),
      body: binary(
        "multiply",
        g,
        asF32(
          load(
            other,
            place.map((which) => index[which]),
          ),
        ),
      ),
    });
  };
  term(b, [2, 1], left, [0, 2]);
  term(a, [0, 2], right, [2, 1]);
}

/** Reverses the equations of values that the reversal of another has made, each after those that read it. */
function reverseInside<L extends Level>(derivation: Derivation<L>, made: readonly ValueId[]): void {
  for (const out of [...made].reverse()) {
    const adjoint = adjointOf(derivation, out);
    if (adjoint !== null) reverseEqn(derivation, out, adjoint);
  }
}
