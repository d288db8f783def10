import type { Target } from "../../compiler/target.js";
import type { SessionOptions } from "../llama/session.js";
import { UsageError } from "./failure.js";

export interface DtypeOption {
  readonly dtype: string;
}

/** What activations and dense weights are kept in for `--dtype`. */
export function modelDtypes(options: DtypeOption, target: Target): SessionOptions {
  switch (options.dtype) {
    case "auto": return target.f16 && target.kind === "gpu" ? { dtype: "f16", weights: "f16" } : { dtype: "f32", weights: "stored" };
    case "f32": return { dtype: "f32", weights: "f32" };
    case "f16":
      if (!target.f16) throw new UsageError(`--dtype f16: ${target.name} does not compute in f16; leave it out for f32`);
      return { dtype: "f16", weights: "f16" };
    default: throw new UsageError(`--dtype is auto, f32 or f16, not "${options.dtype}"`);
  }
}
