/** The metrics of several servers as those of one. */

/** What a front counts itself. */
export interface FrontCounts {
  readonly ready: number;
  readonly wanted: number;
  readonly underWay: number;
  /** Requests that were asked of a second server. */
  readonly retried: number;
  /** Streams that broke off. */
  readonly broken: number;
}

/** Each metric once, its values labelled by the server that they are of. */
export function mergeMetrics(
  each: readonly { readonly at: number; readonly text: string }[],
  own: FrontCounts,
): string {
  const metrics = new Map<string, { readonly head: string[]; readonly lines: string[] }>();
  for (const { at, text } of each) {
    let current: { readonly head: string[]; readonly lines: string[] } | null = null;
    for (const line of text.split("\n")) {
      const [, name] = /^# HELP (\S+)/.exec(line) ?? [];
      if (name !== undefined) {
        current = metrics.get(name) ?? { head: [], lines: [] };
        metrics.set(name, current);
      }
      if (line === "" || current === null) continue;
      if (line.startsWith("#")) {
        if (!current.head.includes(line)) current.head.push(line);
        continue;
      }
      const [, series = "", labels = "", value = ""] = /^([^\s{]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
      if (series !== "") current.lines.push(`${series}{server="${at}"${labels === "" ? "" : `,${labels}`}} ${value}`);
    }
  }
  const value = (name: string, kind: "counter" | "gauge", help: string, found: number): string =>
    `# HELP espalier_front_${name} ${help}\n# TYPE espalier_front_${name} ${kind}\nespalier_front_${name} ${found}\n`;
  return [
    ...[...metrics.values()].map(({ head, lines }) => `${[...head, ...lines].join("\n")}\n`),
    value("servers", "gauge", "Servers that answer.", own.ready),
    value("servers_wanted", "gauge", "Servers that there should be.", own.wanted),
    value("requests_under_way", "gauge", "Requests that are being answered.", own.underWay),
    value("requests_retried_total", "counter", "Requests asked of a second server.", own.retried),
    value("streams_broken_total", "counter", "Answers in events that broke off.", own.broken),
  ].join("");
}
