/** Results for people, as JSON, and in files. */
import { writeFileSync } from "node:fs";
import type { TensorValue } from "../../../compiler/graph/evaluate.js";
import { writeNpy } from "./npy.js";

/** A result by name. */
export interface Result extends TensorValue {
  readonly name: string;
}

/** No more values than this of one tensor are printed for people. */
const mostShown = 1024;

type Nested = number | string | boolean | readonly Nested[];

/** The values as nested lists; those that JSON does not have as text, bools as such. */
export function nested({ dtype, shape, data }: TensorValue): Nested {
  const list = (axis: number, from: number, count: number): Nested => {
    const length = shape[axis];
    if (length === undefined) {
      const value = data[from] ?? 0;
      if (dtype === "bool") return value !== 0;
      return Number.isFinite(value) ? (dtype === "f32" || dtype === "f16" ? shortest(value) : value) : String(value);
    }
    const part = length === 0 ? 0 : count / length;
    return Array.from({ length }, (_, at) => list(axis + 1, from + at * part, part));
  };
  return list(0, 0, data.length);
}

/** The number of fewest digits that is the same f32. */
function shortest(value: number): number {
  for (let digits = 1; digits < 9; digits += 1) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === value) return short;
  }
  return value;
}

/** A result in lines: its type, and its values, a row a line, or how to have them. */
export function printResult(result: Result): string {
  const { name, dtype, shape, data } = result;
  const head = `${name}: ${dtype}${shape.length === 0 ? "" : `[${shape.join(", ")}]`}`;
  if (data.length > mostShown) return `${head}, ${data.length} values: --out ${name}=FILE.npy or --json has them`;
  const rows = (value: Nested, depth: number): string => {
    if (!Array.isArray(value)) return String(value);
    const inner = (value as readonly Nested[]).map((each) => rows(each, depth + 1));
    return `[${inner.join(depth < shape.length - 1 ? `,\n${" ".repeat(depth + 1)}` : ", ")}]`;
  };
  const text = rows(nested(result), 0);
  return shape.length > 1 ? `${head}\n${text}` : `${head} = ${text}`;
}

/** Writes a result as its file's ending says: .npy or .json. */
export function writeResult(file: string, result: Result): void {
  writeFileSync(
    file,
    /\.npy$/i.test(file) ? writeNpy(result.dtype, result.shape, result.data) : `${JSON.stringify(nested(result))}\n`,
  );
}
