/** Names of what lies on the Hugging Face hub. */
import { ModelError, quoted } from "../model/error.js";

/** A repository, or a file of it. */
export interface HubReference {
  readonly type: "model" | "dataset";
  /** `org/name`. */
  readonly name: string;
  /** A branch, a tag or a commit. */
  readonly revision: string;
  /** A path in the repository; null: what a model needs. */
  readonly file: string | null;
}

const scheme = "hf://";

/**
 * Reads `org/name[@revision]`, or `hf://[datasets/]org/name[@revision][/path]`; null for what is neither.
 * @throws ModelError M181 of a name after `hf://` that none can be
 */
export function parseReference(text: string): HubReference | null {
  if (text.startsWith(scheme)) {
    const [, kind, name = "", revision = "main", file] =
      /^(datasets\/|models\/)?([^/@]+\/[^/@]+)(?:@(refs\/(?:pr|convert)\/[^/]+|[^/]+))?(?:\/(.+))?$/.exec(
        text.slice(scheme.length),
      ) ?? [];
    if (isName(name) && isRevision(revision) && (file === undefined || isPath(file)))
      return { type: kind === "datasets/" ? "dataset" : "model", name, revision, file: file ?? null };
    throw new ModelError(
      "M181",
      `${quoted(text)} names nothing on the hub; expected \`hf://org/name\`, \`hf://org/name@revision\` or \`hf://datasets/org/name/file.txt\`.`,
    );
  }
  const [, name = "", revision = "main"] = /^([^/@]+\/[^/@]+)(?:@(.+))?$/.exec(text) ?? [];
  return isName(name) && isRevision(revision) ? { type: "model", name, revision, file: null } : null;
}

function isName(name: string): boolean {
  return name
    .split("/")
    .every((part) => /^[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/.test(part) && !/--|\.\./.test(part));
}

function isRevision(revision: string): boolean {
  return revision.length <= 200 && /^[\w.+-]+(?:\/[\w.+-]+)*$/.test(revision) && isPath(revision);
}

/** Whether a path stays in the directory that it is put in. */
export function isPath(path: string): boolean {
  return (
    path.length <= 1024 &&
    !/[\\\u0000-\u001f]|^[A-Za-z]:/.test(path) &&
    path.split("/").every((part) => part !== "" && part !== "." && part !== "..")
  );
}
