/** What a recipe may store beside linear layers: embedding, head, norms, biases. */
import type { TensorKind } from "../recipe/recipe.js";
import type { Expr, Statement } from "../syntax/ast.js";
import type { Span } from "../diagnostic.js";
import { symbolSize } from "../types/size.js";
import type { TensorType } from "../types/type.js";
import { fail, printType, type Frame, type Layer } from "./frame.js";
import { equalSizes } from "./sizes.js";

/** What a model has beside its linear layers, by the names of its members. */
export const tensorKinds: readonly TensorKind[] = ["embedding", "head", "tables", "norms", "biases"];

/** What a block has of that. */
export const blockTensorKinds: readonly TensorKind[] = ["norms", "biases"];

/** Whether a member of a model or a block is of what it has beside its linear layers. */
export function isTensorKind(name: string): name is TensorKind {
  return tensorKinds.some((kind) => kind === name);
}

/** Whether a value may be stored as a vector: f32[K], dense. */
export function storesVector(
  { value, target }: Extract<Statement, { kind: "store" }>,
  type: TensorType,
  frame: Frame,
): boolean {
  const [size, ...more] = type.shape;
  const name = target.kind === "name" ? target.name : "g";
  if (
    type.dtype !== "f32" ||
    size === undefined ||
    more.length > 0 ||
    !equalSizes(size, symbolSize("K"), frame.builder.constraints)
  ) {
    fail(frame, "E604", `a norm or a bias is f32[K], and ${printType(type)} is stored`, value.span, printType(type));
    return false;
  }
  if (type.format === null) return true;
  fail(frame, "E604", "norms and biases are stored dense, in f32", value.span, printType(type), {
    help: `without \`pack\`: \`store ${name} as ...\``,
  });
  return false;
}

/** E207: a member of a norm or a bias, which has a few only. */
export function failMemberOfVector({ field }: Extract<Expr, { kind: "member" }>, frame: Frame): null {
  return fail(frame, "E207", `a norm or a bias has no \`${field.name}\``, field.span, "no such member", {
    help: "`.dense` is what it was in the model as given, `.columns` how many elements it has",
  });
}

/** E602: what a table or a vector receives, which is not observed. */
export function failStatisticOf({ name, of }: Layer, statistic: string, span: Span, frame: Frame): null {
  return fail(
    frame,
    "E602",
    `\`${statistic}\` is observed of linear layers, and \`${name}\` is ${of === "table" ? "a table" : "a norm or a bias"}`,
    span,
    "nothing was observed",
  );
}
