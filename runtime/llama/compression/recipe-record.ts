/** What is kept of a recipe in the directory of the model that it made. */
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import type { SavedRecipe } from "../../model/packed.js";
import { recipeHash } from "../../model/write.js";
import { packageVersion } from "../../package.js";

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
export function savedRecipe(recipe: Recipe, source: string, files: RecipeFiles | null): SavedRecipe {
  const version = packageVersion();
  const settings = recipe.parameters.map(({ name, value }) => ` --set ${name}=${String(value)}`).join("");
  const line = `// Saved by espalier ${version}: espalier compress recipe.esp --recipe ${recipe.name}${settings}\n`;
  const hashes = (texts: ReadonlyMap<string, string>): { readonly [name: string]: string } =>
    Object.fromEntries([...texts].map(([name, text]) => [name, recipeHash(text)]));
  return {
    record: {
      name: recipe.name,
      hash: recipeHash(withoutHeading(source)),
      parameters: Object.fromEntries(recipe.parameters.map(({ name, value }) => [name, value])),
      ...(files === null || files.modules.size === 0 ? {} : { modules: hashes(files.modules) }),
      ...(files === null ? {} : { library: { version, modules: hashes(files.standard) } }),
    },
    files: new Map([["recipe.esp", line + withoutHeading(files?.source ?? source)], ...(files?.modules ?? [])]),
  };
}
