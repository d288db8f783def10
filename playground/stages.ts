/** Every stage of a function side by side. */
import { byId, element } from "./page.js";
import {
  baselineTarget,
  compileStages,
  parse,
  printGraph,
  printKernel,
  type Stages,
  type SymbolicGraph,
  type Target,
} from "../web.js";

/** Fields for the sizes of a function; `changed` is called when one is. */
export function offerSizes(graph: SymbolicGraph, changed: () => void): void {
  const place = byId("sizes", HTMLSpanElement);
  const before = new Map([...place.querySelectorAll("input")].map((input) => [input.name, input.value]));
  place.replaceChildren(
    ...graph.parameters.sizes.map((name, at) => {
      const label = element("label", `${name} `);
      const input = Object.assign(element("input"), {
        type: "number",
        min: "1",
        name,
        value: before.get(name) ?? String(4 * (at + 1)),
      });
      input.addEventListener("change", changed);
      label.append(input);
      return label;
    }),
  );
}

/** What the stages are compiled for, from the fields. */
export function compileShown(graph: SymbolicGraph, target: Target | null): Stages | string {
  const sizes: Record<string, number> = {};
  for (const input of byId("sizes", HTMLSpanElement).querySelectorAll("input")) {
    const value = Number(input.value);
    if (!Number.isInteger(value) || value < 1 || value > 2 ** 20)
      return `The size ${input.name} should be a whole number from 1 to ${2 ** 20}.`;
    sizes[input.name] = value;
  }
  const dtypes = Object.fromEntries(graph.parameters.dtypes.map((name) => [name, "f32" as const]));
  const formats = Object.fromEntries(graph.parameters.formats.map((name) => [name, null]));
  const stages = compileStages(graph, { sizes, dtypes, formats }, target ?? baselineTarget);
  return "diagnostics" in stages ? stages.diagnostics.map(({ message }) => message).join("\n") : stages;
}

/** Shows them. */
export function showStages(source: string, file: string, graph: SymbolicGraph, stages: Stages): void {
  const parsed = parse(source, file).value;
  const own = parsed?.declarations.find((one) => "name" in one && nameOf(one.name) === graph.name) ?? parsed;
  const kernels = stages.kernels.flat();
  const shown: readonly (readonly [string, string])[] = [
    ["Ast", JSON.stringify(own, (key, value: unknown) => (key === "span" ? undefined : value), 1)],
    ["Graph", printGraph(stages.fused)],
    ["Kernel", kernels.map((kernel) => printKernel(kernel).trimEnd()).join("\n\n")],
    ["WGSL", stages.program.kernels.map(({ wgsl }) => wgsl.trimEnd()).join("\n\n")],
    [
      "Plan",
      JSON.stringify({ ...stages.program, kernels: stages.program.kernels.map(({ wgsl, ...rest }) => rest) }, null, 1),
    ],
  ];
  byId("stages", HTMLDivElement).replaceChildren(
    ...shown.map(([name, text]) => {
      const panel = element("div");
      const code = Object.assign(element("pre", text), { tabIndex: 0, id: `stage-${name.toLowerCase()}` });
      code.setAttribute("aria-label", name);
      panel.append(element("h3", name), code);
      return panel;
    }),
  );
}

function nameOf(name: unknown): string | null {
  if (typeof name === "string") return name;
  return typeof name === "object" && name !== null && "name" in name && typeof name.name === "string"
    ? name.name
    : null;
}
