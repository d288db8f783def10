/**
 * What a compression has finished, kept beside its output so that a run that was stopped can be gone on with: the
 * packed
 * weights of each step of work (a block, most often) in a file, and a manifest that says what is whole. It is also
 * where
 * finished weights lie while the rest of the model is compressed, so that no more than a block is on the device.
 */
import { counted } from "../../../compiler/words.js";
import { existsSync, readFileSync, renameSync, rmSync } from "node:fs";
import { mkdir, open, readdir, rename, rm, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { readFully, realpathOfNew, realpathOfNewSync } from "../../model/files.js";
import { discardedState, missingParents, removeEmpty, removeStale, stateDirectory } from "../../model/output.js";
import { thisProcess } from "../../model/process.js";
import { writeError } from "../../model/safetensors-writer.js";
import { stands } from "./announced.js";
import { claim, claimName, isClaim, unclaim } from "./claim.js";
import { LlamaError } from "../error.js";
import { noFacts } from "./facts.js";
import { changesOf, type Identity } from "./identity.js";
import { manifestName, readManifest, writeManifest, type Facts, type Manifest, type WeightRecord } from "./manifest.js";

export { keptLine } from "./words.js";

export interface SavedState {
  readonly directory: string;
  /** Steps of work that were finished when it was opened. */
  readonly finished: number;
  readonly facts: Facts;
  /** All weights added so far, by name. */
  readonly weights: ReadonlyMap<string, WeightRecord>;
  /** Writes a weight, replacing the one of that name. @throws ModelError M153, M154 */
  add(record: WeightRecord, pieces: AsyncIterable<Uint8Array>): Promise<void>;
  /** Where a weight lies, for other processes of this machine: its file has it from now on. */
  readonly lies?: ((name: string) => LyingWeight | null) | undefined;
  /** Fills `target` with a weight's bytes from `begin` on. */
  read(name: string, target: Uint8Array, begin: number): Promise<void>;
  /**
   * Makes what was added last: so many steps are finished. May be called again within a step. @throws ModelError M153,
   * M154
   */
  commit(finished: number, facts: Facts): Promise<void>;
  /**
   * Ends the work; what is committed stays for another run. Gives the number of steps that do, null where nothing
   * stays.
   */
  leave(): Promise<number | null>;
  /** Ends the work and removes everything. */
  remove(): Promise<void>;
}

/** A weight in a file. */
export interface LyingWeight {
  readonly record: WeightRecord;
  readonly path: string;
  /** Where in the file it begins, in bytes. */
  readonly offset: number;
}

/**
 * Opens the state of the output `path`: with `resume` what is there, if it was begun as `identity` says, else an empty
 * one
 * in its place. `note` receives a line for a state that is given up.
 * @throws LlamaError resume (something has changed, is damaged or in use); ModelError M151, M153, M154
 */
export async function openState(
  path: string,
  identity: Identity,
  options: { readonly resume: boolean; readonly note: (line: string) => void },
): Promise<SavedState> {
  const target = await realpathOfNew(path, writeError);
  const directory = stateDirectory(target);
  const parent = dirname(directory);
  const guarded = async <T>(file: string, work: () => Promise<T>): Promise<T> =>
    work().catch((error: unknown) => {
      throw error instanceof Error && "syscall" in error ? writeError(file, error) : error;
    });
  const made = missingParents(directory);
  await guarded(path, () => mkdir(parent, { recursive: true }));
  await removeStale(target);
  const claimed = await guarded(path, () => claim(directory, options.resume));
  if (claimed !== "ours") {
    const { owner, elsewhere } = claimed;
    throw new LlamaError(
      "resume",
      elsewhere
        ? `A run on another machine, ${owner.host}, is compressing into ${path}, or was stopped there. If it was stopped, give --resume to go on with what it finished, or remove ${directory}.`
        : `Another run (process ${owner.pid}) is compressing into ${path}. Wait for it to end, or stop it; if that process is no run of espalier, remove ${directory}.`,
    );
  }
  const manifest = await guarded(path, async () => {
    const found = await begun(directory, path, identity, options);
    // what is not gone on with goes; claims stay, also of those that look in meanwhile
    const old = found === null ? (await readdir(directory)).filter((name) => !isClaim(name)) : [];
    for (const name of old) await rm(join(directory, name), { recursive: true, force: true });
    return found;
  }).catch((error: unknown) => {
    unclaim(directory);
    throw error;
  });

  const stored = new Map((manifest?.weights ?? []).map((found) => [found.record.name, found]));
  const handles = new Map<string, FileHandle>();
  const finished = manifest?.finished ?? 0;
  let committed = finished;
  let isKept = manifest !== null;
  let current: { readonly file: string; readonly handle: FileHandle; bytes: number } | null = null;
  let isOpen = true;

  /** Whether the directory is still this process's: on a shared disk another machine may have taken it. */
  function isHeld(): boolean {
    return existsSync(join(directory, claimName(thisProcess())));
  }
  async function begin(): Promise<NonNullable<typeof current>> {
    const file = `step-${String(committed).padStart(5, "0")}.words`;
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
    if (!isHeld()) return;
    // at once out of the way of a run that begins meanwhile, and never half there
    const discarded = discardedState(directory);
    const found = await rename(directory, discarded).then(
      () => discarded,
      () => directory,
    );
    await rm(found, { recursive: true, force: true });
    removeEmpty(made);
  }

  return {
    directory,
    finished,
    remove,
    facts: manifest?.facts ?? noFacts,
    get weights() {
      return new Map([...stored].map(([name, { record }]) => [name, record]));
    },
    add: (record, pieces) =>
      guarded(directory, async () => {
        const step = (current ??= await begin());
        const offset = step.bytes;
        for await (const piece of pieces) {
          for (let done = 0; done < piece.length; )
            done += (await step.handle.write(piece, done, piece.length - done, step.bytes + done)).bytesWritten;
          step.bytes += piece.length;
        }
        if (step.bytes - offset !== record.bytes)
          throw new RangeError(`${record.name} has ${record.bytes} bytes, not ${step.bytes - offset}`);
        stored.set(record.name, { record, file: step.file, offset });
      }),
    lies(name) {
      const found = stored.get(name);
      return found === undefined
        ? null
        : { record: found.record, path: join(directory, found.file), offset: found.offset };
    },
    async read(name, target, from) {
      const found = stored.get(name);
      if (found === undefined) throw new RangeError(`${name} is not finished`);
      if (current?.file === found.file)
        return readFully(current.handle, join(directory, found.file), target, found.offset + from);
      const handle = handles.get(found.file) ?? (await open(join(directory, found.file), "r"));
      handles.set(found.file, handle);
      await readFully(handle, join(directory, found.file), target, found.offset + from);
    },
    commit: (steps, facts) =>
      guarded(directory, async () => {
        if (!isHeld())
          throw new LlamaError(
            "resume",
            `${directory}, where this run keeps what it has finished, was removed, or taken over by a run on another machine.`,
          );
        if (current !== null) {
          await current.handle.sync();
          await current.handle.close();
          current = null;
        }
        committed = steps;
        await writeManifest(directory, { identity, finished: steps, facts, weights: [...stored.values()] });
        isKept = true;
      }),
    async leave() {
      if (!isOpen) return null;
      if (!isKept) {
        await remove();
        return null;
      }
      await close();
      unclaim(directory);
      return committed;
    },
  };
}

/** The manifest to go on with: null where there is none or none is wanted. */
async function begun(
  directory: string,
  path: string,
  identity: Identity,
  { resume, note }: Parameters<typeof openState>[2],
): Promise<Manifest | null> {
  const manifest = await readManifest(directory);
  if (!resume) {
    if (manifest !== null)
      note(
        `A run that was stopped had finished ${manifest === "damaged" ? "some steps" : counted(manifest.finished, "step")} of ${path}; this one begins anew${manifest === "damaged" ? "" : " (--resume would have gone on from there)"}.`,
      );
    return null;
  }
  if (manifest === "damaged")
    throw new LlamaError(
      "resume",
      `What a stopped run has kept of ${path}, in ${directory}, is damaged or of another version. Run without --resume to begin anew.`,
    );
  const changes = manifest === null ? [] : changesOf(manifest.identity, identity);
  if (changes.length > 0)
    throw new LlamaError(
      "resume",
      `${path} was begun otherwise, and cannot be gone on with:${changes.map((change) => `\n  - ${change}`).join("")}\nRun without --resume to begin anew.`,
    );
  return manifest;
}

/**
 * Leaves the state of an output at once, for a process that is asked to stop: what it has committed stays, anything
 * else goes. Gives the number of steps that a later run need not do again, null where nothing stays.
 */
export function leaveState(path: string): number | null {
  try {
    const directory = stateDirectory(realpathOfNewSync(path));
    if (!existsSync(join(directory, claimName(thisProcess())))) return null;
    if (!existsSync(join(directory, manifestName))) {
      const discarded = discardedState(directory);
      renameSync(directory, discarded);
      rmSync(discarded, { recursive: true, force: true });
      return null;
    }
    unclaim(directory);
    return (JSON.parse(readFileSync(join(directory, manifestName), "utf8")) as { readonly manifest: Manifest }).manifest
      .finished;
  } catch {
    return null; // none was begun
  }
}

/**
 * Whether a stopped run has left something to go on with for an output, and which directories it has written already.
 */
export async function stateOf(
  path: string,
): Promise<{ readonly finished: number; readonly saved: readonly string[] } | null> {
  const manifest = await readManifest(stateDirectory(await realpathOfNew(path, writeError)));
  return manifest === null || manifest === "damaged"
    ? null
    : { finished: manifest.finished, saved: await writtenBy(manifest.facts) };
}

/** The directories that a stopped run wrote: those that it noted, and those that it announced and that are there. */
export async function writtenBy({ saved, announced }: Facts): Promise<readonly string[]> {
  const written = [...saved];
  for (const one of announced) if (await stands(one)) written.push(one.directory);
  return written;
}
