/** What a loop over layers of a training has beside weights: parameters that are trained with them, and its clock. */
import type { Scalar, ValueId } from "../graph/graph.js";
import type { TreatmentInput } from "../recipe/recipe.js";
import type { CallExpr, Expr } from "../syntax/ast.js";
import { constantSize, multiplySizes } from "../types/size.js";
import { full, type TensorType } from "../types/type.js";
import {
  addInput,
  addMap,
  finish,
  indexScalar,
  loadAt,
  newAxis,
  sizeScalar,
  typeOf,
  valueOf,
  type Builder,
} from "./builder.js";
import { scalarElement } from "./conversion.js";
import { fail, printType, type Element, type Layer, type Place } from "./frame.js";
import { neededEqns } from "../graph/eqn.js";
import { lookup, peek } from "./scope.js";
import { checkTensor } from "./whole.js";

/** Members of a layer that are numbers. */
export const layerNumbers = ["number", "block", "blocks", "step", "steps"] as const;

/** Those that every loop over linear layers has. */
const places: ReadonlyMap<string, "number" | "block" | "blocks"> = new Map([
  ["number", "number"],
  ["block", "block"],
  ["blocks", "blocks"],
]);

/** `w.number`, `w.block`, `w.blocks`, and within a training `w.step` and `w.steps`; null of anything else. */
export function checkLayerNumber(
  { base, field }: Extract<Expr, { kind: "member" }>,
  { frame, scope }: Place,
): Element | null {
  const { layer } = frame;
  if (base.kind !== "name" || layer === null || peek(scope, base.name)?.binding.kind !== "layer") return null;
  const at = ["step", "steps"].indexOf(field.name);
  const own = places.get(field.name);
  if (own === undefined && (at < 0 || layer.training === null)) return null;
  if (own !== undefined && layer.of !== "linear") return null;
  lookup(scope, base.name);
  const load = (tensor: ValueId, places: readonly Scalar[]): Element =>
    scalarElement({ kind: "load", tensor, at: places, dtype: "f32", guarded: false }, "f32");
  return own !== undefined || layer.training === null
    ? load(layer.count(own ?? "number"), [])
    : load(layer.training.clock(), [{ kind: "constant", value: at, dtype: "i32" }]);
}

/** `parameter(x)`: a tensor that begins as x and is trained. */
export function checkParameter(expr: CallExpr, place: Place): ValueId | null {
  const { frame } = place;
  const { builder, layer } = frame;
  const [argument, ...more] = expr.args;
  if (argument === undefined || more.length > 0 || argument.label !== null)
    return fail(frame, "E303", "`parameter` takes what it begins as", expr.span, "one tensor is expected");
  if (layer?.training == null)
    return fail(frame, "E602", "a parameter is trained, and so is for trainings", expr.span, "not in a training", {
      help: "it stands in a loop over layers inside of `train`",
    });
  const start = checkTensor(argument.value, place);
  if (start === null) return null;
  const type = typeOf(builder, start);
  const refuse = (message: string, label: string, help: string): null =>
    fail(frame, "E605", message, argument.span, label, { help });
  if (type.dtype !== "f32" || type.shape.length === 0 || type.format !== null)
    return refuse(
      `a parameter is a dense tensor of f32, and this is ${printType(type)}`,
      printType(type),
      "compute it in index notation: `let start[n, k] = ...`",
    );
  const needed = new Set([start]);
  neededEqns(builder.eqns, needed);
  const changing = builder.inputs.find(({ value }) => needed.has(value) && layer.changes(value));
  if (changing !== undefined)
    return refuse(
      "what a parameter begins as is known when the training begins, and this changes with each step",
      `depends on \`${changing.name}\``,
      `take \`${layer.name}.start\` or \`${layer.name}.dense\``,
    );
  return layer.training.parameter(valueOf(builder, start).name, start);
}

/** What `once` adds an input of a treatment by. */
type Once = (key: string, wish: string, type: TensorType, describe: (name: string) => TreatmentInput) => ValueId;

/** The clock and the parameters of a training, as inputs of a treatment's graph. */
export function trainingOf(
  builder: Builder,
  inputs: { readonly input: TreatmentInput; readonly value: ValueId }[],
  once: Once,
): NonNullable<Layer["training"]> {
  const clock: TensorType = { dtype: "f32", shape: [constantSize(2)], pattern: full, format: null };
  return {
    clock: () => once("clock", "clock", clock, (name) => ({ name, kind: "clock" })),
    parameter(wish, start) {
      const { shape } = typeOf(builder, start);
      // the optimiser works on two axes
      const [rows, columns] =
        shape.length === 1
          ? [constantSize(1), shape[0] ?? constantSize(1)]
          : [
              shape[0] ?? constantSize(1),
              shape.slice(1).reduce((product, size) => multiplySizes(product, size), constantSize(1)),
            ];
      const flat = { dtype: "f32", shape: [rows, columns], pattern: full, format: null } as const;
      const graph = startGraph(builder, inputs, flattened(builder, start, flat.shape));
      let name = `${wish}_parameter`;
      for (let number = 2; builder.inputs.some((input) => input.name === name); number++)
        name = `${wish}_parameter${number}`;
      const value = addInput(builder, name, flat, null);
      inputs.push({ input: { name, kind: "parameter", start: graph }, value });
      const axes = shape.map((size, axis) => newAxis(builder, `i${axis}`, size));
      const at = axes.map(indexScalar);
      const places = shape.length === 1 ? [zero, at[0] ?? zero] : [at[0] ?? zero, place(at.slice(1), shape.slice(1))];
      return addMap(builder, wish, valueOf(builder, start).span, "f32", axes, loadAt(builder, value, places));
    },
  };
}

const zero: Scalar = { kind: "constant", value: 0, dtype: "i32" };

/** The place of an element among those of some axes. */
function place(at: readonly Scalar[], shape: TensorType["shape"]): Scalar {
  return at.slice(1).reduce<Scalar>(
    (whole, each, axis) => ({
      kind: "binary",
      op: "add",
      a: { kind: "binary", op: "multiply", a: whole, b: sizeScalar(shape[axis + 1] ?? constantSize(1)), dtype: "i32" },
      b: each,
      dtype: "i32",
    }),
    at[0] ?? zero,
  );
}

/** A tensor as one of two axes. */
function flattened(builder: Builder, value: ValueId, [rows, columns]: TensorType["shape"]): ValueId {
  const { shape } = typeOf(builder, value);
  if (shape.length === 2 || rows === undefined || columns === undefined) return value;
  const axes = [newAxis(builder, "n", rows), newAxis(builder, "k", columns)];
  const [n, k] = axes.map(indexScalar);
  if (n === undefined || k === undefined) return value;
  const at: Scalar[] = [];
  let left = k;
  for (const size of shape.slice(1).reverse()) {
    const extent = sizeScalar(size);
    at.unshift({ kind: "binary", op: "remainder", a: left, b: extent, dtype: "i32" });
    left = { kind: "binary", op: "divide", a: left, b: extent, dtype: "i32" };
  }
  const places = shape.length === 1 ? [k] : [n, ...at];
  return addMap(builder, "start", null, "f32", axes, loadAt(builder, value, places));
}

/** What gives a value of a treatment that is being built, as a graph of its own. */
function startGraph(
  builder: Builder,
  inputs: readonly { readonly input: TreatmentInput; readonly value: ValueId }[],
  value: ValueId,
): Extract<TreatmentInput, { kind: "parameter" }>["start"] {
  const needed = new Set([value]);
  neededEqns(builder.eqns, needed);
  const own = { ...builder, inputs: builder.inputs.filter((input) => needed.has(input.value)) };
  const outputs = [{ value, name: "start", input: null }];
  const sizes = { sizes: ["N", "K"], dtypes: [], formats: [] };
  return {
    graph: finish(own, "start", valueOf(builder, value).span, outputs, sizes, builder.constraints),
    inputs: inputs.filter((each) => needed.has(each.value)).map(({ input }) => input),
  };
}
