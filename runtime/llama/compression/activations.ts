/** The activations of many windows between two blocks, in batches: as many as may on the device, the rest on disk. */
import { InternalError } from "../../../compiler/diagnostic.js";
import type { LlamaConfig } from "../../model/config.js";
import type { DeviceTensor } from "../../run/run.js";
import { openArena, withArena, type Arena } from "../../run/arena.js";
import { denseBytes } from "../../run/tensor.js";
import type { Caller } from "../call.js";
import { callsIn } from "../inference/chain.js";
import { embed, type Entry } from "../inference/pass.js";
import { windowsAtOnce } from "../room.js";
import type { Spill } from "../long-runs/spill.js";
import type { ActivationDtype } from "../weights.js";
import type { Windows } from "../windows.js";

/** x [B, T, D] of some windows, with angles [B, T, head / 2] and positions [B] that batches share. */
export interface ActivationBatch {
  readonly x: DeviceTensor;
  readonly cosine: DeviceTensor;
  readonly sine: DeviceTensor;
  readonly positions: DeviceTensor;
}

/** Activations before a block. */
export interface Activations {
  readonly windows: number;
  /** Of a window. */
  readonly tokens: number;
  readonly batches: number;
  /** Windows of a batch, the last of which may have fewer. */
  readonly batch: number;
  /** Bytes on disk. */
  readonly spilled: number;
  /**
   * A batch, put on the device if it is not there; the arena owns what is read for it.
   * @throws ModelError M154; DeviceError
   */
  load(at: number, arena: Arena): Promise<ActivationBatch>;
  /**
   * Takes `next` over in place of the x that a batch had, whose memory goes.
   * @throws ModelError M153, M154; DeviceError
   */
  replace(at: number, next: DeviceTensor): Promise<void>;
  /** Gives all memory back. */
  release(): Promise<void>;
}

export interface ActivationOptions {
  readonly dtype: ActivationDtype;
  /**
   * Bytes of activations that stay on the device; the rest goes to disk. The device's share of memory where not said.
   */
  readonly memory?: number | undefined;
  /** Windows of a batch; as many as the device is worth where not said. */
  readonly batch?: number | undefined;
  /** Makes room for what does not stay on the device. */
  readonly spill: (slots: number, slotBytes: number) => Promise<Spill>;
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/**
 * Bytes of activations that stay on the device by default: a quarter of the machine's memory on a CPU; 4.5 GiB on a
 * GPU, whose memory is not known. That is 128 sequences of 2048 tokens of 4096 values, and half a GiB.
 */
export function defaultMemory({ target, executor }: Caller): number {
  return target.kind === "gpu" ? 4.5 * 2 ** 30 : Math.floor(executor.device.hostMemory / 4);
}

/**
 * Embeds windows.
 * @throws ModelError M153 (no room on disk for what does not stay on the device), M154; DeviceError
 */
export async function embedWindows(
  caller: Caller,
  config: LlamaConfig,
  frame: Entry,
  windows: Windows,
  options: ActivationOptions,
): Promise<Activations> {
  const { executor } = caller;
  const { count, tokens } = windows;
  const batch = Math.min(options.batch ?? windowsAtOnce(caller.target, config, tokens), count);
  const batches = Math.ceil(count / batch);
  const slotBytes = denseBytes(options.dtype, [batch, tokens, config.hiddenSize]);
  const kept = Math.min(batches, Math.floor((options.memory ?? defaultMemory(caller)) / slotBytes));
  const spill: Spill | null = kept < batches ? await options.spill(batches - kept, slotBytes) : null;
  const onDevice: (DeviceTensor | null)[] = new Array<null>(batches).fill(null);
  const angles = new Map<number, Omit<ActivationBatch, "x">>();
  /** Owns what stays on the device. */
  const arena = openArena(executor);

  async function release(): Promise<void> {
    arena.close();
    onDevice.fill(null);
    angles.clear();
    await spill?.close();
  }
  async function put(at: number, next: DeviceTensor): Promise<void> {
    const before = onDevice[at];
    if (before) arena.release(before);
    onDevice[at] = null;
    arena.own(next);
    if (at < kept) {
      onDevice[at] = next;
      return;
    }
    try {
      await spill?.write(at - kept, await executor.read(next));
    } finally {
      arena.release(next);
    }
  }
  const windowsOf = (at: number): number => Math.min(batch, count - at * batch);

  try {
    for (let at = 0; at < batches; at++) {
      const many = windowsOf(at);
      const from = at * batch * tokens;
      await withArena(executor, async (own) => {
        const tokensOf = windows.ids.slice(from, from + many * tokens);
        const ids = own.own(await executor.fill("i32", [many, tokens], tokensOf, "token ids"));
        const positions = own.own(await executor.fill("i32", [many], new Int32Array(many), "positions"));
        const layers = { frame, dtype: options.dtype };
        const { x, cosine, sine } = await embed(callsIn(own, caller), layers, ids, positions, tokens);
        if (!angles.has(many)) {
          for (const tensor of [cosine, sine, positions]) arena.own(own.keep(tensor));
          angles.set(many, { cosine, sine, positions });
        }
        await put(at, own.keep(x));
      });
      await executor.finish();
      options.onProgress?.(at + 1, batches);
    }
  } catch (error) {
    await release();
    throw error;
  }
  return {
    windows: count,
    tokens,
    batches,
    batch,
    release,
    spilled: spill?.bytes ?? 0,
    replace: put,
    async load(at, own) {
      const shared = angles.get(windowsOf(at));
      if (shared === undefined) throw new InternalError(`there is no batch ${at}`);
      return { x: onDevice[at] ?? own.own(await fetch(at)), ...shared };
    },
  };

  async function fetch(at: number): Promise<DeviceTensor> {
    const form = { dtype: options.dtype, shape: [windowsOf(at), tokens, config.hiddenSize], format: null };
    const bytes = new Uint8Array(denseBytes(form.dtype, form.shape));
    await spill?.read(at - kept, bytes);
    return executor.upload(form, bytes, "activations");
  }
}
