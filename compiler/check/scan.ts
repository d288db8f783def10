import type { Diagnostic } from "../diagnostic.js";
import type { Eqn, Range, ValueId } from "../graph/graph.js";
import { mapOperands } from "../graph/eqn.js";
import type { ScanStatement, Statement } from "../syntax/ast.js";
import { full } from "../types/type.js";
import {
  addScan,
  addState,
  keepsPattern,
  newIndex,
  sharedPattern,
  sizeScalar,
  type Builder,
  type OpenState,
} from "./builder.js";
import { compileTimeSize } from "./element.js";
import { fail, placeIn, type Frame } from "./frame.js";
import { bind, nest, type Entry, type Scope } from "./scope.js";
import { notNegative } from "./sizes.js";
import { warnUnused } from "./unused.js";

/** A `var` around a scan: a state of it, if the body changes it. */
interface Variable {
  readonly name: string;
  readonly entry: Entry;
  readonly initial: ValueId;
}

/**
 * Checks `scan k in a .. b { ... }`: each `var` that the body changes becomes a state. A state keeps the pattern it
 * begins with if the body keeps it: that is assumed first, and where it does not hold the body is checked again
 * without.
 */
export function checkScan(
  statement: ScanStatement,
  frame: Frame,
  outer: Scope,
  checkBody: (body: readonly Statement[], frame: Frame, scope: Scope) => void,
): void {
  const { builder } = frame;
  if (builder.steps.size > 0)
    return void fail(
      frame,
      "E601",
      "a `scan` cannot stand in a `scan`",
      statement.range.span,
      "inside another `scan`",
      { help: "a `for` with constant bounds is unrolled" },
    );
  const range = scanRange(statement, frame, outer);
  if (range === null) return;
  const variables = variablesOf(outer);
  const back = placeToGoBackTo(builder);
  const without = new Set<ValueId>();
  builder.steps.set(range.index, builder.values.length);
  for (;;) {
    const { open, reports } = checkStep(statement, range, frame, outer, variables, without, checkBody);
    const lost = open.filter((state) => state.after !== state.before && !keepsPattern(builder, state));
    if (lost.length === 0) {
      builder.steps.delete(range.index);
      for (const found of reports) frame.report(found);
      const failed = reports.some((found) => found.severity === "error");
      return finishScan(statement, range, frame, variables, open, builder.eqns.splice(back.eqns), failed);
    }
    for (const { initial } of lost) without.add(initial);
    back.go();
  }
}

/** One pass over the body. `without`: the states that are not taken to keep their pattern. */
function checkStep(
  statement: ScanStatement,
  range: Range,
  frame: Frame,
  outer: Scope,
  variables: readonly Variable[],
  without: ReadonlySet<ValueId>,
  checkBody: (body: readonly Statement[], frame: Frame, scope: Scope) => void,
): { readonly open: readonly OpenState[]; readonly reports: readonly Diagnostic[] } {
  const { builder } = frame;
  const reports: Diagnostic[] = [];
  const before = variables.map(({ name, entry, initial }) => {
    const value = addState(
      builder,
      name,
      initial,
      without.has(initial) ? full : sharedPattern(builder, initial),
      entry.span,
    );
    entry.binding = { kind: "tensor", value, mutable: true };
    return value;
  });
  const inside: Frame = { ...frame, report: (found) => reports.push(found) };
  const head = nest(outer);
  bind(head, range.name, { kind: "index", range }, statement.range.index.span);
  const scope = nest(head);
  checkBody(statement.body, inside, scope);
  warnUnused(scope, inside);
  const open = variables.map(({ entry, initial }, at) => ({
    initial,
    before: before[at] ?? initial,
    after: entry.binding.kind === "tensor" ? entry.binding.value : initial,
  }));
  return { open, reports };
}

/** Adds the scan, and binds each `var` that it changes to its last state. */
function finishScan(
  statement: ScanStatement,
  range: Range,
  frame: Frame,
  variables: readonly Variable[],
  open: readonly OpenState[],
  body: readonly Eqn[],
  failed: boolean,
): void {
  const { builder } = frame;
  const states = open.filter((state) => state.after !== state.before);
  if (states.length === 0) {
    for (const { entry, initial } of variables) entry.binding = { kind: "tensor", value: initial, mutable: true };
    if (!failed)
      fail(frame, "E608", "this `scan` changes no `var`", statement.range.span, "has no effect", {
        help: "declare what it changes before it: `var w = ...`",
      });
    return;
  }
  // a `var` that no step changes is the same in each
  const same = new Map(
    open.filter((state) => state.after === state.before).map((state) => [state.before, state.initial]),
  );
  const outs = addScan(
    builder,
    range,
    states,
    body.map((eqn) => mapOperands(eqn, (id) => same.get(id) ?? id)),
    statement.span,
  );
  for (const { entry, initial } of variables) {
    const at = states.findIndex((state) => state.initial === initial);
    entry.binding = { kind: "tensor", value: outs[at] ?? initial, mutable: true };
  }
}

function scanRange(statement: ScanStatement, frame: Frame, outer: Scope): Range | null {
  const { low, high, index } = statement.range;
  if (low === null || high === null)
    return fail(frame, "E412", `the range of \`${index.name}\` is not given`, statement.range.span, "no bounds", {
      help: `write \`scan ${index.name} in 0 .. K\``,
    });
  const place = placeIn(frame, outer);
  const [first, end] = [compileTimeSize(low, place), compileTimeSize(high, place)];
  if (first === null || end === null) return null;
  if (!notNegative(first, frame.builder.constraints))
    return fail(frame, "E415", "a `scan` begins at 0 or later", low.span, "may be negative");
  return newIndex(frame.builder, index.name, sizeScalar(first), sizeScalar(end));
}

/** Every `var` that can be seen. */
function variablesOf(scope: Scope): readonly Variable[] {
  const names = new Set<string>();
  const found: Variable[] = [];
  for (let at: Scope | null = scope; at !== null; at = at.parent) {
    for (const [name, entry] of at.entries) {
      if (!names.has(name) && entry.binding.kind === "tensor" && entry.binding.mutable)
        found.push({ name, entry, initial: entry.binding.value });
      names.add(name);
    }
  }
  return found;
}

/** Remembers how far a graph is built; `go` forgets what was added since. */
function placeToGoBackTo(builder: Builder): { readonly eqns: number; readonly go: () => void } {
  const { values, eqns, constraints, ranges } = builder;
  const [valueCount, eqnCount, constraintCount, rangeCount] = [
    values.length,
    eqns.length,
    constraints.length,
    ranges.length,
  ];
  return {
    eqns: eqnCount,
    go: () => {
      for (let id = valueCount; id < values.length; id += 1) builder.producer.delete(id);
      values.length = valueCount;
      eqns.length = eqnCount;
      constraints.length = constraintCount;
      ranges.length = rangeCount;
    },
  };
}
