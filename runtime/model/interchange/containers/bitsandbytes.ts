import { tableArgument } from "../../../../compiler/formats/arguments.js";
import type { FormatSpec } from "../../../../compiler/types/type.js";
import { describe, isObject } from "../../json.js";
import { gridLayer, scaledLayer } from "../grid.js";
import {
  layerError,
  readFloats,
  scaleTypes,
  tensorOf,
  type Container,
  type LayerTensor,
  type LayerTensors,
  type Module,
} from "../layer.js";

/** The tables of bitsandbytes. */
export type Table = "nf4" | "fp4";

/** Most bytes of the JSON beside a layer. */
const stateLimit = 4096;

/**
 * 4 bits of bitsandbytes: places in a table of 16 numbers, high half of a byte first, with a scale for each `blocksize`
 * neighbours. Scales may themselves be places in a table of 256, with scales of their own and an offset for all; they
 * are what the library makes of them, in f32.
 */
export function fourBits(table: Table, nested: boolean): Container {
  const state = `weight.quant_state.bitsandbytes__${table}`;
  return {
    name: table,
    what: `places in a table, a scale a block${nested ? ", scales that are quantised (read as f32)" : ""}`,
    needed: [
      "weight",
      "weight.absmax",
      "weight.quant_map",
      state,
      ...(nested ? ["weight.nested_absmax", "weight.nested_quant_map"] : []),
    ],
    possible: [],
    async open(module, tensors) {
      const { outputs, inputs } = module;
      const elements = outputs * inputs;
      if (elements % 2 !== 0) throw layerError("M133", module, "it has an odd number of weights");
      const said = await stateOf(module, tensors, state, table);
      const block = said.blocksize;
      if (inputs % block !== 0)
        throw layerError("M133", module, `blocks of ${block} cross its rows of ${inputs} columns`);
      const bytes = elements / 2;
      const weight = tensorOf(module, tensors, "weight", ["U8"], [[bytes, 1], [1, bytes], [bytes]]);
      const blocks = elements / block;
      const map = await numbersOf(module, tensors, "weight.quant_map", 16);
      const { values, codes } = rising(map);
      const format: FormatSpec = {
        name: "codebook",
        args: { table: tableArgument(table, values), group: block },
        of: null,
      };
      return scaledLayer(module, {
        values: format,
        isSparse: false,
        scales: nested ? nestedScales(module, tensors, said, blocks) : plainScales(module, tensors, blocks),
        async items() {
          const packed = await weight.read();
          const items = new Uint8Array(elements);
          for (let byte = 0; byte < packed.length; byte += 1) {
            items[2 * byte] = codes[packed[byte]! >> 4]!;
            items[2 * byte + 1] = codes[packed[byte]! & 15]!;
          }
          return items;
        },
      });
    },
  };
}

/** A table in the order of its values, each once, and where in it the old places are. */
function rising(map: Float32Array): { readonly values: readonly number[]; readonly codes: readonly number[] } {
  // -0 is 0
  const numbers = [...map].map((value) => value + 0);
  const values = [...new Set(numbers)].sort((a, b) => a - b);
  return { values, codes: numbers.map((value) => values.indexOf(value)) };
}

/** Finite numbers of a small tensor. @throws ModelError M135, M136 */
async function numbersOf(module: Module, tensors: LayerTensors, part: string, count: number): Promise<Float32Array> {
  const values = await readFloats(tensorOf(module, tensors, part, ["F32"], [[count]]));
  if (!values.every(Number.isFinite)) throw layerError("M136", module, `\`${part}\` has numbers that are not finite`);
  return values;
}

function plainScales(module: Module, tensors: LayerTensors, blocks: number): () => Promise<Float32Array> {
  const absmax = tensorOf(module, tensors, "weight.absmax", scaleTypes, [[blocks]]);
  return () => readFloats(absmax);
}

function nestedScales(
  module: Module,
  tensors: LayerTensors,
  { nestedBlocksize, nestedOffset }: State,
  blocks: number,
): () => Promise<Float32Array> {
  const absmax = tensorOf(module, tensors, "weight.absmax", ["U8"], [[blocks]]);
  const scale = tensorOf(module, tensors, "weight.nested_absmax", ["F32"], [[Math.ceil(blocks / nestedBlocksize)]]);
  return async () => {
    const map = await numbersOf(module, tensors, "weight.nested_quant_map", 256);
    const [codes, scales] = [await absmax.read(), await readFloats(scale)];
    // each step in f32, as the library has it
    return Float32Array.from(
      codes,
      (code, at) => Math.fround(map[code]! * scales[Math.floor(at / nestedBlocksize)]!) + nestedOffset,
    );
  };
}

/** What the JSON beside a layer says. */
interface State {
  readonly blocksize: number;
  readonly nestedBlocksize: number;
  /** An f32. */
  readonly nestedOffset: number;
}

async function stateOf(module: Module, tensors: LayerTensors, part: string, table: Table): Promise<State> {
  const tensor = stateTensor(module, tensors, part);
  const raw = parsed(await tensor.read());
  const problem = (field: string, expected: string): never => {
    throw layerError("M136", module, `\`${part}\` should say ${expected} as ${field}, found ${describe(raw[field])}`);
  };
  const size = (field: string, fallback: number): number => {
    const value = raw[field] ?? fallback;
    if (Number.isInteger(value) && Number(value) > 0 && Number(value) <= 2 ** 20) return Number(value);
    return problem(field, "a number of weights");
  };
  if (raw["quant_type"] !== table) problem("quant_type", `"${table}"`);
  const { shape } = raw;
  if (!Array.isArray(shape) || shape.length !== 2 || shape[0] !== module.outputs || shape[1] !== module.inputs)
    problem("shape", `[${module.outputs}, ${module.inputs}]`);
  const offset = raw["nested_offset"] ?? 0;
  if (typeof offset !== "number" || !Number.isFinite(Math.fround(offset))) problem("nested_offset", "a number");
  return {
    blocksize: size("blocksize", 64),
    nestedBlocksize: size("nested_blocksize", 256),
    nestedOffset: Math.fround(Number(offset)),
  };
}

function stateTensor(module: Module, tensors: LayerTensors, part: string): LayerTensor {
  const length = tensors.get(part)?.shape[0] ?? 0;
  if (length > stateLimit) throw layerError("M135", module, `\`${part}\` has ${length} bytes, more than ${stateLimit}`);
  return tensorOf(module, tensors, part, ["U8"], [[length]]);
}

function parsed(bytes: Uint8Array): { readonly [field: string]: unknown } {
  try {
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes));
    return isObject(value) ? value : {};
  } catch {
    return {};
  }
}

/**
 * 8 bits of bitsandbytes (LLM.int8()): signed bytes times SCB / 127, which is a product with f32's 1 / 127 as in the
 * library.
 */
export const eightBits: Container = {
  name: "llm.int8",
  what: "int8, one scale a row, symmetric",
  needed: ["weight", "SCB"],
  possible: ["weight_format"],
  async open(module, tensors) {
    const { outputs, inputs } = module;
    const weight = tensorOf(module, tensors, "weight", ["I8"], [[outputs, inputs]]);
    const largest = tensorOf(module, tensors, "SCB", ["F32"], [[outputs], [outputs, 1]]);
    const order = tensors.get("weight_format");
    if (order !== undefined) {
      const [first] = await tensorOf(module, tensors, "weight_format", ["U8"], [[], [1]]).read();
      if (first !== 0) throw layerError("M133", module, `\`weight_format\` is ${first}; rows in order (0) are read`);
    }
    return gridLayer(module, {
      bits: 8,
      group: "channel",
      order: null,
      isSparse: false,
      zeros: null,
      scales: async () => (await readFloats(largest)).map((value) => value * Math.fround(1 / 127)),
      codes: async () => (await weight.read()).map((byte) => byte ^ 0x80),
    });
  },
};
