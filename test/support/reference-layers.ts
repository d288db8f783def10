/** The layers of `test/data/methods` with what the methods made of them in PyTorch; README.md there says how. */
import { readFileSync } from "node:fs";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import { toFloats } from "../../runtime/model/elements.js";
import { openSafetensors } from "./open-safetensors.js";
import { projectFile } from "./project.js";

/** A layer: its weight, what it receives, and results by name. */
export interface ReferenceLayer {
  readonly name: string;
  readonly rows: number;
  readonly columns: number;
  /** Sequences that the layer was observed on. */
  readonly windows: number;
  readonly damp: number;
  /** Inputs [T, K], where they are given; else `gram` is. */
  readonly x: TensorValue | null;
  /** X^T X. */
  readonly gram: TensorValue | null;
  /**
   * A tensor of the file with the layer's rows; that of codes is multiplied by the scales named. Throws where there is
   * none.
   */
  tensor(name: string, scales?: string): TensorValue;
  /** The factor, whose upper triangle is stored. */
  readonly factor: TensorValue;
}

type Stored = ReadonlyMap<
  string,
  { readonly shape: readonly number[]; readonly type: string; readonly values: Float32Array }
>;

/** Reads a layer; with `rows`, its first rows only. */
export async function referenceLayer(name: string, rows?: number): Promise<ReferenceLayer> {
  const stored = await read(projectFile(`test/data/methods/${name}.safetensors`));
  const made = JSON.parse(readFileSync(projectFile("test/data/methods/made.json"), "utf8")) as Readonly<
    Record<string, { readonly windows: number; readonly damp: number }>
  >;
  const [all = 0, columns = 0] = find(stored, "w").shape;
  const wanted = rows ?? all;
  const cut = (key: string): TensorValue => {
    const {
      shape: [, width = 0],
      type,
      values,
    } = find(stored, key);
    return tensorValue(type === "U8" ? "bool" : "f32", [wanted, width], values.subarray(0, wanted * width));
  };
  const x = stored.get("x");
  return {
    name,
    columns,
    rows: wanted,
    windows: made[name]!.windows,
    damp: made[name]!.damp,
    x: x === undefined ? null : tensorValue("f32", x.shape, x.values),
    gram: stored.has("gram") ? square(find(stored, "gram").values, columns, true) : null,
    factor: square(find(stored, "factor").values, columns, false),
    tensor(key, scales) {
      if (scales === undefined) return cut(key);
      const [codes, step] = [cut(`${key}.codes`), cut(scales)];
      const group = columns / step.shape[1]!;
      return { ...codes, data: codes.data.map((code, at) => code * step.data[Math.floor(at / group)]!) };
    },
  };
}

/** A square from its upper triangle, row by row. */
function square(triangle: Float32Array, size: number, symmetric: boolean): TensorValue {
  const data = new Float32Array(size * size);
  let at = 0;
  for (let i = 0; i < size; i += 1) {
    for (let j = i; j < size; j += 1, at += 1) {
      data[i * size + j] = triangle[at]!;
      if (symmetric) data[j * size + i] = triangle[at]!;
    }
  }
  return tensorValue("f32", [size, size], data);
}

function find(
  stored: Stored,
  name: string,
): { readonly shape: readonly number[]; readonly type: string; readonly values: Float32Array } {
  const found = stored.get(name);
  if (found === undefined) throw new Error(`there is no ${name}; there are ${[...stored.keys()].join(", ")}`);
  return found;
}

async function read(path: string): Promise<Stored> {
  const file = await openSafetensors(path);
  const stored = new Map<string, { shape: readonly number[]; type: string; values: Float32Array }>();
  try {
    for (const tensor of file.tensors) {
      const bytes = new Uint8Array(tensor.end - tensor.begin);
      await file.read(tensor, bytes);
      const { dtype: type, shape } = tensor;
      const values =
        type === "I8"
          ? Float32Array.from(new Int8Array(bytes.buffer))
          : type === "U8"
            ? Float32Array.from(bytes)
            : type === "F32" || type === "F16" || type === "BF16"
              ? toFloats(type, bytes)
              : null;
      if (values === null) throw new Error(`${tensor.name} is of type ${type}`);
      stored.set(tensor.name, { shape, type, values });
    }
  } finally {
    await file.close();
  }
  return stored;
}
