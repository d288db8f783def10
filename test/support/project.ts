/** Where the project's own files are, from wherever the tests were compiled to. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The path of a file given from the root of the project: the nearest folder above with a package.json. */
export function projectFile(path: string): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "package.json"))) {
    const above = dirname(folder);
    if (above === folder) throw new Error("the tests do not lie inside the project");
    folder = above;
  }
  return join(folder, path);
}
