import type { Diagnostic, Span } from "../diagnostic.js";
import type { Scalar, SymbolicGraph, ValueId } from "../graph/graph.js";
import type { NamePattern, Treatment, TreatmentInput } from "../recipe/recipe.js";
import type { Expr, ForStatement, Statement } from "../syntax/ast.js";
import { addSizes, symbolSize } from "../types/size.js";
import { full, type TensorType } from "../types/type.js";
import { neededEqns } from "../graph/eqn.js";
import {
  addInput,
  addMap,
  finish,
  indexScalar,
  loadAt,
  newAxis,
  newBuilder,
  sizeScalar,
  typeOf,
  type Builder,
} from "./builder.js";
import { constantCondition } from "./constant-condition.js";
import { fail, placeIn, printType, type Frame, type Layer } from "./frame.js";
import { namePattern, type RecipeContext } from "./recipe-context.js";
import { bind, lookup, nest, type Scope } from "./scope.js";
import { checkStatements } from "./statement.js";
import { warnUnused } from "./unused.js";
import { equalSizes } from "./sizes.js";
import { checkTensor } from "./whole.js";

/** A name pattern that a layer must match, or must not. */
type LayerCondition = Treatment["conditions"][number];

/** One way through the branches of a loop's body. */
interface Way {
  readonly conditions: readonly LayerCondition[];
  readonly statements: readonly Statement[];
}

/** The inputs of a treatment that are the weight as it is packed, and both factors of its correction. */
const packedName = "packed weight";
const factorsName = "factors of the correction";
/** The format of the former. */
const packedFormat = "F";

/** The most treatments that the branches of one loop may make. */
const mostWays = 64;

/** Checks the body of `for w in ...linears` once for each way through its branches; null where there is an error. */
export function checkTreatments(
  statement: ForStatement,
  context: RecipeContext,
  scope: Scope,
): readonly Treatment[] | null {
  const { frame } = context;
  let failed = false;
  const report: Frame["report"] = (found) => {
    if (found.severity === "error") failed = true;
    frame.report(found);
  };
  const inside = nest(scope);
  bind(inside, statement.name.name, { kind: "layer" }, statement.name.span);
  const computed = new Set(["N", "K", "R", ...declaredIn(statement.body)]);
  const ways = waysThrough(statement.body, statement.name.name, { ...frame, report }, inside, computed);
  if (ways.length > mostWays)
    return fail(
      frame,
      "E602",
      `the branches of this loop make ${ways.length} different treatments`,
      statement.span,
      `at most ${mostWays}`,
      { help: "nest the branches in `else`" },
    );
  // a name that one treatment uses is not unused, though another does without it
  const unused = new Map<string, Diagnostic>();
  const used = new Set<string>();
  const treatments = ways.map((way) => checkTreatment(way, statement, context, scope, { unused, used }));
  for (const [key, warning] of unused) if (!used.has(key)) frame.report(warning);
  const complete = treatments.filter((treatment) => treatment !== null);
  if (failed || complete.length < treatments.length) return null;
  if (complete.every((treatment) => treatment.stores === null))
    fail(frame, "E604", "this loop stores nothing", statement.name.span, "no layer is changed", {
      help: `end it with \`store ${statement.name.name} as ...\``,
    });
  return complete;
}

/** Every way through the branches on the layer's name; branches on parameters are decided. */
function waysThrough(
  statements: readonly Statement[],
  layer: string,
  frame: Frame,
  scope: Scope,
  computed: ReadonlySet<string>,
): readonly Way[] {
  let ways: readonly Way[] = [{ conditions: [], statements: [] }];
  for (const statement of statements) {
    if (statement.kind !== "if") {
      ways = ways.map((way) => ({ ...way, statements: [...way.statements, statement] }));
      continue;
    }
    const pattern = layerPattern(statement.condition, layer, frame, scope);
    if (pattern === "wrong") continue;
    if (pattern === null) {
      // what a parameter decides is known now; a parameter is never declared in the loop itself
      const chosen = constantCondition(statement.condition, frame, scope, computed);
      if (chosen === null) continue;
      ways = join(ways, waysThrough(chosen ? statement.then : statement.otherwise, layer, frame, scope, computed), []);
      continue;
    }
    const then = join(ways, waysThrough(statement.then, layer, frame, scope, computed), [
      { pattern: pattern.pattern, negate: pattern.negate },
    ]);
    const otherwise = join(ways, waysThrough(statement.otherwise, layer, frame, scope, computed), [
      { pattern: pattern.pattern, negate: !pattern.negate },
    ]);
    ways = [...then, ...otherwise];
    if (ways.length > mostWays) return ways;
  }
  return ways;
}

/** The names that statements declare, those in branches too. */
function declaredIn(statements: readonly Statement[]): readonly string[] {
  return statements.flatMap((statement) => {
    if (statement.kind === "let") return statement.names.map((name) => name.name);
    if (statement.kind === "var") return [statement.name.name];
    return statement.kind === "if" ? declaredIn([...statement.then, ...statement.otherwise]) : [];
  });
}

/** Each way continued by each other; those whose conditions contradict are left out. */
function join(before: readonly Way[], after: readonly Way[], between: readonly LayerCondition[]): readonly Way[] {
  return before.flatMap((a) =>
    after.flatMap((b) => {
      const conditions: LayerCondition[] = [];
      for (const condition of [...a.conditions, ...between, ...b.conditions]) {
        const known = conditions.find((other) => other.pattern.glob === condition.pattern.glob);
        if (known === undefined) conditions.push(condition);
        else if (known.negate !== condition.negate) return [];
      }
      return [{ conditions, statements: [...a.statements, ...b.statements] }];
    }),
  );
}

/** `w matches "..."`, or its negation; null for a condition of another kind. */
function layerPattern(
  condition: Expr,
  layer: string,
  frame: Frame,
  scope: Scope,
): { readonly pattern: NamePattern; readonly negate: boolean } | "wrong" | null {
  if (condition.kind === "unary" && condition.op === "not") {
    const inner = layerPattern(condition.operand, layer, frame, scope);
    return inner === null || inner === "wrong" ? inner : { ...inner, negate: !inner.negate };
  }
  if (condition.kind !== "matches") return null;
  if (condition.value.kind !== "name" || condition.value.name !== layer) {
    fail(frame, "E606", "`matches` tests the name of the layer", condition.value.span, `not \`${layer}\``, {
      help: `write \`${layer} matches "..."\``,
    });
    return "wrong";
  }
  return { pattern: namePattern(condition.pattern, frame), negate: false };
}

/** Names by place: those that some treatment uses, and the warnings of those that some treatment does not. */
interface Usage {
  readonly unused: Map<string, Diagnostic>;
  readonly used: Set<string>;
}

function placeKey(span: Span): string {
  return `${span.file} ${span.start}`;
}

function checkTreatment(
  way: Way,
  statement: ForStatement,
  context: RecipeContext,
  outer: Scope,
  usage: Usage,
): Treatment | null {
  let failed = false;
  const builder = newBuilder();
  const inputs: { readonly input: TreatmentInput; readonly value: ValueId }[] = [];
  const layer = layerOf(statement.name.name, context, builder, inputs);
  const frame: Frame = {
    ...context.frame,
    builder,
    layer,
    report: (found) => {
      if (found.severity === "error") failed = true;
      const at = found.labels[0]?.span;
      if (found.code === "E208" && at !== undefined) usage.unused.set(placeKey(at), found);
      else context.frame.report(found);
    },
  };
  const scope = nest(outer);
  bind(scope, layer.name, { kind: "layer" }, statement.name.span);
  const body = nest(scope);
  const stored: { readonly value: ValueId; readonly span: Span }[] = [];
  checkStatements(way.statements, frame, body, (each, inner) => {
    if (each.kind !== "store") {
      const help =
        each.kind === "if"
          ? "branches on a layer's name stand in the loop over layers itself"
          : each.kind === "train"
            ? "a training has a loop over layers inside it: `train model on text by kl(...) { for w in model.linears { } }`"
            : null;
      return void fail(frame, "E602", `\`${each.kind}\` cannot stand in a loop over layers`, each.span, "not here", {
        help,
      });
    }
    const value = checkTensor(each.value, placeIn(frame, inner));
    if (each.target.kind !== "name" || lookup(inner, each.target.name)?.kind !== "layer")
      return void fail(
        frame,
        "E604",
        "what is stored is the layer of the loop",
        each.target.span,
        `not \`${layer.name}\``,
        { help: `write \`store ${layer.name} as ...\`` },
      );
    const [before] = stored;
    if (before !== undefined)
      return void fail(frame, "E604", `\`${layer.name}\` is stored twice`, each.span, "stored again", {
        labels: [{ span: before.span, message: "first stored here" }],
      });
    if (value === null) {
      failed = true;
      return;
    }
    const type = typeOf(builder, value);
    const fits =
      type.dtype === "f32" &&
      type.shape.length === 2 &&
      type.shape.every((size, axis) => equalSizes(size, symbolSize(axis === 0 ? "N" : "K"), builder.constraints));
    if (!fits)
      return void fail(
        frame,
        "E604",
        `the weight of a layer is f32[N, K], and ${printType(type)} is stored`,
        each.value.span,
        printType(type),
        {
          help:
            type.dtype === "bool"
              ? `mask the weight: \`store ${layer.name} as pack (${layer.name} where ...) as ...\``
              : null,
        },
      );
    stored.push({ value, span: each.span });
  });
  warnUnused(body, frame);
  for (const entry of body.entries.values())
    if (entry.used && entry.span !== null) usage.used.add(placeKey(entry.span));
  if (failed) return null;
  const [result] = stored;
  const used = result === undefined ? new Set<ValueId>() : neededBy(builder, result.value);
  const kept = inputs.filter((each) => used.has(each.value));
  const learned = kept.filter(({ input }) => input.kind === "weight" || input.kind === "factors");
  if (context.training !== null && result !== undefined && learned.length > 1)
    return fail(
      frame,
      "E604",
      `what is stored is made of \`${layer.name}\` and of the factors of its correction, and one of both is trained`,
      result.span,
      "trains both",
      {
        help: `\`${layer.name}.packed\`, \`${layer.name}.start\` and \`${layer.name}.dense\` never change: train \`${layer.name}.left\` and \`${layer.name}.right\` beside them`,
      },
    );
  if (context.training !== null && result !== undefined && learned.length === 0)
    return fail(
      frame,
      "E604",
      `what is stored is not made of \`${layer.name}\`, the weight that is trained`,
      result.span,
      "nothing to train",
      {
        help: `\`${layer.name}.start\` and \`${layer.name}.dense\` never change: take them for masks and scales, and \`${layer.name}\`, or its \`.left\` and \`.right\`, for what is trained`,
      },
    );
  builder.inputs.splice(0, builder.inputs.length, ...builder.inputs.filter((input) => used.has(input.value)));
  return {
    conditions: way.conditions,
    graph: treatmentGraph(builder, context, result?.value ?? null),
    inputs: kept.map((each) => each.input),
    stores: result === undefined ? null : "weight",
  };
}

function treatmentGraph(builder: Builder, context: RecipeContext, value: ValueId | null): SymbolicGraph {
  const outputs = value === null ? [] : [{ value, name: "weight", input: null }];
  return finish(
    builder,
    context.recipe.name.name,
    context.recipe.name.span,
    outputs,
    {
      sizes: ["N", "K", ...(builder.inputs.some(({ name }) => name === factorsName) ? ["R"] : [])],
      dtypes: [],
      formats: builder.inputs.some(({ name }) => name === packedName) ? [packedFormat] : [],
    },
    value === null ? [] : builder.constraints,
  );
}

/** What the loop's layer has, each made an input of the treatment's graph when it is first used. */
function layerOf(
  name: string,
  context: RecipeContext,
  builder: Builder,
  inputs: { readonly input: TreatmentInput; readonly value: ValueId }[],
): Layer {
  const made = new Map<string, ValueId>();
  const once = (key: string, wish: string, type: TensorType, describe: (name: string) => TreatmentInput): ValueId => {
    const known = made.get(key);
    if (known !== undefined) return known;
    let unique = wish;
    for (let number = 2; builder.inputs.some((input) => input.name === unique); number++) unique = `${wish}${number}`;
    const value = addInput(builder, unique, type, null);
    inputs.push({ input: describe(unique), value });
    made.set(key, value);
    return value;
  };
  const [rows, columns, rank] = [symbolSize("N"), symbolSize("K"), symbolSize("R")];
  const factors = (): ValueId =>
    once(
      "factors",
      factorsName,
      { dtype: "f32", shape: [addSizes(rows, columns), rank], pattern: full, format: null },
      (unique) => ({ name: unique, kind: "factors" }),
    );
  /** a[n, r] = factors[n, r], b[r, k] = factors[N + k, r] */
  const factorOf = (side: "left" | "right"): ValueId => {
    const source = factors();
    const [outer, r] = [
      newAxis(builder, side === "left" ? "n" : "k", side === "left" ? rows : columns),
      newAxis(builder, "r", rank),
    ];
    const place = indexScalar(outer);
    const row: Scalar =
      side === "left" ? place : { kind: "binary", op: "add", a: sizeScalar(rows), b: place, dtype: "i32" };
    const body = loadAt(builder, source, [row, indexScalar(r)]);
    return addMap(builder, `${name}_${side}`, null, "f32", side === "left" ? [outer, r] : [r, outer], body);
  };
  const sides = new Map<"left" | "right", ValueId>();
  const weight: TensorType = { dtype: "f32", shape: [symbolSize("N"), symbolSize("K")], pattern: full, format: null };
  return {
    name,
    weight: () => once("weight", name, weight, (unique) => ({ name: unique, kind: "weight" })),
    start:
      context.training === null
        ? null
        : () => once("start", `${name}_start`, weight, (unique) => ({ name: unique, kind: "start" })),
    packed: () =>
      once("packed", packedName, { ...weight, format: { parameter: packedFormat } }, (unique) => ({
        name: unique,
        kind: "packed",
      })),
    factor: (side) => {
      const known = sides.get(side) ?? factorOf(side);
      sides.set(side, known);
      return known;
    },
    original: () => once("original", `${name}_dense`, weight, (unique) => ({ name: unique, kind: "original" })),
    statistic: (observe) =>
      once(
        `observe ${observe}`,
        context.observed[observe]?.name ?? "statistic",
        context.observed[observe]?.type ?? weight,
        (unique) => ({ name: unique, kind: "statistic", observe }),
      ),
    count: (kind) =>
      once(kind, kind, { dtype: "f32", shape: [], pattern: full, format: null }, (unique) => ({ name: unique, kind })),
  };
}

/** The values that a value is made of, itself included. */
function neededBy(builder: Builder, value: ValueId): Set<ValueId> {
  const needed = new Set<ValueId>([value]);
  neededEqns(builder.eqns, needed);
  return needed;
}
