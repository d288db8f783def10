/** Models and files of the Hugging Face hub, in the cache that its Python library has. */
import { mkdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { datasetInfo, listFiles, modelInfo } from "@huggingface/hub";
import { isCompanion } from "../model/companions.js";
import { ModelError, quoted } from "../model/error.js";
import { isObject, readJson, sizeLimits } from "../model/files.js";
import { cachedFile, type HubFile, type Repository } from "./download.js";
import { isPath, parseReference, type HubReference } from "./reference.js";
import { boundedFetch, isUnreachable, type HubOptions } from "./request.js";
import { hubSettings } from "./settings.js";

/** Most files of a repository that are looked at. */
const fileLimit = 100_000;
/** Most bytes of a file; safe as a number, and more than any has. */
const byteLimit = 2 ** 44;

/**
 * What is named, on this disk: the directory of a model, with what a model consists of, or a file. A text names it as on
 * the command line: `org/name@revision`, `hf://datasets/org/name/file.txt`. What the cache has is not fetched again;
 * without a network, or offline, what it has is taken. What the options leave out the environment says (`HF_HOME`,
 * `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`).
 * @throws ModelError M180 (the hub cannot be asked), M181 (not there), M182 (offline, and not in the cache), M183 (an
 * answer that is damaged), M151, M153, M154 (the disk)
 */
export async function fetchFromHub(named: HubReference | string, given: Partial<HubOptions> = {}): Promise<string> {
  const reference = typeof named === "string" ? parseReference(named) : named;
  if (reference === null)
    throw new ModelError("M181", `${quoted(String(named))} names nothing on the hub; expected \`org/name\`.`);
  const options: HubOptions = { ...hubSettings(), ...given };
  const { type, name } = reference;
  const folder = join(options.cache, `${type}s--${name.replaceAll("/", "--")}`);
  if (options.offline) return cached(reference, folder, null);
  let commit: string;
  try {
    commit = await commitOf(reference, options);
  } catch (error) {
    if (!isUnreachable(error)) throw error;
    const path = await cached(reference, folder, error as Error);
    options.note?.(`note: ${(error as Error).message.replace(/\.$/, "")}; what the cache has of ${name} is taken`);
    return path;
  }
  const repository: Repository = { folder, commit, url: (path) => addressOf(reference, commit, path, options) };
  const path = await fetchFiles(reference, repository, options);
  await noteRevision(reference, folder, commit);
  return path;
}

function describeReference({ type, name, revision, file }: HubReference): string {
  return `${type} ${quoted(`${name}${revision === "main" ? "" : `@${revision}`}${file === null ? "" : `/${file}`}`)}`;
}

function addressOf({ type, name }: HubReference, commit: string, path: string, { endpoint }: HubOptions): string {
  const prefix = type === "dataset" ? "datasets/" : "";
  return `${endpoint.replace(/\/+$/, "")}/${prefix}${name}/resolve/${commit}/${path.split("/").map(encodeURIComponent).join("/")}`;
}

/** The commit that a revision is. */
async function commitOf(reference: HubReference, options: HubOptions): Promise<string> {
  const what = describeReference(reference);
  const { name, revision } = reference;
  const hubUrl = options.endpoint.replace(/\/+$/, "");
  const asked = { name, revision, hubUrl, fetch: boundedFetch(options, what), additionalFields: ["sha" as const] };
  const { sha } = await understood(what, () => (reference.type === "model" ? modelInfo(asked) : datasetInfo(asked)));
  if (typeof sha === "string" && /^[0-9a-f]{40}$/.test(sha)) return sha;
  throw new ModelError("M183", `The hub tells of no commit for the ${what}.`);
}

/** Runs what reads an answer; one that is no JSON, or another than expected, is told. */
async function understood<T>(what: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof ModelError) throw error;
    const reason = error instanceof Error ? error.message.replace(/[\u0000-\u001f]/g, " ") : String(error);
    throw new ModelError(
      "M183",
      `The answer of the hub about the ${what} cannot be read: ${reason.slice(0, 200)}.`,
      "it may be cut short, or be that of another server: look at HF_ENDPOINT",
      { cause: error },
    );
  }
}

/** The files of a folder of the repository, by path. */
async function filesOf(
  reference: HubReference,
  { commit }: Repository,
  path: string,
  options: HubOptions,
): Promise<ReadonlyMap<string, HubFile>> {
  const { type, name } = reference;
  const what = describeReference(reference);
  const files = new Map<string, HubFile>();
  await understood(what, async () => {
    const entries = listFiles({
      repo: { type, name },
      revision: commit,
      hubUrl: options.endpoint.replace(/\/+$/, ""),
      fetch: boundedFetch(options, what),
      ...(path === "" ? {} : { path }),
    });
    for await (const entry of entries) {
      const { type: kind, path: own, size, oid, lfs } = entry as { readonly [Key in keyof typeof entry]: unknown };
      if (files.size === fileLimit) throw new ModelError("M183", `The ${what} has more than ${fileLimit} files.`);
      if (typeof own !== "string" || !isPath(own))
        throw new ModelError(
          "M183",
          `The hub tells of a file ${quoted(String(own))} that would not stay in the directory of the ${what}.`,
        );
      if (kind !== "file") continue;
      const hash = isObject(lfs) ? lfs["oid"] : oid;
      const length = isObject(lfs) ? lfs["size"] : size;
      const digits = isObject(lfs) ? 64 : 40;
      if (
        typeof hash !== "string" ||
        !new RegExp(`^[0-9a-f]{${digits}}$`).test(hash) ||
        typeof length !== "number" ||
        !(Number.isSafeInteger(length) && length >= 0 && length <= byteLimit)
      )
        throw new ModelError("M183", `The hub tells neither size nor hash of ${quoted(own)} of the ${what}.`);
      files.set(own, { path: own, size: length, hash });
    }
  });
  return files;
}

/** Fetches what is needed; gives the file that is named, or the directory. */
async function fetchFiles(reference: HubReference, repository: Repository, options: HubOptions): Promise<string> {
  const what = describeReference(reference);
  const { file } = reference;
  const parent = file?.includes("/") === true ? dirname(file) : "";
  const files = await filesOf(reference, repository, parent, options);
  const get = async (path: string): Promise<string> => {
    const found = files.get(path);
    if (found === undefined) throw new ModelError("M181", `The ${what} has no file ${quoted(path)}.`);
    return cachedFile(repository, found, options);
  };
  if (file !== null) {
    // further parts of a GGUF file
    const [, stem, count] = /^(.*)-00001-of-(\d{5})\.gguf$/.exec(file) ?? [];
    const parts =
      stem === undefined
        ? []
        : [...files.keys()].filter(
            (path) => path !== file && path.startsWith(`${stem}-`) && path.endsWith(`-of-${count}.gguf`),
          );
    for (const path of parts) await get(path);
    return get(file);
  }
  const directory = dirname(await get("config.json"));
  for (const path of files.keys()) if (isCompanion(path) || /^recipe[\w.-]*\.esp$/.test(path)) await get(path);
  for (const path of await weightFiles(files, get, what)) await get(path);
  return directory;
}

/** The files of the weights. @throws ModelError M181 (none), M103 (an index that leads out) */
async function weightFiles(
  files: ReadonlyMap<string, HubFile>,
  get: (path: string) => Promise<string>,
  what: string,
): Promise<readonly string[]> {
  if (files.has("model.safetensors")) return ["model.safetensors"];
  const index = "model.safetensors.index.json";
  if (!files.has(index)) {
    const others = [...files.keys()].filter((path) => path.endsWith(".gguf"));
    throw new ModelError(
      "M181",
      `The ${what} has no weights as safetensors.`,
      others.length > 0 ? `it has GGUF files: name one, as hf://org/name/${others[0]!}` : "take another model",
    );
  }
  const map = (await readJson(await get(index), sizeLimits.index))["weight_map"];
  const shards = [...new Set(Object.values(isObject(map) ? map : {}))];
  const wrong = shards.find((name) => typeof name !== "string" || !isPath(name) || name.includes("/"));
  if (wrong !== undefined)
    throw new ModelError(
      "M103",
      `The file name ${quoted(String(wrong))} in the index of the ${what} does not stay inside the model's directory.`,
      "an index may name files of its own directory only",
    );
  return shards as readonly string[];
}

/** Notes which commit a revision was, for those who come without a network. */
async function noteRevision({ revision }: HubReference, folder: string, commit: string): Promise<void> {
  if (revision === commit) return;
  const path = join(folder, "refs", ...revision.split("/"));
  const known = await readFile(path, "utf8").catch(() => null);
  if (known?.trim() === commit) return;
  await mkdir(dirname(path), { recursive: true });
  await writeFile(`${path}.${process.pid}`, commit);
  await rename(`${path}.${process.pid}`, path);
}

/** What the cache has. @throws ModelError M182, or the error that the network gave */
async function cached(reference: HubReference, folder: string, otherwise: Error | null): Promise<string> {
  const { revision, file } = reference;
  const noted = await readFile(join(folder, "refs", ...revision.split("/")), "utf8").catch(() => null);
  const commit = /^[0-9a-f]{40}$/.test(revision) ? revision : noted?.trim();
  if (commit !== undefined && /^[0-9a-f]{40}$/.test(commit)) {
    const snapshot = join(folder, "snapshots", commit);
    const path = join(snapshot, ...(file ?? "config.json").split("/"));
    if (await stat(path).catch(() => null)) return file === null ? snapshot : path;
  }
  throw (
    otherwise ??
    new ModelError(
      "M182",
      `The ${describeReference(reference)} is not in the cache, ${quoted(dirname(folder))}, and HF_HUB_OFFLINE says not to ask the hub.`,
      "fetch it with a network first, or give a directory",
    )
  );
}
