/** What a command and its processes say to each other. */
import { DeviceError, type DeviceErrorCode } from "../../device/error.js";
import { LlamaError, type LlamaErrorCode } from "../../llama/error.js";
import { ModelError, type ModelErrorCode } from "../../model/error.js";
import { failureOf, UsageError } from "../failure.js";
import type { DeviceChoice } from "../options.js";

/** What a process is for, and what it computes on; what else it is told is its work's own affair. */
export interface Begin {
  readonly work: WorkName;
  readonly device: DeviceChoice;
  readonly options: unknown;
}

/** The work that there is, each in a file of its name. */
export type WorkName = "batch" | "serve" | "sensitivity" | "calibration";

/** To a process. Tasks are handed on in order, and may overlap. */
export type Order =
  | { readonly kind: "begin"; readonly begin: Begin }
  | { readonly kind: "task"; readonly id: number; readonly task: unknown }
  | { readonly kind: "end" };

/** From a process. */
export type Report =
  | { readonly kind: "ready"; readonly device: string; readonly answer: unknown }
  | { readonly kind: "note"; readonly line: string }
  | { readonly kind: "progress"; readonly id: number; readonly done: number; readonly total: number }
  | { readonly kind: "done"; readonly id: number; readonly result: unknown }
  /** `id` is null where the process could not begin. */
  | { readonly kind: "failed"; readonly id: number | null; readonly error: SentError };

/** Work that has begun in its process. */
export interface Work {
  /** For people: the name of the device. */
  readonly device: string;
  /** Told when it has begun. */
  readonly answer?: unknown;
  /** @throws whatever is wrong with the task; a lost device ends the process */
  run(task: unknown, onProgress: (done: number, total: number) => void): Promise<unknown>;
  /** Ends it when nothing is under way. */
  close(): Promise<void>;
}

/** What a file of work exports as `begin`. */
export type BeginWork = (device: DeviceChoice, options: unknown, note: (line: string) => void) => Promise<Work>;

/** An error on its way from one process to another. */
export interface SentError {
  readonly name: string;
  readonly code: string;
  readonly message: string;
  readonly help: string | null;
}

/** An error, to be sent. */
export function sentOf(error: unknown): SentError {
  return { name: error instanceof Error ? error.name : "Error", ...failureOf(error) };
}

/** The error that was sent: of the class that it had, where that is one that users are told of. */
export function errorOf({ name, code, message, help }: SentError): Error {
  if (name === "LlamaError") return new LlamaError(code as LlamaErrorCode, message);
  if (name === "DeviceError") return new DeviceError(code as DeviceErrorCode, message);
  if (name === "ModelError") return new ModelError(code as ModelErrorCode, message, help);
  if (name === "UsageError") return new UsageError(message);
  return Object.assign(new Error(message), { stack: message });
}
