/** How kernels read and write the dense formats. */
import type { FormatCode } from "../code/code.js";
import { plainElementCodes } from "../code/element.js";
import { plainCode } from "../plain/code.js";
import { bf16Format, f16Format, f32Format, i32Format, u32Format } from "./meaning.js";

export const f32Code: FormatCode = plainCode(f32Format, () => plainElementCodes.f32);
export const f16Code: FormatCode = plainCode(f16Format, () => plainElementCodes.f16);
export const bf16Code: FormatCode = plainCode(bf16Format, () => plainElementCodes.bf16);
export const i32Code: FormatCode = plainCode(i32Format, () => plainElementCodes.i32);
export const u32Code: FormatCode = plainCode(u32Format, () => plainElementCodes.u32);
