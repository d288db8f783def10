/** Which Espalier this is, to the byte: another one may compile other kernels, and they round otherwise. */
import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

/** `digestOfCode` of what was bundled, which the bundler writes in: a bundle has no modules to read. */
declare const digestOfBundle: string | undefined;

/** The version in words, with a digest of the code that compiles and runs. */
export function thisBuild(): string {
  return `${versionAbove(codeFolder(), "espalier")}, ${thisCode()}`;
}

/** The digest of the code that compiles and runs. */
export function thisCode(): string {
  return typeof digestOfBundle === "undefined" ? digestOfCode(codeFolder()) : digestOfBundle;
}

function codeFolder(): string {
  return fileURLToPath(new URL("..", import.meta.url));
}

/** The version of a package that is installed. */
export function installedVersion(name: string): string {
  return versionAbove(dirname(createRequire(import.meta.url).resolve(name)), name);
}

/**
 * A digest of the modules that decide what is computed: all of the compiler, and of the runtime what is not its command
 * line.
 */
export function digestOfCode(root: string): string {
  const hash = createHash("sha256");
  for (const part of ["compiler", "runtime"]) {
    const names = readdirSync(join(root, part), { recursive: true, encoding: "utf8" }).map((name) =>
      name.split(sep).join("/"),
    );
    for (const name of names.filter((one) => one.endsWith(".js") && !one.startsWith("cli/")).sort()) {
      const text = readFileSync(join(root, part, name));
      hash.update(`${part}/${name} ${text.length}\n`).update(text);
    }
  }
  return `sha256:${hash.digest("hex").slice(0, 32)}`;
}

/**
 * The version of the package of that name that a folder belongs to: what a package exports need not show its manifest.
 */
function versionAbove(folder: string, name: string): string {
  for (let at = folder; ; at = dirname(at)) {
    const found = manifestOf(at);
    if (found?.name === name) return found.version ?? "of no version";
    if (dirname(at) === at) return "of unknown version";
  }
}

function manifestOf(folder: string): { readonly name?: string; readonly version?: string } | null {
  try {
    return JSON.parse(readFileSync(join(folder, "package.json"), "utf8")) as {
      readonly name?: string;
      readonly version?: string;
    } | null;
  } catch {
    return null;
  }
}
