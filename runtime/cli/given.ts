/** What a command is given, and what of it the user should know. */
import { existsSync } from "node:fs";
import { parseReference } from "../hub/reference.js";
import { openModel, type Model } from "../model/model.js";
import type { Output } from "./output.js";

/**
 * Where a model lies: the path that is given, or what the hub has by that name, `org/name` where there is no such path.
 * @throws ModelError as `fetchFromHub`
 */
export async function givenModel(path: string, output: Pick<Output, "note" | "progress">): Promise<string> {
  if (existsSync(path)) return path;
  const reference = parseReference(path);
  return reference === null ? path : (await import("./hub.js")).fetchNamed(reference, output);
}

/** The same of a text, `hf://datasets/...`, which may have a weight behind it: FILE=WEIGHT. */
async function givenText(value: string, output: Pick<Output, "note" | "progress">): Promise<string> {
  if (!value.startsWith("hf://")) return value;
  const [, path = value, weight = ""] = /^(.*?)(=[\d.]+)?$/.exec(value) ?? [];
  return (await givenModel(path, output)) + weight;
}

/** Options that name texts, with paths on this disk. */
interface TextOptions {
  readonly text?: string | readonly string[];
  readonly eval?: string;
  readonly calibration?: string;
  readonly tasks?: readonly string[];
}

/** The options of a command, with what texts of the hub were fetched to. */
export async function withLocalTexts<Options extends TextOptions>(
  options: Options,
  output: Pick<Output, "note" | "progress">,
): Promise<Options> {
  const changed: { [name: string]: string | readonly string[] } = {};
  for (const name of ["text", "eval", "calibration", "tasks"] as const) {
    const value = options[name];
    if (typeof value === "string") changed[name] = await givenText(value, output);
    else if (value !== undefined) {
      const paths: string[] = [];
      for (const each of value) paths.push(await givenText(each, output));
      changed[name] = paths;
    }
  }
  return { ...options, ...changed };
}

/** Opens a model and says on stderr where its files contradict themselves, and what of them is not used. */
export async function openGiven(path: string, output: Pick<Output, "note" | "alarm" | "progress">): Promise<Model> {
  const model = await openModel(await givenModel(path, output));
  for (const warning of model.warnings) warn(output, warning);
  return model;
}

/** A warning about what was given, on stderr. */
export function warn(output: Pick<Output, "note" | "alarm">, warning: string): void {
  output.note(`${output.alarm("warning")}: ${warning}`);
}
