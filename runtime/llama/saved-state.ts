/**
 * What a compression has finished, kept beside its output so that a run that was stopped can be gone on with: the packed
 * weights of each unit of work (a block, most often) in a file, and a manifest that says what is whole. It is also where
 * finished weights lie while the rest of the model is compressed, so that no more than a block is on the device.
 */
import { existsSync, readFileSync, realpathSync, rmSync } from "node:fs";
import { mkdir, open, readFile, readdir, rename, rm, rmdir, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { FormatSpec } from "../../compiler/types/type.js";
import { isWithin, readFully, realpathOfNew } from "../model/files.js";
import { isAtWork, stateDirectory, thisProcess, type Owner } from "../model/output.js";
import type { StoredPattern } from "../model/packed.js";
import { writeError } from "../model/safetensors-writer.js";
import { LlamaError } from "./error.js";
import { changesOf, type Identity } from "./identity.js";

/** What is known of a layer's new weight, wherever its bytes are. */
export interface WeightRecord {
  /** The tensor's name. */
  readonly name: string;
  readonly format: FormatSpec;
  readonly pattern: StoredPattern;
  readonly shape: readonly number[];
  /** Bytes of its words. */
  readonly bytes: number;
  /** ||W' - W|| / ||W||, Frobenius. */
  readonly relativeError: number;
  /** ||(W' - W) X|| / ||W X||, null where X is not known. */
  readonly layerError: number | null;
  /** Of all treatments of the layer. */
  readonly seconds: number;
}

/** What else is to be known when a run goes on. */
export interface Facts {
  /** Perplexity of the model as given on the calibration text, once it was computed. */
  readonly dense: number | null;
  /** Perplexities that were computed, in order. */
  readonly perplexities: readonly { readonly of: "given" | "compressed"; readonly value: number }[];
  /** Directories that were written. */
  readonly saved: readonly string[];
  /** Seconds of work until then. */
  readonly seconds: number;
}

interface Place {
  readonly record: WeightRecord;
  readonly file: string;
  readonly offset: number;
}

interface Manifest {
  readonly version: 1;
  readonly identity: Identity;
  readonly finished: number;
  readonly facts: Facts;
  readonly weights: readonly Place[];
}

export interface SavedState {
  readonly directory: string;
  /** Units of work that were finished when it was opened. */
  readonly finished: number;
  readonly facts: Facts;
  /** All weights added so far, by name. */
  readonly weights: ReadonlyMap<string, WeightRecord>;
  /** Writes a weight, replacing the one of that name. @throws ModelError M153, M154 */
  add(record: WeightRecord, pieces: AsyncIterable<Uint8Array>): Promise<void>;
  /** Fills `target` with a weight's bytes from `begin` on. */
  read(name: string, target: Uint8Array, begin: number): Promise<void>;
  /** Makes what was added last: so many units are finished. @throws ModelError M153, M154 */
  commit(finished: number, facts: Facts): Promise<void>;
  /** Ends the work; what is committed stays for another run. Gives the number of units that do. */
  leave(): Promise<number>;
  /** Ends the work and removes everything. */
  remove(): Promise<void>;
}

const manifestName = "state.json";
const ownerName = "owner.json";
const nothing: Facts = { dense: null, perplexities: [], saved: [], seconds: 0 };

/**
 * Opens the state of the output `path`: with `resume` what is there, if it was begun as `identity` says, else an empty one
 * in its place. `note` is told of a state that is given up.
 * @throws LlamaError resume (something has changed, is damaged or in use); ModelError M151, M153, M154
 */
export async function openState(path: string, identity: Identity, options: { readonly resume: boolean; readonly note: (line: string) => void }): Promise<SavedState> {
  const directory = stateDirectory(await realpathOfNew(path, writeError));
  const parent = dirname(directory);
  await refuseBusy(directory, path, options.resume);
  let manifest = await readManifest(directory, path, options.resume);
  if (manifest !== null && !options.resume) {
    options.note(`A run that was stopped had finished ${manifest.finished} steps of ${path}; this one begins anew (--resume would have gone on from there).`);
    manifest = null;
  }
  if (manifest === null) await rm(directory, { recursive: true, force: true });
  else {
    const changes = changesOf(manifest.identity, identity);
    if (changes.length > 0) throw new LlamaError("resume", `${path} was begun otherwise, and cannot be gone on with:${changes.map((change) => `\n  - ${change}`).join("")}\nRun without --resume to begin anew.`);
  }

  const guarded = async <T>(file: string, work: () => Promise<T>): Promise<T> => work().catch((error: unknown) => {
    throw error instanceof Error && "syscall" in error ? writeError(file, error) : error;
  });
  const made = await guarded(path, () => mkdir(parent, { recursive: true }));
  await guarded(path, () => mkdir(directory, { recursive: true }));
  await guarded(path, () => writeWhole(join(directory, ownerName), JSON.stringify(thisProcess())));

  const places = new Map((manifest?.weights ?? []).map((place) => [place.record.name, place]));
  const handles = new Map<string, FileHandle>();
  const finished = manifest?.finished ?? 0;
  let committed = finished;
  let current: { readonly file: string; readonly handle: FileHandle; bytes: number } | null = null;
  let isOpen = true;

  async function begin(): Promise<NonNullable<typeof current>> {
    const file = `unit-${String(committed).padStart(5, "0")}.words`;
    return { file, handle: await open(join(directory, file), "w+"), bytes: 0 };
  }
  async function close(): Promise<void> {
    isOpen = false;
    for (const handle of [...handles.values(), ...(current === null ? [] : [current.handle])]) await handle.close();
    handles.clear();
    current = null;
  }
  async function remove(): Promise<void> {
    if (!isOpen) return;
    await close();
    await rm(directory, { recursive: true, force: true });
    // only directories that were made for this, and only where nothing else is in them
    for (let at = parent; made !== undefined && isWithin(made, at); at = dirname(at)) await rmdir(at).catch(() => undefined);
  }

  return {
    directory, finished, remove,
    facts: manifest?.facts ?? nothing,
    get weights() {
      return new Map([...places].map(([name, { record }]) => [name, record]));
    },
    add: (record, pieces) => guarded(directory, async () => {
      const unit = (current ??= await begin());
      const offset = unit.bytes;
      for await (const piece of pieces) {
        for (let done = 0; done < piece.length; ) done += (await unit.handle.write(piece, done, piece.length - done, unit.bytes + done)).bytesWritten;
        unit.bytes += piece.length;
      }
      if (unit.bytes - offset !== record.bytes) throw new RangeError(`${record.name} has ${record.bytes} bytes, not ${unit.bytes - offset}`);
      places.set(record.name, { record, file: unit.file, offset });
    }),
    async read(name, target, from) {
      const place = places.get(name);
      if (place === undefined) throw new RangeError(`${name} is not finished`);
      if (current?.file === place.file) return readFully(current.handle, join(directory, place.file), target, place.offset + from);
      const handle = handles.get(place.file) ?? (await open(join(directory, place.file), "r"));
      handles.set(place.file, handle);
      await readFully(handle, join(directory, place.file), target, place.offset + from);
    },
    commit: (units, facts) => guarded(directory, async () => {
      if (current !== null) {
        await current.handle.sync();
        await current.handle.close();
        current = null;
      }
      committed = units;
      const next: Manifest = { version: 1, identity, finished: units, facts, weights: [...places.values()] };
      await writeWhole(join(directory, manifestName), JSON.stringify(next));
    }),
    async leave() {
      if (!isOpen) return committed;
      if (committed === 0) await remove();
      else {
        await close();
        await rm(join(directory, ownerName), { force: true });
      }
      return committed;
    },
  };
}

/**
 * Leaves the state of an output at once, for a process that is told to stop: what it has committed stays, anything else
 * goes. Gives the number of units that a later run need not do again.
 */
export function leaveState(path: string): number {
  try {
    const directory = stateDirectory(join(realpathSync(dirname(resolve(path))), basename(resolve(path))));
    const owner = JSON.parse(readFileSync(join(directory, ownerName), "utf8")) as Partial<Owner>;
    if (owner.pid !== process.pid || owner.host !== thisProcess().host) return 0;
    if (!existsSync(join(directory, manifestName))) {
      rmSync(directory, { recursive: true, force: true });
      return 0;
    }
    rmSync(join(directory, ownerName));
    return (JSON.parse(readFileSync(join(directory, manifestName), "utf8")) as Partial<Manifest>).finished ?? 0;
  } catch {
    return 0; // none was begun
  }
}

async function refuseBusy(directory: string, path: string, resume: boolean): Promise<void> {
  const text = await readFile(join(directory, ownerName), "utf8").catch(() => null);
  if (text === null) return;
  const owner = parse(text) as Partial<Owner> | null;
  if (typeof owner?.host !== "string" || typeof owner.pid !== "number") return;
  const atWork = isAtWork({ host: owner.host, pid: owner.pid });
  if (atWork === true) throw new LlamaError("resume", `Another run (process ${owner.pid}) is compressing into ${path}.`);
  if (atWork === null && !resume) throw new LlamaError("resume", `A run on another machine, ${owner.host}, is compressing into ${path}, or was stopped there. Give --resume to go on with what it finished, or remove ${directory}.`);
}

/** The manifest, if there is one; one that cannot be used is refused where it is needed, and else no manifest. */
async function readManifest(directory: string, path: string, needed: boolean): Promise<Manifest | null> {
  const text = await readFile(join(directory, manifestName), "utf8").catch(() => null);
  if (text === null) return null;
  const manifest = parse(text) as Partial<Manifest> | null;
  const whole = manifest?.version === 1 && typeof manifest.finished === "number" && Array.isArray(manifest.weights) && manifest.identity !== undefined && manifest.facts !== undefined ? (manifest as Manifest) : null;
  const sizes = new Map<string, number>();
  for (const name of await readdir(directory)) sizes.set(name, (await stat(join(directory, name))).size);
  const intact = whole !== null && whole.weights.every(({ file, offset, record }) => offset + record.bytes <= (sizes.get(file) ?? -1));
  if (intact) return whole;
  if (needed) throw new LlamaError("resume", `What a stopped run has kept of ${path}, in ${directory}, is damaged or of another version. Run without --resume to begin anew.`);
  return null;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return null;
  }
}

/** Writes a file beside its name, and renames it when it is on the disk. */
async function writeWhole(path: string, text: string): Promise<void> {
  const beside = `${path}.partial`;
  const handle = await open(beside, "w");
  try {
    await handle.writeFile(text);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(beside, path);
}

/** Whether a stopped run has left something to go on with for an output, and which directories it has written already. */
export async function stateOf(path: string): Promise<{ readonly finished: number; readonly saved: readonly string[] } | null> {
  const directory = stateDirectory(await realpathOfNew(path, writeError));
  const manifest = await readManifest(directory, path, false);
  return manifest === null ? null : { finished: manifest.finished, saved: manifest.facts.saved };
}
