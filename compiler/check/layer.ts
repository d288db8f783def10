/** What the layer of a recipe's loop has. */
import type { Span } from "../diagnostic.js";
import type { Scalar, ValueId } from "../graph/graph.js";
import type { TreatmentInput } from "../recipe/recipe.js";
import { addSizes, symbolSize } from "../types/size.js";
import { full, type TensorType } from "../types/type.js";
import { addInput, addMap, indexScalar, loadAt, newAxis, sizeScalar, type Builder } from "./builder.js";
import type { Layer } from "./frame.js";
import { trainingOf } from "./parameter.js";
import type { RecipeContext } from "./recipe-context.js";
import { bind, type Scope } from "./scope.js";

/** The format parameter of the weight as it is packed. */
export const packedFormat = "F";

/** A loop's layer, with what earlier loops have measured. */
interface MeasuredLayer extends Layer {
  /** What was measured of all layers of a loop, f32 [layers]. */
  readonly measured: (measure: number, at: Span) => ValueId;
}

/** What the loop's layer has, each made an input of the treatment's graph when it is first used. */
export function layerOf(
  name: string,
  context: RecipeContext,
  builder: Builder,
  inputs: { readonly input: TreatmentInput; readonly value: ValueId }[],
  of: Layer["of"],
): MeasuredLayer {
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
  const shape = of === "vector" ? [columns] : [rows, columns];
  const weight: TensorType = { dtype: "f32", shape, pattern: full, format: null };
  const factors: TensorType = { dtype: "f32", shape: [addSizes(rows, columns), rank], pattern: full, format: null };
  /** a[n, r] = factors[n, r], b[r, k] = factors[N + k, r] */
  const factorOf = (side: "left" | "right"): ValueId => {
    const source = once("factors", "factors", factors, (unique) => ({ name: unique, kind: "factors" }));
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
  return {
    name,
    of,
    weight: () => once("weight", name, weight, (unique) => ({ name: unique, kind: "weight" })),
    start:
      context.training === null
        ? null
        : () => once("start", `${name}_start`, weight, (unique) => ({ name: unique, kind: "start" })),
    packed: () =>
      once("packed", `${name}_packed`, { ...weight, format: { parameter: packedFormat } }, (unique) => ({
        name: unique,
        kind: "packed",
      })),
    factor: (side) => {
      const known = sides.get(side) ?? factorOf(side);
      sides.set(side, known);
      return known;
    },
    training: context.training === null ? null : trainingOf(builder, inputs, once),
    changes: (value) =>
      inputs.some(
        (each) => each.value === value && ["weight", "factors", "clock", "parameter"].includes(each.input.kind),
      ),
    original: () => once("original", `${name}_dense`, weight, (unique) => ({ name: unique, kind: "original" })),
    statistic: (observe) =>
      once(
        `observe ${observe}`,
        context.observed[observe]?.name ?? "statistic",
        context.observed[observe]?.type ?? weight,
        (unique) => ({ name: unique, kind: "statistic", observe }),
      ),
    permutedSince: (observe) => context.permuted.find(({ observed }) => observe < observed)?.span ?? null,
    count: (kind) =>
      once(kind, kind, { dtype: "f32", shape: [], pattern: full, format: null }, (unique) => ({ name: unique, kind })),
    measured: (measure, span) => {
      const { name, count } = context.measured[measure] ?? { name: "measured", count: "L" };
      const type: TensorType = { dtype: "f32", shape: [symbolSize(count)], pattern: full, format: null };
      return once(`measured ${measure}`, name, type, (unique) => ({ name: unique, kind: "measured", measure, span }));
    },
    own: (value, span) => {
      const input = inputs.find((each) => each.value === value)?.input;
      if (input?.kind !== "measured") return null;
      const { measure } = input;
      const type: TensorType = { dtype: "f32", shape: [], pattern: full, format: null };
      return once(`own ${measure}`, `${input.name}_own`, type, (unique) => ({
        name: unique,
        kind: "measured_here",
        measure,
        span,
      }));
    },
  };
}

/** Binds what earlier loops have measured, each f32 [layers]. */
export function bindMeasured(
  scope: Scope,
  { measured, complete, training }: RecipeContext,
  layer: MeasuredLayer,
): void {
  if (training !== null) return;
  for (const { id, name, span } of measured)
    if (complete.has(id)) bind(scope, name, { kind: "tensor", value: layer.measured(id, span), mutable: false }, span);
}
