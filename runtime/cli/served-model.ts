/** A model made ready to be served on one device. */
import { basename, extname, resolve } from "node:path";
import { createChatRenderer } from "../chat/renderer.js";
import { chatTemplateOf, turnEnds } from "../chat/template.js";
import type { DeviceError } from "../device/error.js";
import { openSession } from "../llama/inference/session.js";
import type { Scheduler } from "../llama/serving/requests.js";
import { openScheduler } from "../llama/serving/scheduler.js";
import type { Model } from "../model/model.js";
import type { ServedModel } from "../server/served.js";
import { sessionOptions, type ActivationOptions, type DtypeOptions } from "./dtype.js";
import { openMachine } from "./machine.js";
import type { DeviceOptions, TunedOptions } from "./options.js";

/** What is said of a model that is served, and how many are to have it at once. */
export interface ServedOptions extends DeviceOptions, DtypeOptions, ActivationOptions, TunedOptions {
  readonly model: string;
  readonly name?: string;
  readonly sequences: number;
  readonly queue: number;
  readonly cacheMemory?: number;
  readonly context?: number;
}

/** A model on a device. */
export interface OpenedServed {
  readonly model: ServedModel;
  readonly scheduler: Scheduler;
  /** For people. */
  readonly device: string;
  /** Settles when the device is lost. */
  readonly lost: Promise<DeviceError>;
  /** Ends all; of a device that is lost nothing is freed. */
  close(isLost: boolean): Promise<void>;
}

/** Puts a model on the device. @throws DeviceError, LlamaError, ModelError */
export async function openServed(
  model: Model,
  options: ServedOptions,
  note: (line: string) => void,
): Promise<OpenedServed> {
  const tokenizer = await model.tokenizer();
  const template = await chatTemplateOf(model);
  if (template === null) note("note: the model has no chat template: /v1/chat/completions answers with 400.");
  const renderer = template === null ? null : createChatRenderer(template);
  const { device, caller, close } = await openMachine(options, note);
  try {
    const session = await openSession(caller, model, {
      ...sessionOptions(options, caller.target),
      activations: options.activations,
    });
    const scheduler = await openScheduler(session, {
      sequences: options.sequences,
      queue: options.queue,
      memory: options.cacheMemory,
      contextLength: options.context,
      // compiling is what takes a CPU's time
      prepared: caller.target.kind === "gpu",
    });
    const { eosTokens } = model.generation;
    return {
      model: {
        name: servedName(options),
        created: Math.floor(Date.now() / 1000),
        vocabulary: model.config.vocabSize,
        tokenizer,
        scheduler,
        ends: eosTokens,
        chat:
          renderer === null || template === null ? null : { renderer, ends: turnEnds(template, tokenizer, eosTokens) },
      },
      scheduler,
      device: device.name,
      lost: device.lost,
      async close(isLost) {
        await scheduler.close().catch(() => {});
        if (!isLost) session.release();
        close();
      },
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** What requests call a model: what was said, or the name of its directory or file. */
export function servedName({ name, model }: Pick<ServedOptions, "name" | "model">): string {
  if (name !== undefined) return name;
  const own = basename(resolve(model));
  return extname(own).toLowerCase() === ".gguf" ? own.slice(0, -".gguf".length) : own;
}
