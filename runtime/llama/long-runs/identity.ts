/** What decides the bits of a compression, so that a run is gone on with only as it was begun. */
import { createHash } from "node:crypto";
import { stat } from "node:fs/promises";
import { basename } from "node:path";
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import { filesOf, type Model } from "../../model/model.js";
import { recipeHash } from "../../model/write.js";
import { installedVersion, thisBuild } from "../../build.js";
import type { Caller } from "../call.js";
import type { ActivationDtype } from "../inference/session.js";

/** Values by what they are of, in words for people. */
export type Identity = { readonly [part: string]: string };

/** What a run is made from. */
export interface Origin {
  readonly recipe: Recipe;
  /** The recipe's text. */
  readonly source: string;
  /** Texts of the modules that are saved beside it. */
  readonly modules?: ReadonlyMap<string, string> | undefined;
  readonly text: {
    readonly ids: readonly number[];
    readonly bos: number | null;
    readonly answers?: Uint8Array | null | undefined;
    readonly window?: number | undefined;
    readonly windows?: number | undefined;
  } | null;
  readonly dtype: ActivationDtype;
}

/**
 * What the result of a run depends on. Files of weights are identified by size and time of change, and by their
 * headers.
 */
export async function identityOf(
  caller: Caller,
  model: Model,
  { recipe, source, modules, text, dtype }: Origin,
): Promise<Identity> {
  const { device } = caller.executor;
  const identity: Record<string, string> = {
    "espalier itself": thisBuild(),
    "the package webgpu, which runs the kernels": installedVersion("webgpu"),
    "the recipe": recipe.name,
    "the recipe's text": recipeHash(source),
    "the modules that the recipe uses": digest([recipe.steps, ...(modules ?? [])]),
    "the standard library": digest([...caller.functions]),
    "config.json": digest(model.config.raw),
    "the model's tensors": digest(
      model.tensors.map(({ name, shape, dtype: stored, format, file, offset, bytes }) => [
        name,
        shape,
        stored,
        format,
        basename(file),
        offset,
        bytes,
      ]),
    ),
    "the dtype of activations": dtype,
    "the device": device.name,
    "what the device can do": digest({ ...caller.target, name: "" }),
  };
  const { choices = {} } = caller.options;
  if (Object.keys(choices).length > 0) identity["the schedules that were found for the device"] = digest(choices);
  if (device.name.startsWith("SwiftShader"))
    identity["the package @sparticuz/chromium, whose driver computes on the CPU"] =
      installedVersion("@sparticuz/chromium");
  for (const { name, value } of recipe.parameters) identity[`the parameter ${name}`] = String(value);
  for (const file of filesOf(model)) {
    const found = await stat(file);
    identity[basename(file)] = `${found.size} bytes, last changed ${new Date(found.mtimeMs).toISOString()}`;
  }
  if (text !== null) {
    identity["the calibration text"] = `${text.ids.length} tokens, ${digest(text.ids)}`;
    if (text.answers) identity["the answers in it"] = digest([...text.answers]);
    identity["the token before each window"] = String(text.bos);
    identity["the tokens of a window (--window)"] = String(text.window ?? "as usual");
    identity["the number of windows (--windows)"] = String(text.windows ?? "as usual");
  }
  return identity;
}

/** What differs, a line each. */
export function changesOf(before: Identity, now: Identity): readonly string[] {
  const parts = [...new Set([...Object.keys(before), ...Object.keys(now)])];
  const show = (value: string | undefined): string => value ?? "none";
  return parts
    .filter((part) => before[part] !== now[part])
    .map((part) => `${part} has changed: it was ${show(before[part])}, and is ${show(now[part])}`);
}

/** A digest of plain data; where in a source something stands does not matter. */
function digest(value: unknown): string {
  const hash = createHash("sha256")
    .update(JSON.stringify(value, (key, inner: unknown) => (key === "span" ? undefined : inner)))
    .digest("hex");
  return `sha256:${hash.slice(0, 32)}`;
}
