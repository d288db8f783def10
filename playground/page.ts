/** Small helpers for the page. */

/** The element of that id, of that kind. */
export function byId<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${id}`);
  return found;
}

/** A new element with a text, never HTML. */
export function element<K extends keyof HTMLElementTagNameMap>(
  name: K,
  text = "",
  className = "",
): HTMLElementTagNameMap[K] {
  const made = document.createElement(name);
  made.textContent = text;
  if (className !== "") made.className = className;
  return made;
}

/** Options of a select; keeps what is chosen where it is there still. */
export function offer(select: HTMLSelectElement, names: readonly string[]): void {
  const before = select.value;
  select.replaceChildren(...names.map((name) => Object.assign(element("option", name), { value: name })));
  if (names.includes(before)) select.value = before;
}

/** A table; numbers stand to the right, those of a column with as many decimals. */
export function table(heads: readonly string[], rows: readonly (readonly (string | number)[])[]): HTMLElement {
  const made = element("table");
  const decimals = heads.map((_, at) =>
    Math.max(...rows.map((row) => (typeof row[at] === "number" ? print(row[at]) : "").split(".")[1]?.length ?? 0)),
  );
  const line = (kind: "th" | "td", cells: readonly (string | number)[]): HTMLElement => {
    const row = element("tr");
    cells.forEach((cell, at) => {
      const isNumber = typeof (rows[0]?.[at] ?? "") === "number";
      row.append(element(kind, typeof cell === "number" ? cell.toFixed(decimals[at]) : cell, isNumber ? "number" : ""));
    });
    return row;
  };
  made.append(line("th", heads), ...rows.map((row) => line("td", row)));
  const around = element("div", "", "scroll");
  around.append(made);
  return around;
}

/** A number for people. */
export function print(value: number): string {
  return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(6)));
}

/** What went wrong, for people. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
