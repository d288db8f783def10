/**
 * What was on the device is given back however a run ends: each allocation fails once, and each wait for the device.
 * The device computes nothing, for what is computed does not matter here.
 */
import { rm } from "node:fs/promises";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { DeviceError, openDevice, type Device } from "../../runtime/device/device.js";
import { standardLibrary } from "../../runtime/library.js";
import { createCaller, type Caller } from "../../runtime/llama/call.js";
import { compress } from "../../runtime/llama/compression/compress.js";
import { perplexity } from "../../runtime/llama/inference/evaluate.js";
import { generate } from "../../runtime/llama/inference/generate.js";
import { findSensitivity } from "../../runtime/llama/compression/sensitivity.js";
import { openSession, unpackSession } from "../../runtime/llama/inference/session.js";
import { calibrationWindows, scoredWindows } from "../../runtime/llama/windows.js";
import type { Model } from "../../runtime/model/model.js";
import { createExecutor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { inDirectory } from "../model/support.js";
import { writtenRecipe } from "./recipes.js";
import { tinyModel } from "./tiny.js";

const test = suite("ownership");

/** Operations of a device that may fail. */
type Operation = "createBuffer" | "read" | "write" | "submit" | "finish";

/** A device that fails from some operation on, until it is mended. */
interface Frail {
  readonly device: Device;
  /** Operations of these kinds that were asked for since. */
  readonly count: number;
  /** Fails the operation `at` (from 0) of these kinds and all that follow. */
  fail(kinds: readonly Operation[], at: number, code: "out-of-memory" | "device-lost"): void;
  mend(): void;
}

function makeFrail(whole: Device): Frail {
  let kinds: readonly Operation[] = [];
  let count = 0;
  let limit = Infinity;
  let code: "out-of-memory" | "device-lost" = "out-of-memory";
  const frail =
    <Args extends readonly unknown[], Result>(
      kind: Operation,
      work: (...args: Args) => Promise<Result>,
    ): ((...args: Args) => Promise<Result>) =>
    async (...args) => {
      if (kinds.includes(kind) && count++ >= limit) throw new DeviceError(code, `The ${kind} of the test failed.`);
      return work(...args);
    };
  // a read of few bytes maps a buffer of its own: it may fail as any other, and gives zeros as any other
  const createBuffer = (descriptor: GPUBufferDescriptor): GPUBuffer => {
    const buffer = whole.gpu.createBuffer(descriptor);
    if (descriptor.label !== "read") return buffer;
    const map = buffer.mapAsync.bind(buffer);
    buffer.mapAsync = frail("read", map);
    buffer.getMappedRange = (_offset, bytes) => new ArrayBuffer(bytes ?? descriptor.size);
    return buffer;
  };
  const gpu = new Proxy(whole.gpu, {
    get(target, key) {
      if (key === "createBuffer") return createBuffer;
      const found: unknown = Reflect.get(target, key, target);
      return typeof found === "function" ? (found.bind(target) as unknown) : found;
    },
  });
  return {
    device: {
      ...whole,
      gpu,
      createBuffer: frail("createBuffer", whole.createBuffer),
      // no kernel runs, so that memory holds anything
      read: frail("read", async (_buffer, _offset, bytes) => Promise.resolve(new Uint8Array(bytes))),
      write: frail("write", whole.write),
      submit: frail("submit", whole.submit),
      finish: frail("finish", whole.finish),
    },
    get count() {
      return count;
    },
    fail(which, at, how) {
      [kinds, count, limit, code] = [which, 0, at, how];
    },
    mend() {
      limit = Infinity;
    },
  };
}

const prompt = [3, 5, 7];
const ids = Array.from({ length: 48 }, (_, at) => at % 64);
const { recipe, source } = writtenRecipe(`use statistics, prune, quantize
recipe r(model: llama, text: tokens) {
  for block in model.blocks {
    let x2 = observe block on text by feature_squares
    let g = observe block on text by gram
    let c = observe block on text by cross_gram
    for w in block.linears matching "q_proj" {
      let sparse = w where mask_2of4(wanda(w, x2[w]))
      store w as pack sparse as nm(2, 4) of int4(8) with scale int4_scale(sparse, 8)
    }
    for w in block.linears matching "down_proj" {
      let v[n, k] = w[n, k] + g[w][k, k] + c[w][k, k]
      store w as pack (v where layer_mask(magnitude(v), 0.5)) as bitmask of f16
    }
  }
}
`);

interface Run {
  readonly name: string;
  /** How many of its operations fail, evenly spread: each run costs time. */
  readonly tries: number;
  run(caller: Caller, model: Model, folder: string): Promise<void>;
}

const everything: readonly Run[] = [
  {
    name: "generate",
    tries: 30,
    async run(caller, model) {
      const session = await openSession(caller, model, { dtype: "f32", weights: "f32" });
      try {
        for (const temperature of [0, 1])
          await generate(session, prompt, { maxNewTokens: 3, temperature, eosTokens: [] });
      } finally {
        session.release();
      }
    },
  },
  {
    name: "evaluate",
    tries: 20,
    async run(caller, model) {
      const session = await openSession(caller, model, { dtype: "f32" });
      try {
        const dense = await unpackSession(session);
        try {
          await perplexity(dense, ids, { window: 8, bos: null, limit: 3, batch: 2 });
        } finally {
          dense.release();
        }
      } finally {
        session.release();
      }
    },
  },
  {
    name: "compress",
    tries: 8,
    async run(caller, model, folder) {
      const output = join(folder, "out");
      const text = { ids, bos: null, window: 8, windows: 3 };
      try {
        // no room on the device: the activations are spilled
        await compress(caller, model, recipe, { output, source, text, evaluation: text, memory: 600 });
      } finally {
        for (const path of [output, join(folder, ".out.espalier-state")])
          await rm(path, { recursive: true, force: true });
      }
    },
  },
  {
    name: "sensitivity",
    tries: 6,
    async run(caller, model) {
      await findSensitivity(caller, model, [{ name: "r", recipe }], {
        scored: scoredWindows(ids, 8, null, 2),
        calibration: calibrationWindows(ids, 8, null, 2),
        by: "block",
      });
    },
  },
];

test("each allocation that fails is a DeviceError that leaves nothing behind, and so is each wait", async () => {
  const whole = await openDevice({ backend: "null" });
  const frail = makeFrail(whole);
  const { device } = frail;
  // no memory lies idle for longer than until the next dispatch, so that nearly every tensor is an allocation
  const executor = await createExecutor(device, { idleLimit: 0, submitLimit: 1 });
  // the schedules of a CPU are the quickest to compile
  const target = { ...targetOf(device), kind: "cpu", f16: false, subgroups: null, matrices: false } as const;
  const caller = createCaller(executor, target, standardLibrary());
  await inDirectory(async (folder) => {
    const model = await tinyModel(join(folder, "model"));
    executor.trim();
    const allocated = device.memory.allocated;
    const clean = async (what: string): Promise<void> => {
      frail.mend();
      await executor.finish().catch(() => undefined);
      assert.is(executor.memory.live, 0, `${what} left tensors`);
      executor.trim();
      assert.is(device.memory.allocated, allocated, `${what} left memory`);
    };
    for (const { name, tries, run } of everything) {
      for (const [kinds, code] of [
        [["createBuffer"], "out-of-memory"],
        [["createBuffer", "read", "write", "submit", "finish"], "device-lost"],
      ] as const) {
        frail.fail(kinds, Infinity, code);
        await run(caller, model, folder);
        const { count } = frail;
        await clean(name);
        assert.ok(count > 20, `${name} took ${count} ${kinds.join(", ")}`);
        const stride = Math.max(1, Math.floor(count / tries));
        for (let at = 0; at < count; at += stride) {
          const what = `${name}, ${kinds.length === 1 ? kinds[0] : "operation"} ${at} of ${count}`;
          frail.fail(kinds, at, code);
          const error = await run(caller, model, folder).then(
            () => null,
            (thrown: unknown) => thrown,
          );
          if (!(error instanceof DeviceError && error.code === code))
            throw new Error(`${what} ended in ${error instanceof Error ? error.stack : String(error)}`);
          await clean(what);
        }
      }
    }
    await model.close();
  });
  executor.close();
  whole.close();
});

test.run();
