/**
 * Kernel expressions of formats, wrapped into the smallest kernel that stores them, and run by the kernel evaluator.
 */
import type { Build, WordReader } from "../../compiler/formats/code/code.js";
import type { Section } from "../../compiler/formats/format.js";
import { formatWords } from "../../compiler/formats/registry.js";
import {
  add,
  builtin,
  ifThen,
  less,
  letIs,
  literalValue,
  loadBuffer,
  local,
  mul,
  store,
} from "../../compiler/kernel/build.js";
import { evaluateKernel } from "../../compiler/kernel/evaluate.js";
import type { Expr, Kernel, KernelBuffer, Statement } from "../../compiler/kernel/kernel.js";
import { byteSize } from "../../compiler/kernel/kernel.js";
import { verifyKernel } from "../../compiler/kernel/verify.js";
import type { Shape } from "../../compiler/formats/format.js";
import type { FormatSpec } from "../../compiler/types/type.js";

const workgroup = 32;

/** Buffers by name: their element type and length. */
export type Buffers = Readonly<
  Record<string, { readonly element: KernelBuffer["element"]; readonly length: number; readonly tensor?: string }>
>;

/**
 * Builds and verifies a kernel of `count` invocations; `body` adds to `build` and writes the buffer "out" through
 * `put`.
 */
export function elementKernel(
  count: number,
  buffers: Buffers,
  body: (build: Build, id: Expr, put: (index: Expr, value: Expr) => void) => void,
  features: Kernel["features"] = [],
): Kernel {
  const statements: Statement[] = [];
  const build: Build = {
    bind(hint, value) {
      if (literalValue(value) !== null || value.kind === "local") return value;
      const name = `${hint}_${statements.length}`;
      statements.push(letIs(name, value));
      return local(name, value.type);
    },
    add(statement) {
      statements.push(statement);
    },
  };
  const id = local("id", "u32");
  body(build, id, (index, value) => statements.push(store("out", index, value)));
  const kernel: Kernel = {
    name: "law",
    workgroupSize: [workgroup, 1, 1],
    workgroups: [Math.ceil(count / workgroup), 1, 1],
    buffers: Object.entries(buffers).map(([name, { element, length, tensor }]) => ({
      name,
      tensor: tensor ?? name,
      element,
      length,
      access: name === "out" ? "read_write" : "read",
    })),
    parameters: [],
    arrays: [],
    features,
    body: [letIs("id", builtin("global_id.x")), ifThen(less(id, count), statements)],
    origin: { schedule: "law", values: [] },
  };
  const faults = verifyKernel(kernel);
  if (faults.length > 0) throw new Error(faults.join("\n"));
  return kernel;
}

/** Runs a kernel over tensors, and gives the buffer "out". */
export function runKernel(kernel: Kernel, tensors: Readonly<Record<string, Uint32Array | Float32Array>>): ArrayBuffer {
  const out = kernel.buffers.find((buffer) => buffer.name === "out")!;
  const memory = new Map<string, ArrayBuffer>([["out", new ArrayBuffer(out.length * byteSize(out.element))]]);
  for (const [name, values] of Object.entries(tensors)) memory.set(name, values.slice().buffer as ArrayBuffer);
  evaluateKernel(kernel, memory);
  return memory.get("out")!;
}

/** The views that a packed tensor "words" is read through. */
export function wordBuffers(spec: FormatSpec, shape: Shape): Buffers {
  const words = formatWords(spec, shape);
  return {
    words: { element: "u32", length: words },
    words2: { element: "vec2<u32>", length: words / 2, tensor: "words" },
    words4: { element: "vec4<u32>", length: words / 4, tensor: "words" },
  };
}

/** Reads the words of "words". */
export function wordReader(build: Build): WordReader {
  return {
    ...build,
    word: (section: Section, index: Expr) => loadBuffer("words", "u32", add(index, section.offset)),
    half: null,
    words2: (section: Section, index: Expr) => loadBuffer("words2", "vec2<u32>", add(index, section.offset / 2)),
    words4: (section: Section, index: Expr) => loadBuffer("words4", "vec4<u32>", add(index, section.offset / 4)),
  };
}

/** Element [row, column] of a row-major f32 buffer. */
export function elementAt(buffer: string, columns: number, row: Expr, column: Expr): Expr {
  return loadBuffer(buffer, "f32", add(mul(row, columns), column));
}
