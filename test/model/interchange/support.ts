/** Layers of other tools' checkpoints, and how to damage them. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { formatOfSpec, shapeOf } from "../../../compiler/formats/registry.js";
import { openInterchange, type Interchange } from "../../../runtime/model/interchange/open.js";
import { parseQuantization } from "../../../runtime/model/interchange/quantization.js";
import type { TensorLayout } from "../../../runtime/model/safetensors-writer.js";
import type { TensorFile, Weights } from "../../../runtime/model/weights.js";
import { projectFile } from "../../support/project.js";

/** What `layers.json` says of a file. */
export interface Sample {
  readonly module: string;
  readonly shape: readonly [number, number];
  readonly quantization_config: { readonly [field: string]: unknown };
  readonly expected: {
    readonly mean: number;
    readonly sum_abs: number;
    readonly zeros: number;
    readonly first8: readonly number[];
    readonly last8: readonly number[];
    readonly sha256_f32le: string;
  };
}

/** A tensor in memory. */
export interface Tensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array<ArrayBuffer>;
}

/** A layer as its file has it: tensors by the last part of their names. */
export interface Given {
  readonly module: string;
  readonly shape: readonly [number, number];
  readonly config: { [field: string]: unknown };
  readonly tensors: Map<string, Tensor>;
}

/** All of them. */
export const samples = JSON.parse(readFileSync(projectFile("test/data/interchange/layers.json"), "utf8")) as {
  readonly [name: string]: Sample;
};

/** The tensors of a safetensors file, by name. */
export function tensorsIn(path: string): Map<string, Tensor> {
  const bytes = readFileSync(path);
  const start = 8 + Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.subarray(8, start).toString()) as {
    readonly [name: string]: TensorLayout & { readonly data_offsets: readonly [number, number] };
  };
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return new Map(
    entries.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        const data = new Uint8Array(bytes.subarray(start + begin, start + end));
        return [name, { dtype, shape, data }];
      },
    ),
  );
}

/** A layer anew, to be changed. */
export function given(name: string): Given {
  const { module, shape, quantization_config } = samples[name]!;
  const tensors = [...tensorsIn(projectFile(`test/data/interchange/${name}.safetensors`))];
  return {
    module,
    shape,
    config: structuredClone(quantization_config),
    tensors: new Map(tensors.map(([key, tensor]) => [key.slice(module.length + 1), tensor])),
  };
}

/** Weights that hold these tensors. */
export function weightsOf(tensors: ReadonlyMap<string, Tensor>): Weights {
  const entries = [...tensors].map(([name, { dtype, shape, data }]) => {
    const stored = { name, dtype, shape, begin: 0, end: data.length };
    const file: TensorFile = {
      path: "given",
      tensors: [stored],
      dataStart: 0,
      async read(_stored, target, begin = 0) {
        target.set(data.subarray(begin, begin + target.length));
      },
      close: async () => undefined,
    };
    return [name, { file, stored }] as const;
  });
  return { files: [], tensors: new Map(entries), warnings: [], close: async () => undefined };
}

/** The layer as Espalier takes it. */
export async function opened({ module, shape: [outputs, inputs], config, tensors }: Given): Promise<Interchange> {
  const named = new Map([...tensors].map(([part, tensor]) => [`${module}.${part}`, tensor]));
  const quantization = parseQuantization("config.json", config);
  return openInterchange("given", quantization, [{ name: module, outputs, inputs }], weightsOf(named), "BF16");
}

/** The words of a layer. */
export async function wordsOf(layer: Given, { weights }: Interchange): Promise<Uint32Array<ArrayBuffer>> {
  const { file, stored } = weights.tensors.get(`${layer.module}.weight`)!;
  const words = new Uint32Array((stored.end - stored.begin) / 4);
  // in two pieces, as it is uploaded
  const bytes = new Uint8Array(words.buffer);
  const half = 16 * Math.ceil(words.length / 8);
  await file.read(stored, bytes.subarray(0, half), 0);
  await file.read(stored, bytes.subarray(half), half);
  return words;
}

/** Its values. */
export async function valuesOf(layer: Given): Promise<Float32Array> {
  const found = await opened(layer);
  const { format } = found.packed.get(`${layer.module}.weight`)!;
  return formatOfSpec(format).decode(format, shapeOf(layer.shape), await wordsOf(layer, found));
}

/** The sha256 of f32 values; -0 counts as 0. */
export function hashOf(values: Float32Array): string {
  return createHash("sha256")
    .update(new Uint8Array(values.map((value) => value + 0).buffer))
    .digest("hex");
}
