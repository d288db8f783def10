/** Kernels that differ in a few numbers as one body, so that a GPU holds its instructions once. */
import * as k from "../kernel/build.js";
import type { Kernel } from "../kernel/kernel.js";
import { renamed } from "../kernel/rename.js";
import { unify } from "../kernel/unify.js";
import { countOf, visitStatements } from "../kernel/walk.js";
import { freeName } from "../names.js";
import { kernelStep, type Lowered, type LoweredStep } from "./lowered.js";

/** Statements below which a kernel's instructions are not worth a choice of its operands. */
const leastStatements = 150;

/** Invocations of a workgroup that computes a tile of few tokens. Larger tiles take longer than their instructions do. */
const fewInvocations = 128;

/**
 * Long products by matrices that are alike, as those of an attention's output and of a block's second half, by one body:
 * a parameter that each dispatch has a value of tells which of them it is. Instructions of a pass that do not fit a GPU's
 * cache together are fetched anew in every dispatch (bench/h100.md). `taken`: names of the program's own parameters.
 */
export function shareBodies(lowered: readonly Lowered[], taken: ReadonlySet<string>): readonly Lowered[] {
  const groups = new Map<string, Kernel[]>();
  for (const { steps } of lowered)
    for (const step of steps) {
      if (step.kind !== "kernel" || !isLong(step.kernel)) continue;
      const form = formOf(step.kernel);
      groups.set(form, [...(groups.get(form) ?? []), step.kernel]);
    }
  const names = new Set([...groups.values()].flat().flatMap((kernel) => [...namesIn(kernel)]));
  const parameter = freeName("which", (name) => taken.has(name) || names.has(name));
  const instead = new Map([...groups.values()].flatMap((kernels) => stepsOf(kernels, parameter)));
  return lowered.map((each) => ({
    ...each,
    steps: each.steps.map((step) => (step.kind === "kernel" ? (instead.get(step.kernel) ?? step) : step)),
  }));
}

function isLong({ features, body, workgroupSize }: Kernel): boolean {
  return (
    features.includes("matrices") &&
    workgroupSize.reduce((a, b) => a * b) <= fewInvocations &&
    countOf(body) >= leastStatements
  );
}

/** What kernels have in common that could be alike. */
function formOf({ workgroupSize, buffers, parameters, arrays, features, body }: Kernel): string {
  const views = buffers.map(({ element, access }) => [element, access]);
  const memory = arrays.map(({ element, length }) => [element, length]);
  return JSON.stringify([workgroupSize, views, parameters, memory, features, countOf(body)]);
}

/** Kernels of one form in groups that are alike, each with the step that it becomes. */
function stepsOf(kernels: readonly Kernel[], parameter: string): readonly (readonly [Kernel, LoweredStep])[] {
  const groups: (readonly [Kernel, ...Kernel[]])[] = [];
  for (const kernel of kernels) {
    // with the first alone: as many comparisons as kernels, however many are alike
    const at = groups.findIndex(([first]) => asOneBody([first, kernel], parameter) !== null);
    if (at < 0) groups.push([kernel]);
    else groups[at] = [...groups[at]!, kernel];
  }
  return groups.flatMap((members) => {
    const steps = (members.length > 1 ? asOneBody(members, parameter) : null) ?? members.map(kernelStep);
    return members.map((kernel, at) => [kernel, steps[at]!] as const);
  });
}

/**
 * Kernels by the body of the first, whose operands parameter `parameter` chooses; null where they are not alike. It tells
 * bodies apart, not kernels: those of the same body have one value.
 */
function asOneBody(kernels: readonly Kernel[], parameter: string): readonly LoweredStep[] | null {
  const first = kernels[0]!;
  const used = namesIn(first);
  const fresh = (hint: string): string => {
    const name = freeName(hint, (each) => used.has(each));
    used.add(name);
    return name;
  };
  const bodies = kernels.map(({ buffers, arrays, body }) => {
    const names = new Map([
      ...buffers.map(({ name }, at) => [name, first.buffers[at]!.name] as const),
      ...arrays.map(({ name }, at) => [name, first.arrays[at]!.name] as const),
    ]);
    return renamed(body, { local: (name) => name, memory: (name) => names.get(name) ?? name, builtin: k.builtin });
  });
  const texts = bodies.map((body) => JSON.stringify(body));
  const distinct = [...new Map(texts.map((text, at) => [text, bodies[at]!] as const))];
  const unified = unify(
    distinct.map(([, body]) => body),
    k.parameter(parameter, "i32"),
    fresh,
  );
  if (unified === null) return null;
  const body = [...unified.choices, ...unified.body];
  const isChosen = JSON.stringify(body) !== texts[0];
  const values = kernels.flatMap(({ origin }) => origin.values);
  return kernels.map(({ workgroups, buffers }, at) => {
    const step = kernelStep({
      ...first,
      workgroups,
      buffers: buffers.map((buffer, binding) => ({ ...buffer, name: first.buffers[binding]!.name })),
      parameters: isChosen ? [...first.parameters, { name: parameter, type: "i32" }] : first.parameters,
      body,
      origin: { ...first.origin, values },
    });
    if (!isChosen) return step;
    const from = distinct.findIndex(([text]) => text === texts[at]);
    return { kind: "repeat", parameter, from, to: from + 1, by: 1, steps: [step] };
  });
}

/** The names that a kernel defines. */
function namesIn({ buffers, arrays, parameters, body }: Kernel): Set<string> {
  const names = new Set([...buffers, ...arrays, ...parameters].map(({ name }) => name));
  visitStatements(
    body,
    (statement) => {
      if ("name" in statement) names.add(statement.name);
    },
    () => {},
  );
  return names;
}
