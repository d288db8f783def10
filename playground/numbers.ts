/** A function on numbers: the device's results beside the evaluator's. */
import { byId, element, print } from "./page.js";
import { evaluate, tensorValue, type Executor, type Stages } from "../web.js";

/** Most elements of a tensor that is typed or shown. */
const most = 4096;

/** Fields for the arguments, with numbers in them to begin with. */
export function offerArguments({ concrete }: Stages): void {
  const place = byId("arguments", HTMLDivElement);
  const shapeOf = (value: number): string => concrete.values[value]?.type.shape.join(", ") ?? "";
  const before = new Map(
    [...place.querySelectorAll("textarea")].map((one) => [`${one.name} ${one.dataset["shape"]}`, one.value]),
  );
  place.replaceChildren(
    ...concrete.inputs.map(({ name, value }) => {
      const { dtype = "f32", shape = [] } = concrete.values[value]?.type ?? {};
      const count = shape.reduce((product, size) => product * size, 1);
      const numbers = Array.from({ length: Math.min(count, most) }, (_, at) => startOf(dtype, at));
      const label = element("label", `${name}: ${dtype}[${shape.join(", ")}]`);
      const field = Object.assign(element("textarea"), {
        name,
        value: before.get(`${name} ${shapeOf(value)}`) ?? numbers.join(" "),
        spellcheck: false,
      });
      field.dataset["shape"] = shapeOf(value);
      label.append(field);
      return label;
    }),
  );
}

function startOf(dtype: string, at: number): number {
  if (dtype === "bool") return at % 2;
  if (dtype === "f32" || dtype === "f16") return ((at * 7) % 19) / 4 - 2;
  return at % 5;
}

/** What a run gave. */
export interface Results {
  /** How far the device is from the evaluator. */
  readonly note: string;
  readonly panels: readonly HTMLElement[];
}

/** Runs it; the executor is null where there is no device. Throws an Error that says what is wrong with an argument. */
export async function runOnNumbers({ concrete, program }: Stages, executor: Executor | null): Promise<Results> {
  const fields = new Map(
    [...byId("arguments", HTMLDivElement).querySelectorAll("textarea")].map((one) => [one.name, one.value]),
  );
  const given = concrete.inputs.map(({ name, value }) => {
    const type = concrete.values[value]?.type;
    if (type === undefined) throw new Error(`${name} has no type`);
    const numbers = (fields.get(name) ?? "")
      .split(/[\s,;[\]]+/)
      .filter((part) => part !== "")
      .map(Number);
    const count = type.shape.reduce((product, size) => product * size, 1);
    if (count > most)
      throw new Error(`${name} has ${count} elements; at most ${most} are typed here: choose smaller sizes.`);
    if (numbers.some((number) => Number.isNaN(number)))
      throw new Error(`${name} should be numbers with spaces between.`);
    if (numbers.length !== count) throw new Error(`${name} should be ${count} numbers, found ${numbers.length}.`);
    if (type.format !== null) throw new Error(`${name} is packed: it is run here where it is not.`);
    return { name, type, numbers, tensor: tensorValue(type.dtype, type.shape, numbers) };
  });
  const meant = evaluate(concrete, new Map(given.map(({ name, tensor }) => [name, tensor])));
  const found = new Map<string, ArrayLike<number>>();
  if (executor !== null) {
    const parameters: Record<string, number> = {};
    const inputs: Record<string, Awaited<ReturnType<Executor["fill"]>>> = {};
    for (const { name, type, numbers } of given)
      if (type.shape.length === 0) parameters[name] = numbers[0] ?? 0;
      else inputs[name] = await executor.fill(type.dtype, type.shape, numbers, name);
    const outputs = await executor.run(await executor.prepare(program), inputs, parameters);
    for (const [name, tensor] of Object.entries(outputs)) found.set(name, await executor.values(tensor));
    for (const tensor of new Set([...Object.values(inputs), ...Object.values(outputs)])) executor.release(tensor);
  }
  let largest = 0;
  const panels = [...meant].map(([name, { dtype, shape, data }]) => {
    const device = found.get(name) ?? null;
    for (let at = 0; device !== null && at < data.length; at++)
      largest = Math.max(largest, Math.abs((device[at] ?? 0) - (data[at] ?? 0)));
    const panel = element("div");
    const beside = element("div", "", "beside");
    const column = (title: string, values: ArrayLike<number>): HTMLElement => {
      const made = element("div");
      made.append(element("h3", title), Object.assign(element("pre", rows(values, shape), "numbers"), { tabIndex: 0 }));
      return made;
    };
    if (device !== null) beside.append(column("device", device));
    beside.append(column("evaluator", data));
    panel.append(element("h3", `${name}: ${dtype}[${shape.join(", ")}]`), beside);
    return panel;
  });
  const note =
    executor === null
      ? "By the evaluator alone: there is no device."
      : `The largest difference from the evaluator is ${print(largest)}.`;
  return { note, panels };
}

/** Numbers in rows of the last axis, each column as wide as its widest. */

function rows(values: ArrayLike<number>, shape: readonly number[]): string {
  const width = Math.max(1, shape.at(-1) ?? 1);
  const shown = Array.from({ length: Math.min(values.length, most) }, (_, at) => print(values[at] ?? 0));
  const widths = Array.from({ length: width }, () => 0);
  for (const [at, text] of shown.entries()) widths[at % width] = Math.max(widths[at % width] ?? 0, text.length);
  const cells = shown.map((text, at) => text.padStart(widths[at % width] ?? 0));
  const lines: string[] = [];
  for (let at = 0; at < cells.length; at += width) lines.push(cells.slice(at, at + width).join(" "));
  return lines.join("\n");
}
