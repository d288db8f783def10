/**
 * The CPU driver: SwiftShader, a Vulkan driver in software, taken from the npm package
 * `@sparticuz/chromium` (Linux x64), so that every program runs on a machine without a GPU,
 * without Vulkan and without root.
 */
import { randomUUID } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { homedir, tmpdir, userInfo } from "node:os";
import { dirname, join } from "node:path";
import { Readable } from "node:stream";
import { promisify } from "node:util";
import { brotliDecompress } from "node:zlib";

/** Absolute paths of the unpacked CPU driver. */
export interface CpuDriver {
  /** A complete Vulkan loader; it also finds the drivers of real GPUs. */
  readonly loader: string;
  /** The manifest to name in VK_DRIVER_FILES. */
  readonly manifest: string;
}

const loaderFile = "libvulkan.so.1";
const manifestFile = "vk_swiftshader_icd.json";
const wanted: readonly string[] = [loaderFile, manifestFile, "libvk_swiftshader.so"];

/** Whether the CPU driver's binaries run on this platform. */
export function cpuDriverRuns(): boolean {
  return process.platform === "linux" && process.arch === "x64";
}

/**
 * Unpacks the CPU driver into the user's cache, once; later calls only look.
 * Safe when several processes do it at a time.
 * @param cacheFolders where to try, first the preferred one
 */
export async function unpackCpuDriver(cacheFolders: readonly string[] = defaultCacheFolders()): Promise<CpuDriver> {
  const root = chromiumRoot();
  const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8")) as { version: string };
  const name = `swiftshader-${version}`;
  const failures: string[] = [];
  for (const cache of cacheFolders) {
    const folder = join(cache, name);
    try {
      if (!isComplete(folder)) await unpack(join(root, "bin", "swiftshader.tar.br"), folder);
      await refuseForeign(folder);
      return { loader: join(folder, loaderFile), manifest: join(folder, manifestFile) };
    } catch (error) {
      failures.push(`${cache}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  throw new Error(`The CPU driver could not be unpacked. ${failures.join("; ")}`);
}

/** `$XDG_CACHE_HOME/espalier` or `~/.cache/espalier`, then a folder of this user's under the temporary folder. */
function defaultCacheFolders(): string[] {
  const cache = process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache");
  return [join(cache, "espalier"), join(tmpdir(), `espalier-${userInfo().uid}`)];
}

/** The installed folder of `@sparticuz/chromium`; its `exports` hide `package.json` and `bin` from `resolve`. */
function chromiumRoot(): string {
  let folder = dirname(createRequire(import.meta.url).resolve("@sparticuz/chromium"));
  while (!existsSync(join(folder, "bin", "swiftshader.tar.br"))) {
    const parent = dirname(folder);
    if (parent === folder)
      throw new Error("The installed @sparticuz/chromium has no bin/swiftshader.tar.br; reinstall it.");
    folder = parent;
  }
  return folder;
}

function isComplete(folder: string): boolean {
  return wanted.every((file) => existsSync(join(folder, file)));
}

/** Unpacks beside `folder` and renames, so that a reader sees all of it or nothing. */
async function unpack(archive: string, folder: string): Promise<void> {
  const staging = `${folder}.${randomUUID()}`;
  // Mode 700: a folder below the shared temporary folder must not be writable by others.
  await mkdir(staging, { recursive: true, mode: 0o700 });
  try {
    // by its default: bundled, the package is CommonJS in a file of its own, which has no names
    const { default: archives } = await import("tar-stream");
    const tar = archives.extract();
    Readable.from([await promisify(brotliDecompress)(await readFile(archive))]).pipe(tar);
    for await (const entry of tar) {
      if (!wanted.includes(entry.header.name)) {
        entry.resume();
        continue;
      }
      const parts: Uint8Array[] = [];
      for await (const part of entry) parts.push(part as Uint8Array);
      await writeFile(join(staging, entry.header.name), Buffer.concat(parts), { mode: 0o700 });
    }
    if (!isComplete(staging)) throw new Error(`${archive} lacks one of ${wanted.join(", ")}`);
    await rename(staging, folder).catch(async (error: unknown) => {
      if (isComplete(folder)) return; // another process was first
      // What lies there is broken (a cleaner took a file): replace it.
      await rm(folder, { recursive: true, force: true });
      await rename(staging, folder).catch(() => {
        if (!isComplete(folder)) throw error;
      });
    });
  } finally {
    await rm(staging, { recursive: true, force: true });
  }
}

/** A library that another user could have planted is not loaded into this process. */
async function refuseForeign(folder: string): Promise<void> {
  const owner = (await stat(folder)).uid;
  const user = userInfo().uid;
  if (owner !== user && owner !== 0) throw new Error(`it belongs to user ${owner}, not to you`);
}
