import { Option, type Command } from "commander";
import type { Target } from "../../compiler/target.js";
import type { ActivationChoice } from "../llama/rounding.js";
import type { SessionOptions } from "../llama/inference/session.js";
import { UsageError } from "./failure.js";

/** What activations and dense weights are kept in. */
export interface DtypeOptions {
  readonly dtype: "auto" | "f32" | "f16";
}

/** Adds `--dtype`. */
export function withDtype(command: Command): Command {
  return command.addOption(
    new Option("--dtype <dtype>", "activations and dense weights; auto is f16 on a GPU that has it, else f32")
      .choices(["auto", "f32", "f16"])
      .default("auto"),
  );
}

/** What products take their activations in. */
export interface ActivationOptions {
  readonly activations: ActivationChoice;
}

/** Adds `--activations`. */
export function withActivations(command: Command): Command {
  return command.addOption(
    new Option(
      "--activations <kind>",
      "what products take activations in: auto is what the model says, and where it says nothing int8 for a few tokens, up to 8, where all weights of a block are integers; int8, for any number of tokens; f16, as they are kept",
    )
      .choices(["auto", "int8", "f16"])
      .default("auto"),
  );
}

/** The session that `--dtype` asks for on a device. */
export function sessionOptions({ dtype }: DtypeOptions, target: Target): SessionOptions {
  switch (dtype) {
    case "auto":
      return target.f16 && target.kind === "gpu"
        ? { dtype: "f16", weights: "f16" }
        : { dtype: "f32", weights: "stored" };
    case "f32":
      return { dtype: "f32", weights: "f32" };
    case "f16":
      if (!target.f16)
        throw new UsageError(`--dtype f16: ${target.name} does not compute in f16; leave it out for f32`);
      return { dtype: "f16", weights: "f16" };
    default:
      return dtype satisfies never;
  }
}
