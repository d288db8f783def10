/** The code of every format. */
import { InternalError } from "../../diagnostic.js";
import type { FormatSpec } from "../../types/type.js";
import { bitmaskCode } from "../bitmask/code.js";
import { bf16Code, f16Code, f32Code, i32Code, u32Code } from "../dense/code.js";
import { codebookCode } from "../codebook/code.js";
import { fp8E4m3Code, fp8E5m2Code } from "../fp8/code.js";
import { int2Code, int3Code, int4Code, int5Code, int6Code, int8Code } from "../integer/code.js";
import { lowrankCode } from "../lowrank/code.js";
import { nmCode } from "../nm/code.js";
import { q4_0Code } from "../q4_0/code.js";
import { q4_1Code } from "../q4_1/code.js";
import { q6_kCode } from "../q6_k/code.js";
import { q5_0Code } from "../q5_0/code.js";
import { q5_1Code } from "../q5_1/code.js";
import { q2_kCode } from "../q2_k/code.js";
import { q3_kCode } from "../q3_k/code.js";
import { q4_kCode } from "../q4_k/code.js";
import { q5_kCode } from "../q5_k/code.js";
import { iq4_nlCode } from "../iq4_nl/code.js";
import { q8_0Code } from "../q8_0/code.js";
import { byName, formatOfSpec, type FormatName } from "../registry.js";
import { regroupedCode } from "../regrouped/code.js";
import { sliceCode } from "../slice/code.js";
import type { ElementCode, FormatCode } from "./code.js";

const codes: { readonly [N in FormatName]: FormatCode } = {
  f32: f32Code,
  f16: f16Code,
  bf16: bf16Code,
  i32: i32Code,
  u32: u32Code,
  int8: int8Code,
  int6: int6Code,
  int5: int5Code,
  int4: int4Code,
  int3: int3Code,
  int2: int2Code,
  fp8_e4m3: fp8E4m3Code,
  fp8_e5m2: fp8E5m2Code,
  codebook: codebookCode,
  nm: nmCode(byName.nm, elementOf, (spec) => formatOfSpec(spec).dense),
  bitmask: bitmaskCode(byName.bitmask, elementOf),
  regrouped: regroupedCode(byName.regrouped, codeOf),
  q8_0: q8_0Code,
  q4_0: q4_0Code,
  q4_1: q4_1Code,
  q6_k: q6_kCode,
  q5_0: q5_0Code,
  q5_1: q5_1Code,
  q2_k: q2_kCode,
  q3_k: q3_kCode,
  q4_k: q4_kCode,
  q5_k: q5_kCode,
  iq4_nl: iq4_nlCode,
  lowrank: lowrankCode(byName.lowrank, codeOf, () => elementOf({ name: "f16", args: {}, of: null })),
  slice: sliceCode(f16Code),
};

/** The code of the format of a spec that has been normalized. */
export function codeOf(spec: FormatSpec): FormatCode {
  if (!Object.hasOwn(codes, spec.name)) throw new InternalError(`there is no format ${spec.name}`);
  return codes[spec.name as FormatName];
}

/** That of the single values that a format stores. */
function elementOf(spec: FormatSpec): ElementCode {
  const { element } = codeOf(spec);
  if (element === null) throw new InternalError(`${spec.name} does not store single values`);
  return element(spec);
}
