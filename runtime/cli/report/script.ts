/** What a page does in a browser: draws the charts in the colours of the theme, sorts tables, switches the theme. */
export const script = `
"use strict";
const charts = JSON.parse(document.getElementById("charts").textContent);
let drawn = [];

function write(value, unit) {
  if (unit === "percent") return Number((100 * value).toPrecision(3)) + " %";
  if (unit === "seconds") return Number(value.toPrecision(3)) + " s";
  if (unit === "bytes") {
    const names = ["B", "KiB", "MiB", "GiB", "TiB"];
    const step = Math.min(names.length - 1, Math.max(0, Math.floor(Math.log2(Math.max(1, value)) / 10)));
    return Number((value / 2 ** (10 * step)).toPrecision(3)) + " " + names[step];
  }
  return String(Number(value.toPrecision(4)));
}

/** Bytes are read best at powers of two. */
function ticks(unit, series) {
  const most = Math.max(1, ...series.flatMap(({ values }) => values.map((value) => value ?? 0)));
  return { callback: (value) => write(value, unit), ...(unit === "bytes" ? { stepSize: 2 ** Math.ceil(Math.log2(most / 8)) } : {}) };
}

function draw() {
  for (const chart of drawn) chart.destroy();
  const styles = getComputedStyle(document.documentElement);
  const color = (name) => styles.getPropertyValue("--" + name).trim();
  Chart.defaults.color = color("soft");
  Chart.defaults.borderColor = color("line");
  Chart.defaults.font.family = getComputedStyle(document.body).fontFamily;
  drawn = charts.map(({ kind, below, labels, side, unit, logarithmic, series }, at) => new Chart(document.getElementById("chart-" + at), {
    type: kind === "lines" ? "line" : "bar",
    data: {
      labels,
      datasets: series.map(({ name, values }, index) => ({
        label: name, data: values, borderColor: color("s" + index % 7), backgroundColor: color("s" + index % 7),
        borderWidth: kind === "lines" ? 2 : 0, pointRadius: labels.length > 40 ? 1.5 : 3.5, pointStyle: ["circle", "rect", "triangle", "rectRot", "star", "crossRot", "cross"][index % 7], tension: 0, spanGaps: true,
      })),
    },
    options: {
      responsive: true, maintainAspectRatio: false, animation: false, interaction: { mode: "index", intersect: false },
      plugins: {
        legend: { display: series.length > 1, position: "bottom", labels: { usePointStyle: kind === "lines", boxWidth: 12, boxHeight: 8 } },
        tooltip: { callbacks: { label: (item) => " " + item.dataset.label + ": " + write(item.raw, unit) } },
      },
      scales: {
        x: { stacked: kind === "stacked", title: { display: true, text: below }, grid: { display: false } },
        y: { stacked: kind === "stacked", type: logarithmic ? "logarithmic" : "linear", beginAtZero: !logarithmic, title: { display: true, text: side }, ticks: ticks(unit, series) },
      },
    },
  }));
}

for (const table of document.querySelectorAll("table")) {
  table.querySelectorAll("th").forEach((head, column) => head.addEventListener("click", () => {
    const falling = head.dataset.order !== "falling";
    head.dataset.order = falling ? "falling" : "rising";
    const body = table.tBodies[0];
    const rows = [...body.rows].sort((a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      const order = head.className === "number" ? Number(x.dataset.value ?? -Infinity) - Number(y.dataset.value ?? -Infinity) : x.textContent.localeCompare(y.textContent, "en", { numeric: true });
      return falling ? -order : order;
    });
    body.append(...rows);
  }));
}

document.getElementById("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  draw();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
draw();
`;
