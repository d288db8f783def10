/** Weights from disk to the device, a piece at a time: a model is never whole in the heap. */
import { gainOffset } from "../model/architectures/architecture.js";
import { architectureOf } from "../model/architectures/registry.js";
import { InternalError } from "../../compiler/diagnostic.js";
import { mostHalf } from "../../compiler/formats/fit.js";
import { isDense, plainType } from "../../compiler/formats/registry.js";
import type { ActivationFormat } from "../../compiler/types/activation-format.js";
import type { Target } from "../../compiler/target.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { formatBytes as printBytes } from "../device/error.js";
import type { BlockLayout } from "../model/layout.js";
import type { Block, Model, ModelTensor } from "../model/model.js";
import { denseFormat } from "../model/packed.js";
import { allDone } from "../run/outcomes.js";
import type { DeviceTensor, TensorForm } from "../run/run.js";
import type { Arena } from "../run/arena.js";
import type { Caller } from "./call.js";
import { LlamaError } from "./error.js";
import { largest } from "./measure.js";
import { first } from "./results.js";

/** What dense weights are kept as: as they are in the file, or converted. */
export type WeightDtype = "stored" | "f16" | "f32";

/** A table whose rows are spread over several tensors, where one would be too large for a binding. */
export interface Table {
  readonly parts: readonly { readonly tensor: DeviceTensor; readonly first: number }[];
}

/** What activations are kept in. */
export type ActivationDtype = "f32" | "f16";

/** A block's weights on the device, by the parameters of its function. */
export interface BlockWeights {
  readonly layout: BlockLayout;
  /** Gains and biases, f32. */
  readonly vectors: { readonly [parameter: string]: DeviceTensor };
  /** The weights of its linear layers. */
  readonly linears: { readonly [parameter: string]: DeviceTensor };
  /** In what their products take what they multiply, where the model says so. */
  readonly activations?: { readonly [parameter: string]: ActivationFormat };
}

/** Bytes that are read and written at once. */
const piece = 16 * 2 ** 20;

/**
 * A weight [N, K] on the device, in the format it is stored in; dense ones are converted where `keep` asks for it.
 * @throws LlamaError unsupported-model, ModelError, DeviceError
 */
export async function loadWeight(
  caller: Caller,
  model: Model,
  name: string,
  keep: WeightDtype,
  arena: Arena,
): Promise<DeviceTensor> {
  const stored = model.tensor(name);
  if (stored.bytes > caller.target.maxBinding) {
    throw new LlamaError(
      "unsupported-model",
      `The weight ${name} has ${printBytes(stored.bytes)}, but ${caller.target.name} binds at most ${printBytes(caller.target.maxBinding)} at once.`,
    );
  }
  return convert(caller, await upload(caller, model, stored, stored.shape, 0, stored.bytes, arena), keep, arena);
}

/**
 * A table of rows (embedding, head) in as many parts as the device needs.
 * @throws LlamaError unsupported-model, ModelError, DeviceError
 */
export async function loadTable(
  caller: Caller,
  model: Model,
  name: string,
  keep: WeightDtype,
  arena: Arena,
): Promise<Table> {
  const stored = model.tensor(name);
  const [rows = 0, columns = 0] = stored.shape;
  if (!isDense(storedFormat(stored)))
    return { parts: [{ tensor: await loadWeight(caller, model, name, keep, arena), first: 0 }] };
  const rowBytes = stored.bytes / rows;
  const most = rowsOfPart(caller.target, Math.max(rowBytes, keep === "f32" ? columns * 4 : 0));
  const parts: { tensor: DeviceTensor; first: number }[] = [];
  for (let row = 0; row < rows; row += most) {
    const count = Math.min(most, rows - row);
    const tensor = await upload(caller, model, stored, [count, columns], row * rowBytes, count * rowBytes, arena);
    parts.push({ tensor: await convert(caller, tensor, keep, arena), first: row });
  }
  return { parts };
}

/** The most rows of a dense table that one binding holds: a multiple of 8, so that every part begins at 16 bytes. */
export function rowsOfPart(target: Target, rowBytes: number): number {
  return Math.max(8, Math.floor(target.maxBinding / rowBytes / 8) * 8);
}

/** A vector as dense f32; a norm's gain is what it multiplies by. */
export async function loadVector(caller: Caller, model: Model, name: string, arena: Arena): Promise<DeviceTensor> {
  const offset = gainOffset(architectureOf(model.config), name);
  const given = await model.floats(name);
  const values = offset === 0 ? given : given.map((value) => value + offset);
  return arena.own(await caller.executor.fill("f32", [values.length], values, name));
}

/**
 * A block's weights, for activations of `dtype`.
 * @throws LlamaError unsupported-model, ModelError, DeviceError
 */
export async function loadBlock(
  caller: Caller,
  model: Model,
  index: number,
  keep: WeightDtype,
  dtype: ActivationDtype,
  arena: Arena,
): Promise<BlockWeights> {
  const block = model.blocks[index];
  if (block === undefined) throw new InternalError(`the model has no block ${index}`);
  const tensors: DeviceTensor[] = [];
  for (const { weight } of block.linears) tensors.push(await loadWeight(caller, model, weight, keep, arena));
  const held = await heldByProducts(caller, tensors, dtype, arena);
  return {
    layout: block.layout,
    vectors: await loadVectors(caller, model, block, arena),
    linears: Object.fromEntries(block.linears.map(({ parameter }, at) => [parameter, held[at]!])),
    ...roundedIn(block, model.activations),
  };
}

/** What a model says of the activations of a block's layers, by their parameters. */
export function roundedIn(
  { linears }: Pick<Block, "linears">,
  activations: ReadonlyMap<string, ActivationFormat>,
): Pick<BlockWeights, "activations"> {
  const found = linears.flatMap(({ name, parameter }) => {
    const format = activations.get(name);
    return format === undefined ? [] : [[parameter, format] as const];
  });
  return found.length === 0 ? {} : { activations: Object.fromEntries(found) };
}

/** The gains and biases of a block, each as `load` gives it; zeros for what this model has not. */
export async function loadVectors(
  caller: Caller,
  model: Model,
  block: Block,
  arena: Arena,
  load = (name: string): Promise<DeviceTensor> => loadVector(caller, model, name, arena),
): Promise<BlockWeights["vectors"]> {
  const vectors: Record<string, DeviceTensor> = {};
  for (const { name, parameter } of block.vectors) vectors[parameter] = await load(name);
  for (const { parameter, shape } of block.layout.zeros ?? []) {
    const [length = 0] = shape;
    vectors[parameter] = arena.own(await caller.executor.fill("f32", shape, new Float32Array(length), parameter));
  }
  return vectors;
}

/**
 * A block with its packed weights decoded: for passes over so many tokens that decoding once is cheaper than in every
 * product. Where activations are f16, so are all weights then that f16 holds, that products may take the units made for
 * it. The arena owns what was decoded.
 */
export async function unpackBlock(
  caller: Caller,
  block: BlockWeights,
  dtype: ActivationDtype,
  arena: Arena,
): Promise<BlockWeights> {
  const packed = Object.entries(block.linears).filter(
    ([, { format }]) => format !== null && format.name !== dtype && !(dtype === "f32" && isDense(format)),
  );
  // asked side by side, so that the device is waited for once
  const halves = await allDone(packed.map(async ([, tensor]) => dtype === "f16" && (await fitsHalf(caller, tensor))));
  const linears: Record<string, DeviceTensor> = { ...block.linears };
  for (const [at, [parameter, tensor]] of packed.entries()) {
    if (halves[at] === false && tensor.format?.name === "f32") continue;
    linears[parameter] = arena.own(
      first(await caller.call(halves[at] === true ? "dense_f16" : "dense", { w: tensor })),
    );
  }
  return { ...block, linears };
}

/**
 * Weights as products with activations of `dtype` may take them. Products by matrices round weights to f16 where the
 * activations are f16 (spec/numerics.md); one that f16 does not hold is decoded to f32, which stays as it is, and
 * released. The arena owns the weights.
 */
export async function heldByProducts(
  caller: Caller,
  tensors: readonly DeviceTensor[],
  dtype: ActivationDtype,
  arena: Arena,
): Promise<readonly DeviceTensor[]> {
  if (dtype !== "f16" || !caller.target.matrices) return tensors;
  const fits = await allDone(
    tensors.map(async (tensor) => plainDtype(tensor.format) !== null || (await fitsHalf(caller, tensor))),
  );
  const held: DeviceTensor[] = [];
  for (const [at, tensor] of tensors.entries()) {
    if (fits[at] === true) held.push(tensor);
    else {
      held.push(arena.own(first(await caller.call("dense", { w: tensor }))));
      arena.release(tensor);
    }
  }
  return held;
}

/** The dtype of a tensor's values if that is f16 or f32, in whatever pattern; else null. */
function plainDtype(format: FormatSpec | null): "f16" | "f32" | null {
  const type = format === null ? "f32" : plainType(format);
  return type === "f16" || type === "f32" ? type : null;
}

/** The format of a tensor's bytes. */
export function storedFormat(stored: ModelTensor): FormatSpec {
  const format = stored.format ?? denseFormat(stored.dtype);
  if (format === null)
    throw new LlamaError(
      "unsupported-model",
      `The tensor ${stored.name} has the dtype ${stored.dtype}, which is not supported.`,
    );
  return format;
}

function upload(
  caller: Caller,
  model: Model,
  stored: ModelTensor,
  shape: readonly number[],
  begin: number,
  bytes: number,
  arena: Arena,
): Promise<DeviceTensor> {
  const form: TensorForm = { dtype: "f32", shape, format: storedFormat(stored) };
  return uploadPieces(caller, form, stored.name, bytes, arena, (part, done) =>
    model.readInto(stored.name, part, begin + done),
  );
}

/**
 * A tensor of `bytes` bytes on the device, a piece at a time: `read` fills a piece with what is there from byte `begin`
 * on.
 */
export async function uploadPieces(
  caller: Caller,
  form: TensorForm,
  label: string,
  bytes: number,
  arena: Arena,
  read: (part: Uint8Array, begin: number) => Promise<void>,
): Promise<DeviceTensor> {
  const tensor = arena.own(await caller.executor.allocate(form, label, bytes));
  const buffer = new Uint8Array(Math.min(piece, bytes));
  for (let done = 0; done < bytes; done += buffer.length) {
    const part = buffer.subarray(0, Math.min(buffer.length, bytes - done));
    await read(part, done);
    await caller.executor.write(tensor, part, done);
  }
  return tensor;
}

/** The first `bytes` bytes of a tensor, a piece at a time. */
export async function* downloadPieces(caller: Caller, tensor: DeviceTensor, bytes: number): AsyncGenerator<Uint8Array> {
  await caller.executor.finish();
  for (let done = 0; done < bytes; done += piece)
    yield caller.executor.device.read(tensor.buffer, tensor.offset + done, Math.min(piece, bytes - done));
}

async function convert(caller: Caller, tensor: DeviceTensor, keep: WeightDtype, arena: Arena): Promise<DeviceTensor> {
  if (keep === "stored" || tensor.format === null || !isDense(tensor.format) || tensor.format.name === keep)
    return tensor;
  if (keep === "f16" && !(await fitsHalf(caller, tensor))) return tensor;
  const converted = arena.own(first(await caller.call(keep === "f32" ? "dense" : "dense_f16", { w: tensor })));
  arena.release(tensor);
  return converted;
}

/**
 * Whether a weight may be stored in f16: none of its values is beyond f16, nor are all of them so small that most would
 * be subnormal there, which have fewer digits and which a device may read as zero.
 */
export async function fitsHalf(caller: Caller, tensor: DeviceTensor): Promise<boolean> {
  const most = await largest(caller, tensor);
  return most === 0 || (most >= 2 ** -8 && most <= mostHalf);
}
