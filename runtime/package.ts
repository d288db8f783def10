/** Where this package lies, and what lies in it beside the code. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { InternalError } from "../compiler/diagnostic.js";

/** The folder that holds `stdlib/` and `examples/`, wherever the package is installed or built to. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, "stdlib", "llama.esp"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new InternalError("the standard library is not beside the program");
    folder = parent;
  }
  return folder;
}

/** The version of this package, as its manifest has it. */
export function packageVersion(): string {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), "package.json"), "utf8")) as { version: string };
  return version;
}

/** What a command is given for a source file: a bare name that is no file here is that of an example, as `best`. */
export function sourcePath(given: string): string {
  if (!/^[a-z0-9-]+$/i.test(given) || existsSync(given)) return given;
  const example = join(packageRoot(), "examples", `${given}.esp`);
  return existsSync(example) ? example : given;
}

/** Names of the recipes that come with the package, without `.esp`. */
export function examples(): readonly string[] {
  return readdirSync(join(packageRoot(), "examples"))
    .filter((name) => name.endsWith(".esp"))
    .map((name) => name.replace(/\.esp$/, ""))
    .sort();
}
