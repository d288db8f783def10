/** The tokens that are put before a text and behind it. */
import type { Fields } from "../fields.js";
import { isObject } from "../files.js";
import { isId } from "./vocabulary.js";

export interface Frame {
  readonly before: readonly number[];
  readonly after: readonly number[];
}

/** The field `post_processor`; what of it is not supported is left with the fields' problems. */
export function parsePostProcessor(fields: Fields): Frame {
  const frame = parse(fields);
  fields.refuseRest();
  return frame;
}

const none: Frame = { before: [], after: [] };

function parse(fields: Fields): Frame {
  const type = fields.raw("type");
  switch (type) {
    case "Sequence": {
      const frames = fields.list("processors").map(parsePostProcessor);
      const [frame = none, ...others] = frames.filter(({ before, after }) => before.length + after.length > 0);
      if (others.length > 0) fields.refuse("processors", "of which several put tokens around a text: not supported");
      return frame;
    }
    case "ByteLevel":
      // about the places of tokens in the text, not about tokens
      for (const name of ["add_prefix_space", "trim_offsets", "use_regex"]) fields.boolean(name, true);
      return none;
    case "BertProcessing":
    case "RobertaProcessing":
      if (type === "RobertaProcessing")
        for (const name of ["add_prefix_space", "trim_offsets"]) fields.boolean(name, true);
      return { before: parsePair(fields, "cls"), after: parsePair(fields, "sep") };
    case "TemplateProcessing":
      return parseTemplate(fields);
    default:
      fields.problem("type", "Sequence, ByteLevel, TemplateProcessing, BertProcessing or RobertaProcessing", type);
      return none;
  }
}

/** A token and its id. */
function parsePair(fields: Fields, name: string): readonly number[] {
  const value = fields.raw(name);
  const id: unknown = Array.isArray(value) ? value[1] : undefined;
  if (isId(id)) return [id];
  fields.problem(name, "a token and its id", value);
  return [];
}

/** The template of one text, `single`; that of two texts says nothing here. */
function parseTemplate(fields: Fields): Frame {
  fields.raw("pair");
  const tokens = fields.nested("special_tokens");
  const given = fields.raw("single");
  const items: readonly unknown[] = Array.isArray(given) ? given : [];
  const parts = items.map((item) => itemOf(item, tokens));
  const text = parts.indexOf("text");
  const ids = parts.filter((part): part is readonly number[] => part !== null && part !== "text");
  if (text < 0 || ids.length !== parts.length - 1) {
    fields.problem("single", "a list of tokens that are among `special_tokens` and of one sequence A", given);
    return none;
  }
  return { before: ids.slice(0, text).flat(), after: ids.slice(text).flat() };
}

/** The ids of a token of a template, the text, or null for what cannot be. */
function itemOf(item: unknown, tokens: Fields | null): readonly number[] | "text" | null {
  if (!isObject(item)) return null;
  const [sequence, special] = [item["Sequence"], item["SpecialToken"]];
  if (isObject(sequence)) return sequence["id"] === "A" ? "text" : null;
  const name = isObject(special) ? special["id"] : null;
  const token = typeof name === "string" ? (tokens?.raw(name) ?? null) : null;
  const ids: unknown = isObject(token) ? token["ids"] : null;
  return Array.isArray(ids) && ids.every(isId) ? ids : null;
}
