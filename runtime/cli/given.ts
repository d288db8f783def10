/** What a command is given, and what of it the user should know. */
import { openModel, type Model } from "../model/model.js";
import type { Output } from "./output.js";

/** Opens a model and says on stderr where its files contradict themselves, and what of them is not used. */
export async function openGiven(path: string, output: Pick<Output, "note" | "alarm">): Promise<Model> {
  const model = await openModel(path);
  for (const warning of model.warnings) warn(output, warning);
  return model;
}

/** A warning about what was given, on stderr. */
export function warn(output: Pick<Output, "note" | "alarm">, warning: string): void {
  output.note(`${output.alarm("warning")}: ${warning}`);
}
