/** What lies beside a model's config and weights and belongs to it. */
import { formatBytes } from "../device/error.js";
import { ModelError, quoted } from "./error.js";
import { jsonOf, readWhole, type Directory } from "./directory.js";
import { sizeLimits } from "./json.js";

/** A file beside the weights: of the tokenizer, generation settings, a licence. */
export interface Companion {
  readonly name: string;
  read(): Promise<Uint8Array>;
}

/**
 * Files beside the weights that make a model whole: tokenizer, generation settings, chat template, licence. Each is
 * opened once, and those that are JSON are read, so that what is wrong is reported before a long work is done.
 * @throws ModelError M100 (the directory or a file cannot be read), M102 (a file is larger than such files are), M104
 * (cut short)
 */
export async function companionsOf(directory: Directory): Promise<readonly Companion[]> {
  const names = await directory.names();
  const companions: Companion[] = [];
  for (const name of names.filter((one) => isCompanion(one)).sort()) {
    const path = directory.pathOf(name);
    const refuse = (error: unknown): never => {
      throw error instanceof ModelError ? unreadable(error) : error;
    };
    // only files are copied; a directory that is called `tokenizer` is none of ours
    if (!(await directory.isFile(name).catch(refuse))) continue;
    const file = await directory.open(name).catch(refuse);
    const { size } = file;
    await file.close();
    if (size > sizeLimits.companion)
      throw new ModelError(
        "M102",
        `${quoted(path)} has ${formatBytes(size)}; at most ${formatBytes(sizeLimits.companion)} are copied along with a model.`,
        "move it out of the model's directory, if it is no part of the model",
      );
    if (name.endsWith(".json") && !readElsewhere.includes(name)) await jsonOf(directory, name, sizeLimits.companion);
    companions.push({ name, read: () => readWhole(directory.open(name), sizeLimits.companion) });
  }
  return companions;
}

/** Whether a file of this name belongs to a model beside its config and weights. */
export function isCompanion(name: string): boolean {
  return /^(tokenizer[\w.-]*|generation_config\.json|special_tokens_map\.json|added_tokens\.json|vocab\.json|merges\.txt|chat_template[\w.-]*|LICEN[CS]E[\w.-]*|NOTICE[\w.-]*|USE_POLICY[\w.-]*)$/i.test(
    name,
  );
}

/** What is read where it is known what it has to be; settings of generation need not be right at all. */
const readElsewhere = ["tokenizer.json", "generation_config.json"];

/** A companion that is there by name only: most often a link whose file was not fetched. */
function unreadable({ message }: ModelError): ModelError {
  return new ModelError(
    "M100",
    `A file that is copied along with the model cannot be read: ${message}`,
    "fetch the file that it stands for, or remove it",
  );
}
