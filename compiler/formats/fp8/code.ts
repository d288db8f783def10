/** How kernels read and write fp8. */
import type { FormatCode } from "../code/code.js";
import { fp8ElementCodes } from "../code/element.js";
import { plainCode } from "../plain/code.js";
import { fp8E4m3Format, fp8E5m2Format } from "./meaning.js";

export const fp8E4m3Code: FormatCode = plainCode(fp8E4m3Format, () => fp8ElementCodes.fp8_e4m3);
export const fp8E5m2Code: FormatCode = plainCode(fp8E5m2Format, () => fp8ElementCodes.fp8_e5m2);
