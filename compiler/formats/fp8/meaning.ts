/**
 * fp8_e4m3 and fp8_e5m2: floats of 8 bits, by themselves or, with a group of columns or `channel`, times a scale: value =
 * float * scale. Rounded to nearest, halves to even; what is too large becomes the largest number, 448 or 57344.
 */
import { normalizeArguments } from "../arguments.js";
import type { Format, FormatParameter } from "../format.js";
import { checkGroup, gridOf, groupProblem, scaleParameters, scaleProblem, withoutZeroShift } from "../grid.js";
import { plainFormat } from "../plain/meaning.js";
import { smallFloats } from "../small-float.js";
import { fp8Elements } from "./element.js";

const group: FormatParameter = { kind: "number", name: "group", words: ["channel"], optional: true };

function fp8Format(name: keyof typeof fp8Elements): Format {
  const largest = fp8Elements[name].decode(smallFloats[name].most);
  return plainFormat({
    name,
    parameters: [group, ...scaleParameters],
    normalize(spec) {
      if (spec.of !== null) return `${name} stores single values; it takes no \`of\`.`;
      if (spec.args["group"] === undefined)
        return spec.args["scale"] === undefined && spec.args["shift"] === undefined
          ? normalizeArguments(spec, [group])
          : `${name} has scales only where it has a group, or \`channel\`.`;
      return (
        groupProblem(spec) ??
        scaleProblem(spec) ??
        normalizeArguments(withoutZeroShift(spec), [group, ...scaleParameters])
      );
    },
    check: checkGroup,
    element: () => fp8Elements[name],
    grid: (spec) =>
      spec.args["group"] === undefined
        ? null
        : { ...gridOf(spec), symmetric: true, bits: 8, low: -largest, high: largest, zero: "code" },
  });
}

export const fp8E4m3Format: Format = fp8Format("fp8_e4m3");
export const fp8E5m2Format: Format = fp8Format("fp8_e5m2");
