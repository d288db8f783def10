/** Plots of what a compression costs each layer: by block, a line for each kind of layer. */
import { element } from "./page.js";

/** A line; null where there is no value yet. */
export interface Series {
  readonly name: string;
  readonly values: readonly (number | null)[];
}

export interface Plot {
  readonly title: string;
  readonly caption: string;
  /** What stands along the axis below. */
  readonly labels: readonly string[];
  /** Shares of 1, drawn as percent. */
  readonly series: readonly Series[];
}

const space = "http://www.w3.org/2000/svg";
const height = 220;
const margin = { top: 10, right: 12, bottom: 34, left: 48 };
/** Marks that are told apart without colours: each a path around 0, 0. */
const marks = [
  "M-3,0a3,3 0 1,0 6,0a3,3 0 1,0 -6,0",
  "M-3,-3h6v6h-6z",
  "M0,-4l4,7h-8z",
  "M0,-4.5l4.5,4.5l-4.5,4.5l-4.5,-4.5z",
  "M-4,-1h3v-3h2v3h3v2h-3v3h-2v-3h-3z",
  "M0,4l4,-7h-8z",
  "M-4,-2h8v4h-8z",
];

/** Draws a plot, and again when its place changes its width. */
export function drawPlot(plot: Plot): HTMLElement {
  const figure = element("figure", "", "plot");
  const place = element("div");
  const caption = element("figcaption");
  caption.append(element("b", plot.title), ` ${plot.caption}`);
  const legend = element("ul", "", "legend");
  plot.series.forEach(({ name }, at) => {
    const item = element("li");
    const icon = svg("svg", { viewBox: "-6 -6 12 12", width: "12", height: "12", "aria-hidden": "true" });
    icon.append(svg("path", { d: markOf(at), class: `series-${at % marks.length}` }));
    item.append(icon, name);
    legend.append(item);
  });
  figure.append(caption, place, legend);
  let drawn = 0;
  new ResizeObserver(() => {
    const width = Math.floor(place.clientWidth);
    if (width === drawn || width === 0) return;
    drawn = width;
    place.replaceChildren(drawing(plot, width));
  }).observe(place);
  return figure;
}

function drawing({ title, labels, series }: Plot, width: number): Element {
  const most = Math.max(0.01, ...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  const step = niceStep(most / 4);
  const top = Math.ceil(most / step) * step;
  const x = (at: number): number =>
    margin.left + ((width - margin.left - margin.right) * (at + 0.5)) / Math.max(1, labels.length);
  const y = (value: number): number => height - margin.bottom - ((height - margin.top - margin.bottom) * value) / top;
  const image = svg("svg", {
    viewBox: `0 0 ${width} ${height}`,
    width: String(width),
    height: String(height),
    role: "img",
    "aria-label": `${title}: ${series.map((each) => describe(each)).join("; ")}`,
  });
  for (let at = 0; at * step <= top + step / 2; at += 1) {
    const level = y(at * step);
    image.append(
      svg("line", {
        x1: String(margin.left),
        x2: String(width - margin.right),
        y1: `${level}`,
        y2: `${level}`,
        class: "grid",
      }),
      words(`${Number((at * step * 100).toPrecision(3))} %`, {
        x: String(margin.left - 6),
        y: String(level + 4),
        class: "side",
      }),
    );
  }
  const apart = Math.ceil(labels.length / Math.max(1, Math.floor((width - margin.left) / 28)));
  labels.forEach((label, at) => {
    if (at % apart === 0)
      image.append(words(label, { x: String(x(at)), y: String(height - margin.bottom + 16), class: "below" }));
  });
  image.append(words("block", { x: String((margin.left + width) / 2), y: String(height - 2), class: "below" }));
  series.forEach(({ values }, index) => {
    const points = values.flatMap((value, at) => (value === null ? [] : [`${x(at)},${y(value)}`]));
    image.append(svg("polyline", { points: points.join(" "), class: `line series-${index % marks.length}` }));
    for (const point of points)
      image.append(
        svg("path", { d: markOf(index), transform: `translate(${point})`, class: `series-${index % marks.length}` }),
      );
  });
  return image;
}

function describe({ name, values }: Series): string {
  const known = values.filter((value) => value !== null);
  if (known.length === 0) return `${name} not yet`;
  const percent = (value: number): string => `${(100 * value).toFixed(1)} %`;
  return `${name} ${percent(Math.min(...known))} to ${percent(Math.max(...known))}`;
}

function markOf(at: number): string {
  return marks[at % marks.length] ?? "";
}

/** The next of 1, 2, 5, 10, ... in its decade. */
function niceStep(step: number): number {
  const decade = 10 ** Math.floor(Math.log10(step));
  return ([1, 2, 5, 10].find((factor) => factor * decade >= step) ?? 10) * decade;
}

function svg(name: string, attributes: Readonly<Record<string, string>>): Element {
  const made = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function words(text: string, attributes: Readonly<Record<string, string>>): Element {
  const made = svg("text", attributes);
  made.textContent = text;
  return made;
}
