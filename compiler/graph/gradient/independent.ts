/** Why a value has no gradient by another: told apart are no way between them, and ways that have no slope. */
import type { Span } from "../../diagnostic.js";
import { printDtype, type DtypeRef } from "../../types/dtype.js";
import type { Level } from "../../types/type.js";
import { definedBy, eqnOperands, eqnScalars } from "../eqn.js";
import type { Eqn, Scalar, ValueId } from "../graph.js";
import { children, scalarLoads } from "../scalar.js";
import { isSmooth, smoothOperands, type GradientFault } from "./derivation.js";
import type { GradientHost } from "./host.js";

/** Where a way ends. */
interface Stop {
  readonly op: string;
  readonly span: Span | null;
}

/** The fault that `of` has no gradient by `by`. */
export function independent<L extends Level>(
  host: GradientHost<L>,
  of: ValueId,
  by: ValueId,
  span: Span | null,
): GradientFault {
  const [result, name] = [host.value(of).name, host.value(by).name];
  const stops = stopsBetween(host, of, by);
  const fault = { kind: "independent", span: span ?? host.value(of).span } as const;
  if (stops.length === 0)
    return {
      ...fault,
      message: `\`${result}\` does not depend on \`${name}\``,
      help: "ask for the gradient by what it is computed from",
      labels: [],
    };
  const ops = [...new Set(stops.map(({ op }) => `\`${op}\``))];
  return {
    ...fault,
    message: `\`${result}\` depends on \`${name}\` only through ${ops.join(", ")}, and no gradient goes through ${ops.length > 1 ? "them" : "it"}`,
    help: "let it through with `straight_through(x, y)`: the value of y, the gradient of x",
    labels: stops.flatMap((stop) =>
      stop.span === null ? [] : [{ span: stop.span, message: `through \`${stop.op}\`` }],
    ),
  };
}

/** What cuts every way, one for each equation that does. */
function stopsBetween<L extends Level>(host: GradientHost<L>, of: ValueId, by: ValueId): readonly Stop[] {
  const depends = new Set([by]);
  for (const eqn of host.eqns())
    if ([...eqnOperands(eqn)].some((id) => depends.has(id))) for (const out of definedBy(eqn)) depends.add(out);
  const wanted = new Set([of]);
  const stops: Stop[] = [];
  for (const eqn of [...host.eqns()].reverse()) {
    if (!definedBy(eqn).some((out) => wanted.has(out) && depends.has(out))) continue;
    for (const id of eqnOperands(eqn)) wanted.add(id);
    const op = stopIn(eqn, depends);
    if (op !== null) stops.unshift({ op, span: host.value(eqn.out).span });
  }
  return stops;
}

function stopIn<L extends Level>(eqn: Eqn<L>, depends: ReadonlySet<ValueId>): string | null {
  if (eqn.kind === "top" || eqn.kind === "pack") return eqn.kind;
  const reads = (scalar: Scalar<L>): boolean => scalarLoads(scalar).some((load) => depends.has(load.tensor));
  const visit = (node: Scalar<L>): string | null => {
    if (!reads(node) || node.kind === "load") return null;
    const smooth = smoothOperands(node);
    const cut = children(node).find((each) => !smooth.includes(each) && reads(each) && isSmooth(each));
    if (cut !== undefined && (node.kind === "unary" || node.kind === "binary" || node.kind === "reduce"))
      return node.op;
    if (cut !== undefined && node.kind === "cast") return printDtype(node.dtype as DtypeRef);
    for (const each of children(node)) {
      const found = visit(each);
      if (found !== null) return found;
    }
    return null;
  };
  for (const scalar of eqnScalars(eqn)) {
    const found = visit(scalar);
    if (found !== null) return found;
  }
  return null;
}
