/** Reads formats as `printFormat` writes them, for the examples of the specification. */
import { formatOf, normalizeFormat } from "../../compiler/formats/registry.js";
import { nf4 } from "./tables.js";
import type { FormatSpec } from "../../compiler/types/type.js";

/** The normalized spec of a printed format; throws on anything else. */
export function parseFormat(text: string): FormatSpec {
  const [own = "", ...rest] = text.split(" of ");
  const [, name = "", list = ""] = /^([a-z0-9_]+)(?:\((.*)\))?$/.exec(own.trim()) ?? [];
  const parameters = formatOf(name)?.parameters ?? [];
  const args: Record<string, number | string | boolean> = {};
  for (const part of list
    .split(",")
    .map((each) => each.trim())
    .filter((each) => each !== "")) {
    const [value = "", label] = part
      .split(":")
      .map((each) => each.trim())
      .reverse();
    const flag = parameters.find(
      (parameter) => parameter.kind === "flag" && (parameter.yes === value || parameter.no === value),
    );
    const position = parameters.find(
      (parameter) => (parameter.kind === "number" || parameter.kind === "table") && args[parameter.name] === undefined,
    );
    if (flag?.kind === "flag") args[flag.name] = value === flag.yes;
    else args[label ?? position?.name ?? "?"] = /^\d+$/.test(value) ? Number(value) : value === "nf4" ? nf4 : value;
  }
  const spec = normalizeFormat({ name, args, of: rest.length === 0 ? null : parseFormat(rest.join(" of ")) });
  if (typeof spec === "string") throw new Error(`${text}: ${spec}`);
  return spec;
}
