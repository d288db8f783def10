import { cp, open, readFile } from "node:fs/promises";
import { join } from "node:path";
import { check } from "../../compiler/check/check.js";
import type { Recipe } from "../../compiler/recipe/recipe.js";
import { createHost, packageRoot } from "../../runtime/library.js";
import { openModel, type Model } from "../../runtime/model/model.js";
import { classics } from "./machine.js";

/** A recipe and its text. */
export interface Written {
  readonly recipe: Recipe;
  readonly source: string;
}

/** The recipe of an example. */
export function exampleRecipe(file: string, set: Record<string, number> = {}): Written {
  const path = join(packageRoot(), "examples", file);
  const host = createHost();
  return { recipe: only(check(path, host, { set })), source: host.sources.get(path) ?? "" };
}

/** The recipe of a text. */
export function writtenRecipe(source: string): Written {
  const host = createHost();
  return {
    source,
    recipe: only(check("test.esp", { ...host, read: (path) => (path === "test.esp" ? source : host.read(path)) })),
  };
}

function only({ value, diagnostics }: ReturnType<typeof check>): Recipe {
  const recipe = value === null ? undefined : [...value.recipes.values()][0];
  if (recipe === undefined) throw new Error(diagnostics.map(({ message }) => message).join("\n"));
  return recipe;
}

/** The calibration text of the small model, tokenised. */
export async function calibrationIds(model: Model): Promise<number[]> {
  return [
    ...(await (
      await model.tokenizer()
    ).encode(await readFile(join(classics, "calibration.txt"), "utf8"), { prefix: false })),
  ];
}

/**
 * A copy of a model, of the small one where none is named, in which bytes of tensors are overwritten: `patches` gives
 * bytes of a tensor, from a byte on.
 */
export async function patchedModel(
  directory: string,
  patches: readonly { readonly tensor: string; readonly begin: number; readonly bytes: Uint8Array }[],
  from: string = classics,
): Promise<Model> {
  await cp(from, directory, { recursive: true });
  const model = await openModel(directory);
  const file = await open(join(directory, "model.safetensors"), "r+");
  for (const { tensor, begin, bytes } of patches)
    await file.write(bytes, 0, bytes.length, model.tensor(tensor).offset + begin);
  await file.close();
  return model;
}
