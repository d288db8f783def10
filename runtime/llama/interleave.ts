/** Packed weights in the orders that programs want them in: made on the device when first asked for, and then kept. */
import { movedSections, type MovedSection } from "../../compiler/formats/interleave.js";
import { shapeOf, formatWords } from "../../compiler/formats/registry.js";
import { rowOrderText, type RowOrder } from "../../compiler/types/row-order.js";
import { DeviceError } from "../device/error.js";
import type { Argument, DeviceTensor, Executor, Prepared } from "../run/run.js";

/** Who runs the library's functions: a caller. */
export interface Mover {
  readonly executor: Executor;
  prepared(
    name: string,
    args: { readonly words: DeviceTensor },
    extra?: { readonly sizes?: { readonly [name: string]: number } },
  ): Promise<Prepared>;
}

/** By the tensor in the order of its rows. */
const made = new WeakMap<DeviceTensor, Map<string, Promise<DeviceTensor>>>();

/** Executors whose device had no memory for a weight twice. */
const full = new WeakSet<Executor>();

/** Whether weights may be held twice on a device: until there was no memory for one. */
export function hasRoom(executor: Executor): boolean {
  return !full.has(executor);
}

/** A tensor that is wanted in an order; in its own where that is left out. */
interface Wanted {
  readonly tensor: DeviceTensor;
  readonly order: RowOrder | undefined;
}

/** Who makes copies on an executor, one after the other. */
const turns = new WeakMap<Executor, Promise<unknown>>();

/**
 * Tensors in orders, with those of `wanted` that are in their own; null where the device has no memory for them, of
 * which then none stays that this call has made.
 */
export async function allInOrder(caller: Mover, wanted: readonly Wanted[]): Promise<readonly DeviceTensor[] | null> {
  if (wanted.every(({ order }) => order === undefined)) return wanted.map(({ tensor }) => tensor);
  // what one call makes and gives back again, no other may have been given
  const before = turns.get(caller.executor) ?? Promise.resolve();
  const own = before.then(() => makeAll(caller, wanted));
  turns.set(
    caller.executor,
    own.catch(() => {}),
  );
  return own;
}

async function makeAll(caller: Mover, wanted: readonly Wanted[]): Promise<readonly DeviceTensor[] | null> {
  const fresh: { readonly of: DeviceTensor; readonly key: string; readonly moved: Promise<DeviceTensor> }[] = [];
  const moved = await Promise.allSettled(
    wanted.map(async ({ tensor, order }) => {
      if (order === undefined) return tensor;
      const known = made.get(tensor)?.has(rowOrderText(order)) === true;
      const ready = inOrder(caller, tensor, order);
      if (!known) fresh.push({ of: tensor, key: rowOrderText(order), moved: ready });
      return ready;
    }),
  );
  const failed = moved.find((each) => each.status === "rejected");
  if (failed === undefined) return moved.map((each) => (each as PromiseFulfilledResult<DeviceTensor>).value);
  for (const { of, key, moved: ready } of fresh)
    await ready.then(
      (tensor) => {
        made.get(of)?.delete(key);
        // with the one that it is a copy of, which may have been released meanwhile
        if (!caller.executor.isReleased(tensor)) caller.executor.release(tensor);
      },
      () => {},
    );
  if (!(failed.reason instanceof DeviceError) || failed.reason.code !== "out-of-memory") throw failed.reason;
  full.add(caller.executor);
  return null;
}

/**
 * The tensor in an order; it is released with the one given. Takes as much memory again.
 * @throws DeviceError out-of-memory
 */
function inOrder(caller: Mover, tensor: DeviceTensor, order: RowOrder): Promise<DeviceTensor> {
  const own = made.get(tensor) ?? new Map<string, Promise<DeviceTensor>>();
  made.set(tensor, own);
  const key = rowOrderText(order);
  let ready = own.get(key);
  if (ready === undefined) {
    ready = move(caller, tensor, order);
    own.set(key, ready);
    ready.catch(() => own.delete(key));
  }
  return ready;
}

/** The arguments of a program, those in an order that want it; null where the device has no memory for them. */
export async function argumentsInOrder<A extends Argument>(
  caller: Mover,
  program: Prepared["program"],
  args: Readonly<Record<string, A>>,
): Promise<Readonly<Record<string, A | DeviceTensor>> | null> {
  const wanted = program.inputs.flatMap(({ name, order }) => {
    const given = args[name];
    return order === undefined || typeof given !== "object" ? [] : [{ name, tensor: given as DeviceTensor, order }];
  });
  if (wanted.length === 0) return args;
  const moved = await allInOrder(caller, wanted);
  return moved === null ? null : { ...args, ...Object.fromEntries(moved.map((each, at) => [wanted[at]!.name, each])) };
}

async function move(caller: Mover, tensor: DeviceTensor, order: RowOrder): Promise<DeviceTensor> {
  const { executor } = caller;
  const { format } = tensor;
  const shape = shapeOf(tensor.shape);
  const sections = format === null ? null : movedSections(format, shape, order);
  if (format === null || sections === null)
    throw new DeviceError("validation", `The rows of a tensor [${tensor.shape.join(", ")}] cannot lie side by side.`);
  const whole = await executor.allocate(tensor, "weights with their rows side by side", 4 * formatWords(format, shape));
  const target: DeviceTensor = Object.assign(whole, { order });
  try {
    executor.tie(target, tensor);
    await moveInto(caller, tensor, target, sections, order);
  } catch (error) {
    if (!executor.isReleased(target)) executor.release(target);
    throw error;
  }
  return target;
}

async function moveInto(
  caller: Mover,
  tensor: DeviceTensor,
  target: DeviceTensor,
  sections: readonly MovedSection[],
  order: RowOrder,
): Promise<void> {
  const shape = shapeOf(tensor.shape);
  const pieces = shape.columns / order.columns;
  for (const { section, words, spread } of sections) {
    const own = { dtype: "u32" as const, format: null, offset: 4 * section.offset, bytes: 4 * section.words };
    const part = (of: DeviceTensor, sizes: readonly number[]): DeviceTensor => ({
      ...own,
      buffer: of.buffer,
      offset: of.offset + own.offset,
      shape: sizes,
    });
    const blocks = shape.rows / order.rows;
    const before = words > 0 ? [blocks, order.rows, pieces, words] : [section.words];
    const after = words > 0 ? [blocks, pieces, order.rows, words] : [section.words];
    const args = { words: part(tensor, before) };
    const [called, extra] =
      words > 0 ? [`${spread ?? "words"}_beside`, {}] : ["halves_beside", { sizes: { rows: order.rows, pieces } }];
    await caller.executor.run(await caller.prepared(called, args, extra), args, {}, { y: part(target, after) });
  }
}
