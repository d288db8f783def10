/** What is kept of a recipe in the directory of the model that it made. */
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import type { SavedRecipe } from "../../model/packed.js";
import type { Place } from "./place.js";

/** The texts of a recipe: its own, and those of the modules that it uses, as `bundle` gives them. */
export interface RecipeFiles {
  /** To be called `recipe.esp`. */
  readonly source: string;
  /** Files of modules by name. */
  readonly modules: ReadonlyMap<string, string>;
  /** The modules of the standard library that are used, by name. */
  readonly standard: ReadonlyMap<string, string>;
}

/** The line that is put before a saved recipe; one that an earlier run has put there goes. */
const heading = /^\/\/ Saved by espalier [^\n]*\n/;

/** The text of a recipe without what was said of a run when it was saved. */
export function withoutHeading(source: string): string {
  return source.replace(heading, "");
}

/**
 * What is saved: the files, the first with a line that says by which command it is run again, and what identifies them,
 * and what was used of the standard library, from others. `source` is the text as it was given, `files` those of the
 * bundle; null: the text alone.
 */
export async function savedRecipe(
  { version, hash }: Pick<Place, "version" | "hash">,
  recipe: Recipe,
  source: string,
  files: RecipeFiles | null,
): Promise<SavedRecipe> {
  const settings = recipe.parameters.map(({ name, value }) => ` --set ${settingWord(name, value)}`).join("");
  const line = `// Saved by espalier ${version}: espalier compress recipe.esp --recipe ${recipe.name}${settings}\n`;
  const hashes = async (texts: ReadonlyMap<string, string>): Promise<{ readonly [name: string]: string }> =>
    Object.fromEntries(await Promise.all([...texts].map(async ([name, text]) => [name, await hash(text)] as const)));
  return {
    record: {
      name: recipe.name,
      hash: await hash(withoutHeading(source)),
      parameters: Object.fromEntries(recipe.parameters.map(({ name, value }) => [name, value])),
      ...(files === null || files.modules.size === 0 ? {} : { modules: await hashes(files.modules) }),
      ...(files === null ? {} : { library: { version, modules: await hashes(files.standard) } }),
    },
    files: new Map([["recipe.esp", line + withoutHeading(files?.source ?? source)], ...(files?.modules ?? [])]),
  };
}

/** A setting as a shell takes it: patterns have stars. */
function settingWord(name: string, value: Recipe["parameters"][number]["value"]): string {
  const text = `${name}=${String(value)}`;
  return typeof value === "string" ? `'${text.replaceAll("'", "'\\''")}'` : text;
}
