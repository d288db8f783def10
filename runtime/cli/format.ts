import { check } from "../../compiler/check/check.js";
import { hasErrors } from "../../compiler/diagnostic.js";
import { mapFormat, type FormatSpec } from "../../compiler/types/type.js";
import { sizeValue } from "../../compiler/types/size.js";
import { normalizeFormat } from "../../compiler/formats/registry.js";
import { createHost } from "../library.js";
import { UsageError } from "./failure.js";

/** A format from its text, `nm(2, 4) of int4(128)`: the language reads it, with the tables of the library. */
export function parseFormat(text: string): FormatSpec {
  const file = "format";
  const source = `use codebooks\n\nfn stored(w: f32[N, K] as ${text}) -> f32[N, K] {\n  return unpack w\n}\n`;
  const host = createHost();
  const { value, diagnostics } = check(file, { ...host, read: (path) => (path === file ? source : host.read(path)) });
  const format = value?.functions.get("stored")?.values[0]?.type.format ?? null;
  if (value === null || hasErrors(diagnostics) || format === null || "parameter" in format) {
    throw new UsageError(
      `"${text}" is no format: ${diagnostics.find((found) => found.severity === "error")?.message ?? "expected one such as int4(128) or nm(2, 4) of f16"}`,
    );
  }
  const normal = normalizeFormat(mapFormat(format, (size) => sizeValue(size) ?? 0));
  if (typeof normal === "string") throw new UsageError(normal);
  return normal;
}
