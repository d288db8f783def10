/** A roofline (Williams, Waterman & Patterson 2009) as SVG: what was measured under what memory and arithmetic allow. */

/** One thing that was timed. */
export interface RooflinePoint {
  readonly label: string;
  /** Operations, those of a dense product: a multiplication and an addition for each weight and token. */
  readonly operations: number;
  /** Bytes that have to be read and written. */
  readonly bytes: number;
  readonly us: number;
}

/** Points that are drawn alike. */
export interface RooflineSeries {
  readonly name: string;
  /** Whether they are another's, drawn hollow. */
  readonly peer: boolean;
  readonly points: readonly RooflinePoint[];
}

export interface Roofline {
  readonly title: string;
  /** What memory was measured to give, GB/s. */
  readonly gbs: number;
  /** What arithmetic allows, where that is told. */
  readonly ceilings: readonly { readonly name: string; readonly teraflops: number }[];
  readonly series: readonly RooflineSeries[];
}

const size = { width: 960, height: 600, left: 70, right: 250, top: 50, bottom: 60 } as const;

/** Colours of series on light and on dark, told apart also by those who see few. */
const colors = [
  ["#1f77b4", "#63a9e0"],
  ["#d1662b", "#f08d57"],
  ["#3a8f4e", "#74c586"],
  ["#b5348b", "#e57fc4"],
  ["#7a5cc2", "#ab93ec"],
  ["#a9852a", "#d9b85c"],
  ["#17929c", "#5cc4cd"],
] as const;

const style = `
.g{fill:#fbfaf7}.t{fill:#23211c}.s{fill:#6b675d}.l{stroke:#e2dfd6}.r{stroke:#23211c;fill:none}text{font:12px system-ui,sans-serif}
${colors.map(([light], at) => `.c${at}{color:${light}}`).join("")}
@media (prefers-color-scheme:dark){.g{fill:#16181a}.t{fill:#e9e7e1}.s{fill:#a3a097}.l{stroke:#34383b}.r{stroke:#e9e7e1}
${colors.map(([, dark], at) => `.c${at}{color:${dark}}`).join("")}}`;

/** TFLOP/s of a point. */
export function teraflops({ operations, us }: RooflinePoint): number {
  return operations / us / 1e6;
}

/** The picture; each point has its label, intensity and rate as a tooltip. */
export function rooflineSvg({ title, gbs, ceilings, series }: Roofline): string {
  const all = series.flatMap(({ points }) => points);
  const intensities = all.map(({ operations, bytes }) => operations / bytes);
  const rates = [...all.map(teraflops), ...ceilings.map((each) => each.teraflops)];
  const x = axisOf(intensities, size.left, size.width - size.right);
  const y = axisOf(rates, size.height - size.bottom, size.top);
  const highest = Math.max(10 ** y.high, ...ceilings.map((each) => each.teraflops));
  const top = ceilings.length === 0 ? highest : Math.max(...ceilings.map((each) => each.teraflops));
  // GB/s times operations a byte are GFLOP/s
  const memory = (intensity: number): number => (gbs * intensity) / 1000;
  const from = Math.max(10 ** x.low, (1000 * 10 ** y.low) / gbs);
  const to = Math.min(10 ** x.high, (1000 * top) / gbs);
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${size.width} ${size.height}" role="img" aria-label="${escaped(title)}">`,
    `<style>${style}</style>`,
    `<rect class="g" width="${size.width}" height="${size.height}"/>`,
    text(size.left, 28, escaped(title), "t"),
    ...x.ticks.flatMap((tick) => [
      line(x.at(tick), size.top, x.at(tick), size.height - size.bottom, "l"),
      text(x.at(tick), size.height - size.bottom + 18, printTick(tick), "s", "middle"),
    ]),
    ...y.ticks.flatMap((tick) => [
      line(size.left, y.at(tick), size.width - size.right, y.at(tick), "l"),
      text(size.left - 8, y.at(tick) + 4, printTick(tick), "s", "end"),
    ]),
    text((size.left + size.width - size.right) / 2, size.height - 18, "operations a byte", "s", "middle"),
    text(size.left, 44, "TFLOP/s, as of dense products", "s"),
    ...(to > from
      ? [
          line(x.at(from), y.at(memory(from)), x.at(to), y.at(memory(to)), "r"),
          text(x.at(from) + 8, y.at(memory(from)) - 8, `${Number(gbs.toPrecision(3))} GB/s`, "t"),
        ]
      : []),
    ...ceilings.flatMap((ceiling) => {
      const begin = Math.min(10 ** x.high, Math.max(10 ** x.low, (1000 * ceiling.teraflops) / gbs));
      const at = y.at(ceiling.teraflops);
      return [
        line(x.at(begin), at, size.width - size.right, at, "r"),
        text(size.width - size.right, at - 6, `${escaped(ceiling.name)}, ${ceiling.teraflops}`, "t", "end"),
      ];
    }),
    ...series.flatMap(({ name, peer, points }, at) => [
      ...points.map((point) => marker(x.at(point.operations / point.bytes), y.at(teraflops(point)), at, peer, point)),
      marker(size.width - size.right + 24, size.top + 10 + 20 * at, at, peer, null),
      text(size.width - size.right + 36, size.top + 14 + 20 * at, escaped(name), "t"),
    ]),
    "</svg>",
  ];
  return `${parts.join("\n")}\n`;
}

interface Axis {
  /** Powers of ten at its ends. */
  readonly low: number;
  readonly high: number;
  readonly ticks: readonly number[];
  at(value: number): number;
}

function axisOf(values: readonly number[], begin: number, end: number): Axis {
  const usable = values.filter((value) => value > 0 && Number.isFinite(value));
  const low = usable.length === 0 ? 0 : Math.floor(Math.log10(Math.min(...usable)));
  const high = Math.max(low + 1, usable.length === 0 ? 1 : Math.ceil(Math.log10(Math.max(...usable))));
  return {
    low,
    high,
    ticks: Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at)),
    at: (value) => round(begin + ((Math.log10(value) - low) / (high - low)) * (end - begin)),
  };
}

function marker(x: number, y: number, series: number, peer: boolean, point: RooflinePoint | null): string {
  const color = `class="c${series % colors.length}" stroke="currentColor" fill="${peer ? "none" : "currentColor"}"`;
  const told =
    point === null
      ? ""
      : `<title>${escaped(point.label)}: ${(point.operations / point.bytes).toPrecision(3)} operations a byte, ${teraflops(point).toPrecision(3)} TFLOP/s, ${point.us.toPrecision(3)} us</title>`;
  return `<circle cx="${round(x)}" cy="${round(y)}" r="4.5" stroke-width="1.8" ${color}>${told}</circle>`;
}

function line(x1: number, y1: number, x2: number, y2: number, name: string): string {
  return `<line x1="${round(x1)}" y1="${round(y1)}" x2="${round(x2)}" y2="${round(y2)}" class="${name}"/>`;
}

function text(x: number, y: number, content: string, name: string, anchor = "start"): string {
  return `<text x="${round(x)}" y="${round(y)}" class="${name}" text-anchor="${anchor}">${content}</text>`;
}

const round = (value: number): number => Math.round(10 * value) / 10;

function printTick(value: number): string {
  return value >= 1 ? value.toFixed(0) : String(Number(value.toPrecision(1)));
}

function escaped(content: string): string {
  return content.replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);
}
