/**
 * Line breaking after Wadler, "A prettier printer" (2003): a group stands on one line if it fits, else all of its own
 * lines break, while the groups inside decide for themselves.
 */
export type Layout =
  | string
  | readonly Layout[]
  /** A space, or nothing, when the group is flat; else a new line. */
  | { readonly kind: "line"; readonly flat: "" | " " }
  | { readonly kind: "nest"; readonly inner: Layout }
  | { readonly kind: "group"; readonly inner: Layout };

/** A space or a new line. */
export const line: Layout = { kind: "line", flat: " " };
/** Nothing or a new line. */
export const softLine: Layout = { kind: "line", flat: "" };

/** What breaks together. */
export function group(...inner: readonly Layout[]): Layout {
  return { kind: "group", inner };
}

/** Lines inside begin one indentation (2 columns) further right. */
export function nest(...inner: readonly Layout[]): Layout {
  return { kind: "nest", inner };
}

/** The items with `separator` and a line between them. */
export function list(items: readonly Layout[], separator: string): Layout {
  return items.flatMap((item, at) => (at === 0 ? [item] : [separator, line, item]));
}

/** `open`, the items separated by commas, `close`; one item a line where they do not fit. */
export function bracketed(open: string, items: readonly Layout[], close: string): Layout {
  return items.length === 0 ? open + close : group(open, nest(softLine, list(items, ",")), softLine, close);
}

interface Item {
  readonly layout: Layout;
  readonly indent: number;
  readonly flat: boolean;
}

/** The text of a layout that begins at column `indent`; continued lines are indented from there. */
export function render(layout: Layout, indent: number, width: number): string {
  let text = "";
  let column = indent;
  const stack: Item[] = [{ layout, indent, flat: false }];
  for (let item = stack.pop(); item; item = stack.pop()) {
    const { layout: at, indent: margin, flat } = item;
    if (typeof at === "string") {
      text += at;
      column += at.length;
    } else if (!("kind" in at)) {
      for (const inner of at.toReversed()) stack.push({ layout: inner, indent: margin, flat });
    } else if (at.kind === "line") {
      text += flat ? at.flat : `\n${" ".repeat(margin)}`;
      column = flat ? column + at.flat.length : margin;
    } else if (at.kind === "nest") {
      stack.push({ layout: at.inner, indent: margin + 2, flat });
    } else {
      stack.push({ layout: at.inner, indent: margin, flat: flat || fits(at.inner, stack, width - column) });
    }
  }
  return text;
}

/** Whether the layout, flat, and what follows it up to the next new line are at most `room` columns wide. */
function fits(layout: Layout, rest: readonly Item[], room: number): boolean {
  let left = room;
  let after = rest.length;
  const stack: { readonly layout: Layout; readonly flat: boolean }[] = [{ layout, flat: true }];
  while (left >= 0) {
    const item = stack.pop() ?? rest[--after];
    if (!item) return true;
    const { layout: at, flat } = item;
    if (typeof at === "string") left -= at.length;
    else if (!("kind" in at)) for (const inner of at.toReversed()) stack.push({ layout: inner, flat });
    else if (at.kind === "line" && !flat) return true;
    else if (at.kind === "line") left -= at.flat.length;
    else stack.push({ layout: at.inner, flat });
  }
  return false;
}
