/**
 * Rotations of the residual stream: whether a function gives what it gave, rotated, where the stream that it takes is
 * multiplied by an orthogonal matrix and the weights that read and write it are. Which those are is found on the way: a
 * proof goes forward from the stream, and where something is missing an input takes a role and it begins again.
 */
import type { Concrete } from "../../types/type.js";
import { eqnOperands } from "../eqn.js";
import type { ConcreteGraph, Eqn, IndexId, Scalar, ValueId } from "../graph.js";
import { constantOf, freeIndices, scalarReductions, type Load } from "../scalar.js";

/**
 * What an input becomes: W Q of one that reads the stream (its columns), Q^T W of one that writes it (an axis of it is the
 * stream's), ones of a gain that is folded into what reads behind it.
 */
export interface Role {
  readonly kind: "reads" | "writes" | "ones";
  readonly axis: number;
}

/** The roles of the inputs of a function, by name, or why it cannot be rotated: a sentence without its stop. */
export type Rotation =
  | { readonly kind: "rotates"; readonly roles: ReadonlyMap<string, Role> }
  | { readonly kind: "none"; readonly reason: string };

/** An axis along which a value is v Q; `product`: elements of v Q times elements of u Q, of which the sum stays. */
interface Label {
  readonly axis: number;
  readonly kind: "rotated" | "product";
}

/** The same of an element of an equation. Null: it stays what it is. */
type Form = { readonly index: IndexId; readonly kind: Label["kind"] } | null;

type MapEqn = Extract<Eqn<Concrete>, { kind: "map" }>;

/** Stops a pass: a refusal, or a role that was missing. */
class Refused extends Error {}
class Found extends Error {}

/**
 * The roles of a function's inputs. `stream` is the input that is rotated along its last axis, null for none;
 * `given` says whether its first result is the stream, and rotated; `allowed` which inputs may be changed.
 */
export function rotationOf(
  graph: ConcreteGraph,
  stream: string | null,
  given: boolean,
  allowed: (input: string) => boolean,
): Rotation {
  const roles = new Map<ValueId, Role>();
  const names = new Map(graph.inputs.map(({ value, name }) => [value, name]));
  for (let round = 0; round <= graph.inputs.length; round++) {
    try {
      pass(graph, stream, given, roles, (value) => allowed(names.get(value) ?? ""));
      return { kind: "rotates", roles: new Map([...roles].map(([value, role]) => [names.get(value) ?? "", role])) };
    } catch (error) {
      if (error instanceof Refused) return { kind: "none", reason: error.message };
      if (!(error instanceof Found)) throw error;
    }
  }
  return { kind: "none", reason: "no roles of its weights were found" };
}

/** One pass of the proof. Throws `Found` when it has given an input a role, `Refused` where there is none to give. */
function pass(
  graph: ConcreteGraph,
  stream: string | null,
  given: boolean,
  roles: Map<ValueId, Role>,
  allowed: (value: ValueId) => boolean,
): void {
  const labels = new Map<ValueId, Label>();
  const shapeOf = (value: ValueId): readonly number[] => graph.values[value]?.type.shape ?? [];
  const nameOf = (value: ValueId): string => `\`${graph.values[value]?.name ?? value}\``;
  const refuse = (reason: string): never => {
    throw new Refused(reason);
  };
  for (const { value, name } of graph.inputs)
    if (name === stream) labels.set(value, { axis: shapeOf(value).length - 1, kind: "rotated" });
  for (const [value, { kind, axis }] of roles) if (kind !== "ones") labels.set(value, { axis, kind: "rotated" });
  const isInput = (value: ValueId): boolean => graph.inputs.some((input) => input.value === value);
  const assign = (value: ValueId, role: Role): never => {
    if (!allowed(value)) return refuse(`${nameOf(value)} is given to it, and cannot be rotated`);
    if (roles.has(value)) return refuse(`${nameOf(value)} would be rotated twice`);
    roles.set(value, role);
    throw new Found();
  };

  /** Makes what a scalar gives be rotated along an index: an input that it depends on takes a role. */
  const demand = (node: Scalar<Concrete>, index: IndexId, where: string): never => {
    const free = (each: Scalar<Concrete>): boolean => freeIndices(each).has(index);
    switch (node.kind) {
      case "load": {
        const axis = node.at.findIndex((at) => at.kind === "index" && at.index === index);
        if (axis < 0 || node.at.some((at, other) => other !== axis && free(at)))
          return refuse(`${where} takes ${nameOf(node.tensor)} otherwise than channel by channel`);
        if (isInput(node.tensor)) return assign(node.tensor, { kind: "writes", axis });
        const eqn = graph.eqns.find(({ out }) => out === node.tensor);
        const inner = eqn?.kind === "map" ? eqn.indices[axis]?.index : undefined;
        if (eqn?.kind !== "map" || inner === undefined) return refuse(`${nameOf(node.tensor)} is not rotated`);
        return demand(eqn.body, inner, nameOf(node.tensor));
      }
      case "cast":
        return demand(node.a, index, where);
      case "unary":
        return node.op === "negate" ? demand(node.a, index, where) : refuse(notLinear(where, node.op));
      case "reduce":
        return node.op === "sum" || node.op === "mean"
          ? demand(node.body, index, where)
          : refuse(notLinear(where, node.op));
      case "binary": {
        const [left, right] = [free(node.a), free(node.b)];
        if (node.op === "divide" && left && !right) return demand(node.a, index, where);
        if (node.op === "multiply" && left !== right) return demand(left ? node.a : node.b, index, where);
        if (node.op === "add" || node.op === "subtract") return demand(left ? node.a : node.b, index, where);
        return refuse(
          node.op === "multiply" || node.op === "divide"
            ? `${where} multiplies each channel of what is added to the stream by another number, as the gain of a norm does, and behind it there is no weight to rotate`
            : `${where} adds what is not rotated to the stream`,
        );
      }
      default:
        return refuse(`${where} adds what is not rotated to the stream`);
    }
  };

  const formOf = (eqn: MapEqn): Form => {
    const where = nameOf(eqn.out);
    const ranges = new Map(
      [...eqn.indices, ...scalarReductions(eqn.body).flatMap(({ over }) => over)].map((range) => [range.index, range]),
    );
    const whole = (index: IndexId, length: number): boolean => {
      const range = ranges.get(index);
      return range !== undefined && constantOf(range.low) === 0 && constantOf(range.high) === length;
    };
    const fixed = (nodes: readonly Scalar<Concrete>[], op: string): Form => {
      for (const node of nodes) if (visit(node) !== null) return refuse(notLinear(where, op));
      return null;
    };
    /** The factors of a rotated element that vary with its channel. */
    const varying = (node: Scalar<Concrete>, index: IndexId): boolean => freeIndices(node).has(index);
    const gainOf = (node: Scalar<Concrete>): Load<Concrete> | null => {
      if (node.kind === "cast") return gainOf(node.a);
      return node.kind === "load" && isInput(node.tensor) ? node : null;
    };
    const times = (a: Scalar<Concrete>, b: Scalar<Concrete>): Form => {
      const [left, right] = [visit(a), visit(b)];
      if (left !== null && right !== null) {
        if (left.kind === "rotated" && right.kind === "rotated" && left.index === right.index)
          return { index: left.index, kind: "product" };
        return refuse(`${where} multiplies elements of the stream that are not summed`);
      }
      const own = left ?? right;
      const other = left === null ? a : b;
      if (own === null || !varying(other, own.index)) return own;
      const load = gainOf(other);
      if (load === null || own.kind !== "rotated")
        return refuse(`${where} multiplies each channel of the stream by another number`);
      if (roles.get(load.tensor)?.kind === "ones") return own;
      const axis = load.at.findIndex((at) => at.kind === "index" && at.index === own.index);
      if (axis < 0) return refuse(`${where} takes ${nameOf(load.tensor)} otherwise than channel by channel`);
      const vector = shapeOf(load.tensor).length === 1;
      return assign(load.tensor, vector ? { kind: "ones", axis } : { kind: "reads", axis });
    };
    const plus = (a: Scalar<Concrete>, b: Scalar<Concrete>): Form => {
      const [left, right] = [visit(a), visit(b)];
      if (constantOf(a) === 0) return right;
      if (constantOf(b) === 0) return left;
      if (left !== null && right !== null)
        return left.index === right.index && left.kind === right.kind
          ? left
          : refuse(`${where} adds channels of the stream to others`);
      const own = left ?? right;
      if (own === null) return null;
      if (own.kind === "product") return refuse(`${where} adds a number to each square of the stream`);
      return demand(left === null ? a : b, own.index, where);
    };
    const compute = (node: Scalar<Concrete>): Form => {
      switch (node.kind) {
        case "constant":
        case "index":
        case "size":
          return null;
        case "load": {
          fixed(node.at, "index");
          const label = labels.get(node.tensor);
          if (label === undefined) return null;
          const at = node.at[label.axis];
          if (
            at?.kind !== "index" ||
            !whole(at.index, shapeOf(node.tensor)[label.axis] ?? -1) ||
            node.at.some((other, axis) => axis !== label.axis && varying(other, at.index))
          )
            return refuse(`${where} takes ${nameOf(node.tensor)} otherwise than channel by channel`);
          return { index: at.index, kind: label.kind };
        }
        case "cast":
          return node.dtype === "f32" || node.dtype === "f16" ? visit(node.a) : fixed([node.a], "a conversion");
        case "unary":
          return node.op === "negate" ? visit(node.a) : fixed([node.a], node.op);
        case "binary":
          if (node.op === "multiply") return times(node.a, node.b);
          if (node.op === "power" && constantOf(node.b) === 2) return times(node.a, node.a);
          if (node.op === "add" || node.op === "subtract") return plus(node.a, node.b);
          if (node.op === "divide" && visit(node.b) === null) {
            const own = visit(node.a);
            return own === null || !varying(node.b, own.index)
              ? own
              : refuse(`${where} divides each channel of the stream by another number`);
          }
          return fixed([node.a, node.b], node.op);
        case "select": {
          fixed([node.condition], "select");
          const own = plus(node.then, node.otherwise);
          return own === null || !varying(node.condition, own.index)
            ? own
            : refuse(`${where} chooses by the channel of the stream`);
        }
        case "reduce": {
          const around = [...node.over.flatMap(({ low, high }) => [low, high]), ...(node.score ? [node.score] : [])];
          fixed(around, node.score === null ? "a bound" : "softmax");
          if (node.op !== "sum" && node.op !== "mean") return fixed([node.body], node.op);
          const own = visit(node.body);
          if (own === null || !node.over.some(({ index }) => index === own.index)) return own;
          return own.kind === "product" ? null : refuse(`${where} sums over the channels of the stream`);
        }
        default:
          return node satisfies never;
      }
    };
    const known = new Map<Scalar<Concrete>, Form>();
    const visit = (node: Scalar<Concrete>): Form => {
      const before = known.get(node);
      if (before !== undefined) return before;
      const found = compute(node);
      known.set(node, found);
      return found;
    };
    return visit(eqn.body);
  };

  for (const eqn of graph.eqns) {
    if (![...eqnOperands(eqn)].some((value) => labels.has(value))) continue;
    if (eqn.kind !== "map") return refuse(`${nameOf(eqn.out)} is a \`${eqn.kind}\` of the stream`);
    const form = formOf(eqn);
    if (form === null) continue;
    const axis = eqn.indices.findIndex(({ index }) => index === form.index);
    labels.set(eqn.out, { axis, kind: form.kind });
  }
  for (const [at, { value, name }] of graph.outputs.entries()) {
    const label = labels.get(value);
    const last = shapeOf(value).length - 1;
    if (at > 0 || !given) {
      if (label !== undefined) refuse(`the result \`${name}\` would be rotated`);
      continue;
    }
    if (label?.kind === "rotated" && label.axis === last) continue;
    const eqn = graph.eqns.find(({ out }) => out === value);
    const index = eqn?.kind === "map" ? eqn.indices[last]?.index : undefined;
    if (label !== undefined || eqn?.kind !== "map" || index === undefined)
      refuse(`the result \`${name}\` would not be rotated`);
    else demand(eqn.body, index, nameOf(value));
  }
}

function notLinear(where: string, op: string): string {
  return `${where} takes \`${op}\` of channels of the stream, which does not go with a rotation`;
}
