/**
 * `codebook(table, group)`: a code is a place in a table of 2 to 16 numbers, value = table[code] * scale. The table is a
 * constant of the program, rising; it travels with the format. A code is that of the nearest number to value / scale, of
 * two as near the lower; bits are the fewest that a code fits in.
 */
import type { FormatSpec } from "../../types/type.js";
import { normalizeArguments, tableValues } from "../arguments.js";
import { InternalError } from "../../diagnostic.js";
import type { Element, Format, FormatParameter } from "../format.js";
import { checkGroup, gridOf, groupProblem, scaleParameters, scaleProblem, withoutZeroShift } from "../grid.js";
import { plainFormat } from "../plain/meaning.js";

const parameters: readonly FormatParameter[] = [
  { kind: "table", name: "table" },
  { kind: "number", name: "group", words: ["channel"] },
  ...scaleParameters,
];

/** What is wrong with a table, as the rest of a sentence, or null. */
function tableProblem(values: readonly number[] | null): string | null {
  if (values === null) return "is to be a list of numbers";
  if (values.length < 2 || values.length > 16) return `has 2 to 16 numbers, and this one has ${values.length}`;
  const rounded = values.map(Math.fround);
  const odd = rounded.find((value) => !Number.isFinite(value));
  if (odd !== undefined) return `has numbers that f32 holds, and ${odd} is none`;
  const at = rounded.findIndex((value, index) => index > 0 && !(rounded[index - 1]! < value));
  return at < 0 ? null : `rises, and ${values[at]!} stands after ${values[at - 1]!}`;
}

/** The numbers of a normalized spec. */
export function tableOf(spec: FormatSpec): readonly number[] {
  const values = tableValues(String(spec.args["table"]));
  if (values === null) throw new InternalError("a codebook that is not normalized");
  return values.map(Math.fround);
}

/** The values halfway between neighbours of a table: those above have a higher code. */
export function bordersOf(table: readonly number[]): readonly number[] {
  return table.slice(1).map((value, at) => Math.fround((value + table[at]!) / 2));
}

/** The bits of a code. */
export function codeBits(table: readonly number[]): number {
  return Math.ceil(Math.log2(table.length));
}

function elementOf(spec: FormatSpec): Element {
  const table = tableOf(spec);
  const borders = bordersOf(table);
  const last = table.length - 1;
  return {
    bits: codeBits(table),
    integer: false,
    holdsZero: table.includes(0),
    encode(value, scale) {
      const steps = scale === 0 ? 0 : Math.fround(value / scale);
      return borders.reduce((code, border) => code + (steps > border ? 1 : 0), 0);
    },
    decode: (code) => table[Math.min(code, last)]!,
    isNonzero: (code) => table[Math.min(code, last)] !== 0,
  };
}

const elements = new Map<string, Element>();

export const codebookFormat: Format = plainFormat({
  name: "codebook",
  example: "codebook(nf4, 64) with scale largest(w, 64)",
  parameters,
  normalize(spec) {
    if (spec.of !== null) return "codebook stores single values; it takes no `of`.";
    const { table } = spec.args;
    const wrong = table === undefined ? null : tableProblem(typeof table === "string" ? tableValues(table) : null);
    if (wrong !== null) return `The table of codebook ${wrong}.`;
    return groupProblem(spec) ?? scaleProblem(spec) ?? normalizeArguments(withoutZeroShift(spec), parameters);
  },
  check: checkGroup,
  element(spec) {
    const table = String(spec.args["table"]);
    let element = elements.get(table);
    if (element === undefined) {
      if (elements.size > 64) elements.clear();
      elements.set(table, (element = elementOf(spec)));
    }
    return element;
  },
  grid(spec) {
    const table = tableOf(spec);
    return {
      ...gridOf(spec),
      symmetric: true,
      bits: codeBits(table),
      low: table[0]!,
      high: table.at(-1)!,
      zero: "code",
    };
  },
});
