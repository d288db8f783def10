/** What came of a compression, judged: what looks like a success, and is of no use or of less than it seems. */
import { formatBytes } from "../../device/error.js";
import type { WeightRecord } from "../long-runs/manifest.js";

/**
 * - `layer-lost`: a layer error of 1 and more: what the layer puts out is no nearer to what it did than zeros are
 * - `weight-lost`: a weight error of 1 and more, of a layer whose layer error is not known
 * - `perplexity-lost`: a perplexity ten times that of the model as given, and more
 * - `worse-than-chance`: a perplexity above the size of the vocabulary, which guessing has
 * - `larger`: a model of more bytes than it had
 * - `unchanged`: a recipe that stored nothing
 * - `unsaved`: weights that were stored after the last `save`, and are in none of the directories written
 * - `no-perplexity`: a model that computes NaN or infinite values, where that ends no run
 */
export type WarningKind =
  | "layer-lost"
  | "weight-lost"
  | "perplexity-lost"
  | "worse-than-chance"
  | "larger"
  | "unchanged"
  | "unsaved"
  | "no-perplexity";

/** Something that a user should know of a result. Plain data. */
export interface Warning {
  readonly kind: WarningKind;
  /** A sentence for people, without a full stop. */
  readonly message: string;
  /** The name of the tensor concerned; null where it is the model. */
  readonly tensor: string | null;
  /** The error, the perplexity or the bytes; null where there is no number, or none that is finite. */
  readonly value: number | null;
}

/** A perplexity that was computed on the way. */
export interface PerplexityReport {
  readonly text: "calibration" | "evaluation";
  readonly of: "given" | "compressed";
  /** Infinity where it is above every number. */
  readonly value: number;
}

/** How a layer's result is measured, and what came of it. */
export interface LayerLoss {
  readonly of: "layer error" | "weight error";
  readonly value: number;
}

/** What is lost of a layer: its layer error, or where that is not known the error of its weight. */
export function lossOf({ layerError, relativeError }: Pick<WeightRecord, "layerError" | "relativeError">): LayerLoss {
  return layerError === null ? { of: "weight error", value: relativeError } : { of: "layer error", value: layerError };
}

/** From this error on a layer is lost. Weights of zeros have an error of 1, and sums on a device are rounded. */
export const lostError = 1 - 2 ** -12;

/** From this growth of the perplexity on the model is lost: methods that work stay below half of it. */
export const lostGrowth = 10;

/** The warning of a layer that is lost, or null. Of gains and biases, which a recipe may replace, there is none. */
export function layerWarning(
  record: Pick<WeightRecord, "name" | "layerError" | "relativeError" | "shape">,
): Warning | null {
  if (record.shape.length < 2) return null;
  const { of, value } = lossOf(record);
  if (value < lostError) return null;
  const layer = record.name.replace(/\.weight$/, "");
  return {
    kind: of === "layer error" ? "layer-lost" : "weight-lost",
    tensor: record.name,
    value,
    message:
      of === "layer error"
        ? `${layer}: layer error ${value.toFixed(3)}: what it puts out is no better than zeros`
        : `${layer}: weight error ${value.toFixed(3)}: the weights are no better than zeros`,
  };
}

/** Which layers have lost more than `most`, in words that begin with the worst; null for none. */
export function beyond(treated: ReadonlyMap<string, WeightRecord>, most: number): string | null {
  const lost = [...treated.values()]
    .filter(({ shape }) => shape.length === 2)
    .map((record) => ({ name: record.name.replace(/\.weight$/, ""), ...lossOf(record) }))
    // what is not a number is not within any limit
    .filter(({ value }) => !(value <= most))
    .sort((a, b) => b.value - a.value);
  const [worst] = lost;
  if (worst === undefined) return null;
  const more = lost.length - 1;
  return `${worst.name} has a ${worst.of} of ${worst.value.toFixed(4)}, and at most ${most} is allowed (--max-error)${more === 0 ? "" : `; ${more} more of ${treated.size} layers ${more === 1 ? "is" : "are"} above it`}.`;
}

/** The warning that a recipe's last weights are stored for nothing. */
export const unsavedWarning: Warning = {
  kind: "unsaved",
  tensor: null,
  value: null,
  message:
    "what the recipe stores after its last `save` is not written: a recipe that has a `save` writes nothing else",
};

/** What a finished compression is judged by. */
export interface Outcome {
  readonly treated: ReadonlyMap<string, WeightRecord>;
  readonly perplexities: readonly PerplexityReport[];
  /** Tokens of the vocabulary. */
  readonly vocabulary: number;
  readonly bytesBefore: number;
  readonly bytesAfter: number;
  /** Whether activations are rounded otherwise than they were. */
  readonly rounded?: boolean;
  /** Whether weights are stored after the last `save`. */
  readonly unsaved: boolean;
}

/** The warnings of a compression: of its layers in the order in which they were treated, then of the whole. */
export function warningsOf({
  treated,
  perplexities,
  vocabulary,
  bytesBefore,
  bytesAfter,
  rounded = false,
  unsaved,
}: Outcome): readonly Warning[] {
  const unchanged: Warning = {
    kind: "unchanged",
    tensor: null,
    value: null,
    message: "the recipe stored nothing: what is written is the model as given",
  };
  const larger: Warning = {
    kind: "larger",
    tensor: null,
    value: bytesAfter,
    message: `the model became larger: ${formatBytes(bytesBefore)} -> ${formatBytes(bytesAfter)}`,
  };
  return [
    ...[...treated.values()].flatMap((record) => layerWarning(record) ?? []),
    ...perplexityWarnings(perplexities, vocabulary),
    ...(treated.size === 0 && !rounded ? [unchanged] : []),
    // some bytes more that no size shows are no matter
    ...(bytesAfter > bytesBefore && formatBytes(bytesAfter) !== formatBytes(bytesBefore) ? [larger] : []),
    ...(unsaved ? [unsavedWarning] : []),
  ];
}

/** The warnings of perplexities, which are compared on the same text. */
export function perplexityWarnings(perplexities: readonly PerplexityReport[], vocabulary: number): readonly Warning[] {
  return (["calibration", "evaluation"] as const).flatMap((text) => {
    const last = (of: PerplexityReport["of"]): number | undefined =>
      perplexities.filter((one) => one.text === text && one.of === of).at(-1)?.value;
    const [given, compressed] = [last("given"), last("compressed")];
    const chance = (["given", "compressed"] as const).flatMap((of) => {
      const found = chanceWarning(of === "given" ? given : compressed, vocabulary, `the model ${words[of]}`, text);
      return found === null ? [] : [found];
    });
    return given !== undefined && compressed !== undefined && compressed >= lostGrowth * given
      ? [
          ...chance,
          {
            kind: "perplexity-lost" as const,
            tensor: null,
            value: finite(compressed),
            message: `the perplexity on the ${text} text went from ${printPerplexity(given)} to ${printPerplexity(compressed)}`,
          },
        ]
      : chance;
  });
}

const words = { given: "as given", compressed: "as compressed" } as const;

/** The warning of a perplexity that guessing would beat; null for none. */
export function chanceWarning(
  perplexity: number | undefined,
  vocabulary: number,
  subject: string,
  text: string,
): Warning | null {
  if (perplexity === undefined || perplexity <= vocabulary) return null;
  return {
    kind: "worse-than-chance",
    tensor: null,
    value: finite(perplexity),
    message: `${subject} is worse than guessing on the ${text} text: its perplexity is ${printPerplexity(perplexity)}, and its vocabulary has ${vocabulary} tokens`,
  };
}

/** A perplexity in words; beyond every number, that. */
export function printPerplexity(value: number): string {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "not a number" : "above 1e308";
  return value < 1e6 ? value.toFixed(3) : value.toExponential(3);
}

/** A number as JSON has it. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}
