/** Whether something read from a file is a Program that this device can run: nothing of it is trusted. */
import type { Program, Step } from "../../compiler/plan/program.js";
import { elementCount } from "../../compiler/types/shape.js";
import type { Device } from "../device/device.js";
import { DeviceError, formatBytes } from "../device/error.js";
import { denseBytes, describe, isDtype } from "./tensor.js";

/** How deep repeats and composed formats may nest, and how many dispatches a run may come to. */
const most = { depth: 16, dispatches: 2 ** 26, kernelParameters: 1024 } as const;

/** What is read, and the path to it for messages: `steps[3].buffer`. */
type Reader<T> = (value: unknown, path: string) => T;

/** What a step may use: memory that is allocated now, and the parameters of the repeats around it. */
interface Places {
  readonly allocated: Set<number>;
  readonly repeats: readonly string[];
}

/**
 * Checks that a value is a Program, and that the device has what it needs: every index in range, every buffer allocated
 * where it is used, every count within the limits. What its kernels do is checked by the device when they are compiled.
 * @throws DeviceError validation, naming the place in the program; too-large
 */
export function checkProgram(value: unknown, device: Pick<Device, "name" | "features" | "limits">): Program {
  const { limits } = device;
  let name = "program";
  const fail = (path: string, expected: string, found: unknown): never => {
    throw new DeviceError("validation", `${name}: ${path} should be ${expected}, found ${describe(found)}.`);
  };
  const refuse = (what: string): never => {
    throw new DeviceError("validation", `${name} ${what}.`);
  };

  function record(found: unknown, path: string): { readonly [key: string]: unknown } {
    return typeof found === "object" && found !== null && !Array.isArray(found)
      ? (found as { readonly [key: string]: unknown })
      : fail(path, "an object", found);
  }
  function list<T>(found: unknown, path: string, read: Reader<T>): readonly T[] {
    if (!Array.isArray(found)) return fail(path, "a list", found);
    return (found as readonly unknown[]).map((one, at) => read(one, `${path}[${at}]`));
  }
  const text: Reader<string> = (found, path) => (typeof found === "string" ? found : fail(path, "a text", found));
  const oneOf =
    <T extends string>(...names: readonly T[]): Reader<T> =>
    (found, path) =>
      names.find((one) => one === found) ?? fail(path, `one of ${names.join(", ")}`, found);
  const whole =
    (from: number, to: number): Reader<number> =>
    (found, path) =>
      Number.isSafeInteger(found) && (found as number) >= from && (found as number) <= to
        ? (found as number)
        : fail(path, `a whole number from ${from} to ${to}`, found);
  function three(found: unknown, path: string, read: (axis: "X" | "Y" | "Z") => Reader<number>): void {
    if (!Array.isArray(found) || found.length !== 3) return fail(path, "a list of three counts", found);
    (["X", "Y", "Z"] as const).forEach((axis, at) => read(axis)((found as readonly unknown[])[at], `${path}[${at}]`));
  }
  function unique(names: readonly string[], what: string): void {
    const twice = names.find((one, at) => names.indexOf(one) !== at);
    if (twice !== undefined) refuse(`has two ${what} called ${twice}`);
  }

  function format(found: unknown, path: string, depth: number): void {
    if (found === null) return;
    const spec = record(found, path);
    text(spec["name"], `${path}.name`);
    for (const [key, argument] of Object.entries(record(spec["args"], `${path}.args`)))
      if (!["number", "string", "boolean"].includes(typeof argument))
        fail(`${path}.args.${key}`, "a number, a text or a truth value", argument);
    if (depth > most.depth) refuse(`has a format of more than ${most.depth} levels`);
    format(spec["of"], `${path}.of`, depth + 1);
  }

  const program = record(value, "a Program");
  if (program["version"] !== 1)
    throw new DeviceError(
      "validation",
      `A Program of version 1 is expected, as \`compile\` makes it; found ${"version" in program ? `version ${describe(program["version"])}` : "an object without a version"}.`,
    );
  name = text(program["name"], "name");

  for (const feature of list(program["features"], "features", text))
    if (!device.features.has(feature))
      refuse(`needs the feature ${feature}, which ${device.name} does not have. Compile it for this device`);

  const parameters = list(program["parameters"], "parameters", (found, path) => {
    const one = record(found, path);
    oneOf("f32", "i32", "u32", "bool")(one["dtype"], `${path}.dtype`);
    return text(one["name"], `${path}.name`);
  });
  unique(parameters, "parameters");

  const buffers = list(program["buffers"], "buffers", (found, path) => {
    const one = record(found, path);
    const id = whole(0, Number.MAX_SAFE_INTEGER)(one["id"], `${path}.id`);
    if (path !== `buffers[${id}]`) fail(`${path}.id`, "its place in the list", id);
    const bytes = whole(16, Number.MAX_SAFE_INTEGER)(one["bytes"], `${path}.bytes`);
    if (bytes % 16 !== 0) fail(`${path}.bytes`, "a multiple of 16", bytes);
    return { bytes, role: oneOf("input", "output", "temporary")(one["role"], `${path}.role`) };
  });
  const buffer = (found: unknown, path: string): number => whole(0, buffers.length - 1)(found, path);
  function tensor(found: unknown, path: string): { readonly name: string; readonly buffer: number } {
    const one = record(found, path);
    const { dtype, shape } = one;
    if (!isDtype(dtype)) return fail(`${path}.dtype`, "a dtype", dtype);
    const sizes = list(shape, `${path}.shape`, whole(0, Number.MAX_SAFE_INTEGER));
    format(one["format"], `${path}.format`, 0);
    if (typeof one["mutable"] !== "boolean") fail(`${path}.mutable`, "true or false", one["mutable"]);
    if (one["open"] !== undefined && (one["open"] !== true || sizes.length === 0 || one["format"] !== null))
      fail(`${path}.open`, "true, of a dense tensor that has axes, or nothing", one["open"]);
    if (one["order"] !== undefined) {
      const order = record(one["order"], `${path}.order`);
      for (const part of ["rows", "columns"]) whole(1, Number.MAX_SAFE_INTEGER)(order[part], `${path}.order.${part}`);
      if (order["spread"] !== undefined && order["spread"] !== true)
        fail(`${path}.order.spread`, "true or nothing", order["spread"]);
      if (one["format"] === null) fail(`${path}.order`, "nothing, of a dense tensor", order);
    }
    const own = { name: text(one["name"], `${path}.name`), buffer: buffer(one["buffer"], `${path}.buffer`) };
    const { bytes } = buffers[own.buffer]!;
    // a whole number of elements of a packed tensor is its format's to know
    if (one["format"] === null && !(elementCount(sizes) <= bytes / 2 && denseBytes(dtype, sizes) <= bytes))
      refuse(`has a tensor ${own.name} of [${sizes.join(", ")}], more than the ${bytes} bytes of its buffer`);
    return own;
  }
  const inputs = list(program["inputs"], "inputs", tensor);
  const outputs = list(program["outputs"], "outputs", (found, path) => {
    // no kernel writes an order of rows, and what is put out would go on without it
    const { order } = record(found, path);
    if (order !== undefined) fail(`${path}.order`, "nothing, of an output", order);
    return tensor(found, path);
  });
  for (const { name: input, buffer: id } of inputs)
    if (buffers[id]!.role !== "input") refuse(`has an input ${input} whose buffer is not given`);
  unique(
    inputs.map((one) => one.name),
    "inputs",
  );
  unique(
    outputs.map((one) => one.name),
    "outputs",
  );
  buffers.forEach(({ bytes }, id) => {
    const owner = [...inputs, ...outputs].find((one) => one.buffer === id)?.name ?? `buffer ${id}`;
    if (bytes > limits.maxStorageBufferBindingSize)
      throw new DeviceError(
        "too-large",
        `${name}: ${owner} takes ${formatBytes(bytes)}, but ${device.name} binds at most ${formatBytes(limits.maxStorageBufferBindingSize)} (maxStorageBufferBindingSize).`,
      );
  });

  const kernels = list(program["kernels"], "kernels", (found, path) => {
    const one = record(found, path);
    for (const key of ["name", "wgsl", "schedule"]) text(one[key], `${path}.${key}`);
    if (!/@compute[^;{}]*\bfn\s+main\s*\(/.test(one["wgsl"] as string))
      refuse(`has no entry point main in ${path}.wgsl`);
    three(one["workgroupSize"], `${path}.workgroupSize`, (axis) => whole(1, limits[`maxComputeWorkgroupSize${axis}`]));
    const bindings = list(one["bindings"], `${path}.bindings`, (binding, at) =>
      oneOf("read", "read_write")(record(binding, at)["access"], `${at}.access`),
    );
    whole(0, limits.maxStorageBuffersPerShaderStage)(bindings.length, `${path}.bindings.length`);
    const own = list(one["parameters"], `${path}.parameters`, text);
    whole(0, most.kernelParameters)(own.length, `${path}.parameters.length`);
    return { name: one["name"] as string, bindings, parameters: own };
  });

  /** How many dispatches a step comes to. */
  function step(found: unknown, path: string, { allocated, repeats }: Places): number {
    const one = record(found, path);
    const kind: Step["kind"] = oneOf("alloc", "free", "dispatch", "repeat")(one["kind"], `${path}.kind`);
    switch (kind) {
      case "alloc":
      case "free": {
        const id = buffer(one["buffer"], `${path}.buffer`);
        if (repeats.length > 0) return refuse(`allocates or frees memory in a repeat, at ${path}`);
        if (kind === "alloc" && (allocated.has(id) || buffers[id]!.role === "input"))
          return refuse(`allocates buffer ${id} that it has, at ${path}`);
        if (kind === "free" && (!allocated.has(id) || buffers[id]!.role === "input"))
          return refuse(`frees buffer ${id} that it has not allocated, at ${path}`);
        if (kind === "alloc") allocated.add(id);
        else allocated.delete(id);
        return 0;
      }
      case "dispatch": {
        const kernel = kernels[whole(0, kernels.length - 1)(one["kernel"], `${path}.kernel`)]!;
        const bound = list(one["buffers"], `${path}.buffers`, buffer);
        if (bound.length !== kernel.bindings.length)
          return fail(
            `${path}.buffers`,
            `a list of the ${kernel.bindings.length} buffers of ${kernel.name}`,
            one["buffers"],
          );
        const written = bound.find(
          (id, at) => kernel.bindings[at] === "read_write" && bound.indexOf(id) !== bound.lastIndexOf(id),
        );
        if (written !== undefined)
          return refuse(`binds buffer ${written}, which ${kernel.name} writes, in two places, at ${path}`);
        const absent = bound.find((id) => !allocated.has(id));
        if (absent !== undefined)
          return refuse(`dispatches ${kernel.name} before it allocates buffer ${absent}, at ${path}`);
        const unknown = kernel.parameters.find((own) => !parameters.includes(own) && !repeats.includes(own));
        if (unknown !== undefined)
          return refuse(`dispatches ${kernel.name}, whose parameter ${unknown} nothing gives, at ${path}`);
        three(one["workgroups"], `${path}.workgroups`, () => whole(0, limits.maxComputeWorkgroupsPerDimension));
        return 1;
      }
      case "repeat": {
        const parameter = text(one["parameter"], `${path}.parameter`);
        if (parameters.includes(parameter) || repeats.includes(parameter))
          return refuse(`repeats over ${parameter}, which is given already, at ${path}`);
        const [low, high] = [-(2 ** 31), 2 ** 31 - 1];
        const from = whole(low, high)(one["from"], `${path}.from`);
        const to = whole(low, high)(one["to"], `${path}.to`);
        const by = whole(1, high)(one["by"], `${path}.by`);
        if (repeats.length >= most.depth) return refuse(`has repeats of more than ${most.depth} levels`);
        const inner = { allocated, repeats: [...repeats, parameter] };
        const each = list(one["steps"], `${path}.steps`, (own, at) => step(own, at, inner));
        const turns = Math.max(0, Math.ceil((to - from) / by));
        // a turn of nothing is still a turn
        return turns * Math.max(1, sum(each));
      }
      default:
        return kind satisfies never;
    }
  }
  const allocated = new Set(inputs.map((input) => input.buffer));
  const dispatches = sum(list(program["steps"], "steps", (own, at) => step(own, at, { allocated, repeats: [] })));
  if (dispatches > most.dispatches)
    refuse(`comes to ${dispatches} dispatches in a run, more than the ${most.dispatches} that are allowed`);
  for (const { name: output, buffer: id } of outputs)
    if (!allocated.has(id)) refuse(`never allocates its output ${output}, or frees it`);
  return value as Program;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
