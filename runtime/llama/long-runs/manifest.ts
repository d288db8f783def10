/**
 * What a saved state says of itself: its manifest, written whole or not at all, and believed only as it was written.
 */
import { createHash } from "node:crypto";
import { open, readFile, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ActivationFormat } from "../../../compiler/types/activation-format.js";
import type { FormatSpec } from "../../../compiler/types/type.js";
import { systemCode } from "../../model/error.js";
import type { StoredPattern } from "../../model/packed.js";
import type { TrainingReport } from "../training/report.js";
import type { Announced } from "./announced.js";
import type { Identity } from "./identity.js";

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
  /** Whether it is rounded to f16 when the model is written, unless something else is stored before. */
  readonly settles?: true;
}

/** The numbers of one measure, layers in the order of the model. */
export interface MeasuredLayers {
  readonly id: number;
  readonly name: string;
  readonly layers: readonly { readonly layer: string; readonly value: number }[];
}

/** A number that a recipe has printed of a layer. */
export interface PrintedValue {
  readonly block: number;
  readonly layer: string;
  /** As the recipe has it. */
  readonly text: string;
  /** Null where it was not finite. */
  readonly value: number | null;
}

/** The order of the channels that a layer takes: of each group of heads that share theirs, or one of all. */
export interface ChannelOrder {
  readonly layer: string;
  readonly orders: readonly (readonly number[])[];
}

/** The parts of a layer's columns that stay in the model. */
export interface RetainedParts {
  /** Which retention of the recipe it is, in order. */
  readonly retention: number;
  readonly layer: string;
  readonly block: number;
  readonly kept: readonly number[];
  /** The layer's weight with its other columns zeroed. */
  readonly record: WeightRecord;
}

/** What the places of an axis of a tensor were multiplied by in a run: the bytes of f32, in base64. */
export interface KeptFold {
  readonly name: string;
  readonly axis: number;
  readonly factors: string;
}

/** What else is to be known when a run goes on. */
export interface Facts {
  /** Perplexity of the model as given on the calibration text, once it was computed. */
  readonly dense: number | null;
  /** Perplexities that were computed, in order; a value of null is one above every number. */
  readonly perplexities: readonly { readonly of: "given" | "compressed"; readonly value: number | null }[];
  /** Directories that finished steps have written. */
  readonly saved: readonly string[];
  /** What the step that is not finished has written or was about to, in order. */
  readonly announced: readonly Announced[];
  /** How trainings went, in order. */
  readonly trainings: readonly TrainingReport[];
  /** What was measured of layers. */
  readonly measured: readonly MeasuredLayers[];
  /** What was printed of layers, in order; nothing where it is not there. */
  readonly printed?: readonly PrintedValue[];
  /** Which channels have changed places. */
  readonly channels?: readonly ChannelOrder[];
  /** Which parts of layers were retained. */
  readonly retained: readonly RetainedParts[];
  /** What scales were multiplied into tensors; none where it is not there. */
  readonly folds?: readonly KeptFold[];
  /** In what layers take what they multiply, by their names; as given where it is not there. */
  readonly activations?: readonly (readonly [layer: string, format: ActivationFormat])[];
  /** Seconds of work until then. */
  readonly seconds: number;
}

/** Where a weight lies. */
export interface StoredWeight {
  readonly record: WeightRecord;
  readonly file: string;
  readonly offset: number;
}

/** What a run was begun as, and what it has finished. */
export interface Manifest {
  readonly identity: Identity;
  readonly finished: number;
  readonly facts: Facts;
  readonly weights: readonly StoredWeight[];
}

/** The manifest's name in a state's directory. */
export const manifestName = "state.json";
const version = 5;

/**
 * The manifest of a state, null where there is none, `damaged` where it is not as it was written or the files that it
 * names are not whole. Its own digest vouches for all that is in it.
 */
export async function readManifest(directory: string): Promise<Manifest | null | "damaged"> {
  let text: string;
  try {
    text = await readFile(join(directory, manifestName), "utf8");
  } catch (error) {
    return systemCode(error) === "ENOENT" || systemCode(error) === "ENOTDIR" ? null : "damaged";
  }
  try {
    const file = JSON.parse(text) as {
      readonly version?: unknown;
      readonly digest?: unknown;
      readonly manifest?: unknown;
    } | null;
    if (file?.version !== version || file.digest !== digestOf(file.manifest)) return "damaged";
    const manifest = file.manifest as Manifest;
    // only of what is named: claims of other processes come and go meanwhile
    const sizes = new Map<string, number>();
    for (const name of new Set(manifest.weights.map((stored) => stored.file)))
      sizes.set(name, (await stat(join(directory, name))).size);
    return manifest.weights.every((stored) => stored.offset + stored.record.bytes <= (sizes.get(stored.file) ?? -1))
      ? manifest
      : "damaged";
  } catch {
    return "damaged";
  }
}

/** Writes a manifest beside its name, and renames it when it is on the disk. */
export async function writeManifest(directory: string, manifest: Manifest): Promise<void> {
  const path = join(directory, manifestName);
  const handle = await open(`${path}.partial`, "w");
  try {
    await handle.writeFile(JSON.stringify({ version, digest: digestOf(manifest), manifest }));
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(`${path}.partial`, path);
}

function digestOf(manifest: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify(manifest) ?? "")
    .digest("hex");
}
