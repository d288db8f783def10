import type { Diagnostic, Span } from "../diagnostic.js";
import type { Scalar, SymbolicGraph, ValueId } from "../graph/graph.js";
import type { Computed, Permutation, Retention, Treatment, TreatmentInput } from "../recipe/recipe.js";
import type { Expr, ForStatement, PermuteStatement, RetainStatement, Statement } from "../syntax/ast.js";
import type { DtypeRef } from "../types/dtype.js";
import { sizeSymbols, symbolSize } from "../types/size.js";
import type { TensorType } from "../types/type.js";
import { neededEqns } from "../graph/eqn.js";
import { finish, newBuilder, typeOf, type Builder } from "./builder.js";
import { checkElement } from "./element.js";
import { convert } from "./conversion.js";
import { fail, placeIn, printType, type Frame, type Layer } from "./frame.js";
import { checkPermutation } from "./permute.js";
import { bindMeasured, layerOf, packedFormat } from "./layer.js";
import { checkRetention } from "./retention.js";
import { storesVector } from "./tensors.js";
import { measuredIn, type RecipeContext } from "./recipe-context.js";
import { bind, lookup, nest, type Scope } from "./scope.js";
import { refusedInTraining } from "./training-statements.js";
import { checkStatements } from "./statement.js";
import { warnUnused } from "./unused.js";
import { equalSizes } from "./sizes.js";
import { declaredIn, mostWays, waysThrough, type Way } from "./ways.js";
import { checkTensor, materialize } from "./whole.js";

/** Checks the body of `for w in ...linears` once for each way through its branches; null where there is an error. */
export function checkTreatments(
  statement: ForStatement,
  context: RecipeContext,
  scope: Scope,
  of: Layer["of"] = "linear",
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
  const ways = waysThrough(statement.body, {
    layer: statement.name.name,
    frame: { ...frame, report },
    scope: inside,
    computed,
    mayChoose: context.training === null,
  });
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
  const treatments = ways.map((way) => checkTreatment(way, statement, context, scope, { unused, used }, of));
  for (const [key, warning] of unused) if (!used.has(key)) frame.report(warning);
  const complete = treatments.filter((treatment) => treatment !== null);
  if (failed || complete.length < treatments.length) return null;
  for (const { id, name, span } of context.measured)
    if (span.file === statement.span.file && span.start >= statement.span.start && span.end <= statement.span.end)
      if (!complete.every(({ measures }) => measures.some(({ measure }) => measure.id === id)))
        return fail(frame, "E602", `\`${name}\` is measured in a branch`, span, "not of every layer of the loop", {
          help: "measure all layers of the loop, or choose them by `matching` and `except`",
        });
  const moved = complete.find(({ permutes }) => permutes !== null)?.permutes ?? null;
  if (moved !== null) context.permuted.push({ span: moved.span, observed: context.observed.length });
  const isIdle = ({ stores, measures, prints, permutes, retains }: Treatment): boolean =>
    stores === null && measures.length + prints.length === 0 && permutes === null && retains === null;
  if (complete.every(isIdle))
    fail(frame, "E604", "this loop stores nothing", statement.name.span, "no layer is changed", {
      help: `end it with \`store ${statement.name.name} as ...\`, or \`measure\` something`,
    });
  return complete;
}

/** Names by place: those that some treatment uses, and the warnings of those that some treatment does not. */
interface Usage {
  readonly unused: Map<string, Diagnostic>;
  readonly used: Set<string>;
}

function placeKey(span: Span): string {
  return `${span.file} ${span.start}`;
}

/** What is done to linear layers only. */
const onLinears = {
  measure: "what is measured are",
  print: "what is printed are numbers of",
  permute: "channels change places between",
  retain: "columns are retained of",
} as const;

function isOnLinears(kind: Statement["kind"]): kind is keyof typeof onLinears {
  return Object.hasOwn(onLinears, kind);
}

function checkTreatment(
  way: Way,
  statement: ForStatement,
  context: RecipeContext,
  outer: Scope,
  usage: Usage,
  of: Layer["of"],
): Treatment | null {
  let failed = false;
  const builder = newBuilder();
  const inputs: { readonly input: TreatmentInput; readonly value: ValueId }[] = [];
  const layer = layerOf(statement.name.name, context, builder, inputs, of);
  const measures: Treatment["measures"][number][] = [];
  const prints: Treatment["prints"][number][] = [];
  let permutes: Permutation | null = null;
  const choices: Treatment["choices"][number][] = [];
  let retention: Retention | null = null;
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
  bindMeasured(scope, context, layer);
  /** The block that is gone through, and those around it. */
  let body = nest(scope);
  const stored: { readonly value: ValueId; readonly span: Span }[] = [];
  /** A number or truth value that a run computes of the layer, as f32. */
  const computed = (expr: Expr, dtype: DtypeRef, name: string, inner: Scope): Computed | null => {
    const place = placeIn(frame, inner);
    const element = checkElement(expr, place);
    const scalar = element === null ? null : convert(element, dtype, expr.span, place);
    const one = scalar === null || dtype === "f32" ? scalar : asNumber(scalar);
    const value = one === null ? null : materialize(one, "f32", name, expr.span, place);
    if (value === null) failed = true;
    return value === null ? null : graphOf(value, name, context, builder, inputs);
  };
  const choose = (passed: Extract<Way["passed"][number], { kind: "choice" }>): void => {
    const { condition } = passed.of;
    const { start, end } = condition.span;
    const found = computed(condition, "bool", "chosen", body);
    if (found !== null)
      choices.push({
        ...found,
        text: frame.file.source.slice(start, end),
        holds: passed.holds,
        span: condition.span,
      });
  };
  const blocks: Scope[] = [];
  const leave = (): void => {
    const around = body.parent ?? scope;
    for (const [name, entry] of body.entries) around.ended.set(name, entry);
    blocks.push(body);
    body = around;
  };
  for (const passed of way.passed) {
    if (passed.kind === "choice") choose(passed);
    else if (passed.kind === "enter") body = nest(body);
    else if (passed.kind === "leave") leave();
    else checkStatements([passed.statement], frame, body, other);
  }
  function other(each: Statement, inner: Scope): void {
    if (of !== "linear" && isOnLinears(each.kind))
      return void fail(frame, "E602", `${onLinears[each.kind]} linear layers`, each.span, `in a loop over ${of}s`, {
        help: "a loop over `linears` may have it",
      });
    if (context.training !== null && isOnLinears(each.kind)) {
      refusedInTraining(each, { ...context, frame });
      return;
    }
    if (each.kind === "measure") {
      const measure = measuredIn(each, statement, context);
      const found = computed(each.value, "f32", each.name.name, inner);
      if (measure === null) failed = true;
      else if (found !== null) measures.push({ ...found, measure });
      return;
    }
    if (each.kind === "print") {
      for (const value of each.values) {
        const { start, end } = value.span;
        const found = computed(value, "f32", "printed", inner);
        if (found !== null) prints.push({ ...found, text: frame.file.source.slice(start, end) });
      }
      return;
    }
    if (each.kind === "permute") return permute(each, inner);
    if (each.kind === "retain") return retain(each, inner);
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
    if (retention !== null)
      return void fail(
        frame,
        "E620",
        `\`${layer.name}\` is stored behind \`retain\``,
        each.span,
        "its columns are fewer by then",
        {
          labels: [{ span: retention.span, message: "retained here" }],
          help: "store before it, or in a loop over blocks that follows",
        },
      );
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
    if (of === "vector") {
      if (storesVector(each, type, frame)) stored.push({ value, span: each.span });
      return;
    }
    if (!fitsWeight(type))
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
  }
  function permute(each: PermuteStatement, inner: Scope): void {
    const found = checkPermutation(each, { frame, scope: inner, layer: layer.name, before: permutes, fitsWeight });
    if (found === null) failed = true;
    else permutes = { ...found, score: graphOf(found.score, "score", context, builder, inputs) };
  }
  function fitsWeight(type: TensorType): boolean {
    return (
      type.dtype === "f32" &&
      type.shape.length === 2 &&
      type.shape.every((size, axis) => equalSizes(size, symbolSize(axis === 0 ? "N" : "K"), builder.constraints))
    );
  }
  function retain(each: RetainStatement, inner: Scope): void {
    const found = checkRetention(each, { frame, scope: inner, layer: layer.name, before: retention });
    const made = found === null ? null : graphOf(found.score, "score", context, builder, inputs);
    if (found === null || made === null) failed = true;
    else retention = { ...made, kept: found.kept, span: each.span };
  }
  leave();
  for (const block of blocks) {
    warnUnused(block, frame);
    for (const { used, span } of block.entries.values()) if (used && span !== null) usage.used.add(placeKey(span));
  }
  if (failed) return null;
  const [result] = stored;
  const made = result === undefined ? null : graphOf(result.value, "weight", context, builder, inputs);
  const isTrained =
    made?.inputs.some(({ kind }) => kind === "weight" || kind === "factors" || kind === "parameter") ?? false;
  if (context.training !== null && result !== undefined && !isTrained)
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
  return {
    conditions: way.conditions,
    choices,
    measures,
    prints,
    permutes,
    graph:
      made?.graph ?? finish(newBuilder(), context.recipe.name.name, context.recipe.name.span, [], noParameters, []),
    inputs: made?.inputs ?? [],
    stores: result === undefined ? null : "weight",
    retains: retention,
  };
}

const noParameters: SymbolicGraph["parameters"] = { sizes: ["N", "K"], dtypes: [], formats: [] };

/** The graph of one value that a treatment computes, and where its inputs come from. */
export function graphOf(
  value: ValueId,
  name: string,
  context: RecipeContext,
  builder: Builder,
  inputs: readonly { readonly input: TreatmentInput; readonly value: ValueId }[],
): Computed {
  const used = new Set<ValueId>([value]);
  neededEqns(builder.eqns, used);
  const kept = inputs.filter((each) => used.has(each.value));
  const counts = new Set(
    kept.flatMap(({ value: input }) => typeOf(builder, input).shape.flatMap((size) => [...sizeSymbols(size)])),
  );
  const graph = finish(
    { ...builder, inputs: builder.inputs.filter((input) => used.has(input.value)) },
    context.recipe.name.name,
    context.recipe.name.span,
    [{ value, name, input: null }],
    {
      ...noParameters,
      sizes: ["N", "K", ...[...counts].filter((symbol) => symbol !== "N" && symbol !== "K")],
      formats: kept.some(({ input }) => input.kind === "packed") ? [packedFormat] : [],
    },
    builder.constraints,
  );
  return { graph, inputs: kept.map(({ input }) => input) };
}

/** 1 where a truth value holds, else 0. */
function asNumber(condition: Scalar): Scalar {
  const number = (value: number): Scalar => ({ kind: "constant", value, dtype: "f32" });
  return { kind: "select", condition, then: number(1), otherwise: number(0), dtype: "f32" };
}
