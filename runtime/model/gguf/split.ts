/** GGUF models that lie in several files, as `llama-gguf-split` cuts them. */
import { basename, dirname, join } from "node:path";
import { ModelError, problemsError, quoted } from "../error.js";
import { exists } from "../files.js";
import { openContainer, type GgufFile, type GgufTensor, type UnreadTensor } from "./container.js";

/** Most parts of a model: `00001-of-00002` has five digits, and no more files are opened than a directory may have shards. */
const partLimit = 4096;

/**
 * Opens a GGUF file, and with it the other parts of its model: the first has the metadata, each its tensors.
 * @throws ModelError as `openContainer`; M132 (another part than the first, or not named as parts are), M120 (a tensor
 * in two parts), M122 (parts that are missing, or have not the tensors that the first tells of)
 */
export async function openParts(path: string): Promise<GgufFile> {
  const first = await openContainer(path);
  const count = first.metadata.get("split.count") ?? 0;
  if (count === 0 || count === 1) return first;
  const parts = [first];
  try {
    for (const name of await partNames(path, first, count)) {
      const part = await openContainer(join(dirname(path), name));
      parts.push(part);
      if (part.metadata.get("split.count") !== count || part.metadata.get("split.no") !== parts.length - 1)
        throw new ModelError(
          "M122",
          `${quoted(part.path)} should be part ${parts.length} of ${count} of ${quoted(path)}, but does not say so.`,
          "take all parts from the same place",
        );
    }
    return joined(path, parts);
  } catch (error) {
    await closeAll(parts);
    throw error;
  }
}

/** The names of the parts after the first. */
async function partNames(path: string, first: GgufFile, count: unknown): Promise<readonly string[]> {
  const name = basename(path);
  const [, stem, number, all] = /^(.*)-(\d{5})-of-(\d{5})\.gguf$/.exec(name) ?? [];
  if (
    typeof count !== "number" ||
    !(count <= partLimit) ||
    first.metadata.get("split.no") !== 0 ||
    Number(number) !== 1
  )
    throw new ModelError(
      "M132",
      `${quoted(path)} is a part of a model that is split over several files, and not the first of at most ${partLimit}.`,
      "give the first, `...-00001-of-....gguf`",
    );
  if (Number(all) !== count)
    throw new ModelError("M132", `${quoted(path)} says that it is one of ${count} files, but its name says ${all}.`);
  const names = Array.from(
    { length: count - 1 },
    (_, at) => `${stem}-${String(at + 2).padStart(5, "0")}-of-${all}.gguf`,
  );
  const missing: string[] = [];
  for (const each of names) if (!(await exists(join(dirname(path), each)))) missing.push(quoted(each));
  if (missing.length > 0)
    throw problemsError(
      "M122",
      `${missing.length} of the ${count} parts of ${quoted(path)} are missing`,
      missing,
      "the download may be incomplete",
    );
  return names;
}

function joined(path: string, parts: readonly GgufFile[]): GgufFile {
  const [first] = parts;
  if (first === undefined) throw new RangeError("a model has a part");
  const partOf = new Map<GgufTensor, GgufFile>();
  const names = new Map<string, string>();
  const unread: UnreadTensor[] = [];
  for (const part of parts) {
    for (const { name } of [...part.tensors, ...part.unread]) {
      const other = names.get(name);
      if (other !== undefined)
        throw new ModelError(
          "M120",
          `The tensor ${quoted(name)} is both in ${quoted(other)} and in ${quoted(part.path)}.`,
        );
      names.set(name, part.path);
    }
    for (const tensor of part.tensors) partOf.set(tensor, part);
    unread.push(...part.unread);
  }
  const declared = first.metadata.get("split.tensors.count");
  if (declared !== undefined && declared !== names.size)
    throw new ModelError(
      "M122",
      `${quoted(path)} says that the model has ${typeof declared === "object" ? "a list of" : declared} tensors, but its parts have ${names.size}.`,
      "take all parts from the same place",
    );
  const metadata = new Map([...first.metadata].filter(([key]) => !key.startsWith("split.")));
  const of = (tensor: GgufTensor): GgufFile => partOf.get(tensor) ?? first;
  return {
    ...first,
    metadata,
    unread,
    tensors: [...partOf.keys()],
    place: (tensor) => of(tensor).place(tensor),
    read: (tensor, target, begin) => of(tensor).read(tensor, target, begin),
    close: () => closeAll(parts),
  };
}

async function closeAll(parts: readonly GgufFile[]): Promise<void> {
  await Promise.all(parts.map((part) => part.close()));
}
