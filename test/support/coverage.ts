/**
 * What a kernel writes, at sizes that no evaluator of values can take: of all invocations of a dispatch only the
 * arithmetic of indices and conditions is computed, as JavaScript that is made of it.
 */
import { InternalError } from "../../compiler/diagnostic.js";
import { width, type Expr, type Kernel, type KernelBinary, type Statement } from "../../compiler/kernel/kernel.js";
import { blocks, expressions, visitExpr } from "../../compiler/kernel/walk.js";
import { matrixSize } from "../../compiler/target.js";

/** How often each element of what a kernel writes is written, up to 255 times, by the tensor's name. */
export type Written = ReadonlyMap<string, Uint8Array>;

/**
 * Runs the whole dispatch and counts, into `written` where given.
 * @throws Error where a store is beyond its buffer, or where one stands depends on what is in memory
 */
export function countWrites(
  kernel: Kernel,
  {
    subgroupSize,
    parameters = {},
    written = new Map(),
  }: {
    readonly subgroupSize: number;
    readonly parameters?: Readonly<Record<string, number>>;
    readonly written?: Written;
  },
): Written {
  const found = new Map(written);
  const counts = kernel.buffers.map(({ access, tensor, length }) => {
    const known = found.get(tensor) ?? new Uint8Array(access === "read_write" ? length : 0);
    if (access === "read_write") found.set(tensor, known);
    return known;
  });
  const beyond = (buffer: number, index: number): never => {
    const { name, length } = kernel.buffers[buffer]!;
    throw new Error(`kernel ${kernel.name} writes element ${index} of ${name}, which has ${length}`);
  };
  new Function("counts", "beyond", "parameters", sourceOf(kernel, subgroupSize))(counts, beyond, parameters);
  return found;
}

/** The loops over workgroups and invocations around the statements that stores need. */
function sourceOf(kernel: Kernel, subgroupSize: number): string {
  const [sizeX, sizeY, sizeZ] = kernel.workgroupSize;
  const [countX, countY, countZ] = kernel.workgroups;
  return `"use strict";
const divide = (a, b) => b === 0 ? a : a / b, remainder = (a, b) => b === 0 ? 0 : a % b;
${kernel.buffers.map((_, at) => `const counts${at} = counts[${at}];`).join("\n")}
for (let workgroup_id_z = 0; workgroup_id_z < ${countZ}; workgroup_id_z++)
for (let workgroup_id_y = 0; workgroup_id_y < ${countY}; workgroup_id_y++)
for (let workgroup_id_x = 0; workgroup_id_x < ${countX}; workgroup_id_x++)
for (let local_index = 0; local_index < ${sizeX * sizeY * sizeZ}; local_index++) {
  const local_id_x = local_index % ${sizeX}, local_id_y = (local_index / ${sizeX} | 0) % ${sizeY};
  const local_id_z = local_index / ${sizeX * sizeY} | 0;
  const global_id_x = workgroup_id_x * ${sizeX} + local_id_x, global_id_y = workgroup_id_y * ${sizeY} + local_id_y;
  const global_id_z = workgroup_id_z * ${sizeZ} + local_id_z, subgroup_size = ${subgroupSize};
  const subgroup_lane = local_index % ${subgroupSize}, subgroup_index = local_index / ${subgroupSize} | 0;
  ${statementsOf(kernel, kernel.body, neededLocals(kernel))}
}`;
}

type Store = Extract<Statement, { kind: "store" | "store_matrix" }>;

/** The place of the buffer that a statement stores to; -1 for all that does not. */
function storedTo({ buffers }: Kernel, s: Statement): number {
  const name = s.kind === "store" ? s.buffer : s.kind === "store_matrix" ? s.array : null;
  return name === null ? -1 : buffers.findIndex((buffer) => buffer.name === name);
}

/** Whether a statement decides where, or whether, something is stored. */
function isNeeded(kernel: Kernel, s: Statement, locals: ReadonlySet<string>): boolean {
  if (s.kind === "let" || s.kind === "var" || s.kind === "assign") return locals.has(s.name);
  return storedTo(kernel, s) >= 0 || blocks(s).some((block) => block.some((each) => isNeeded(kernel, each, locals)));
}

function neededLocals(kernel: Kernel): ReadonlySet<string> {
  const locals = new Set<string>();
  const walk = (statements: readonly Statement[]): void => {
    for (const s of statements) {
      if (!isNeeded(kernel, s, locals)) continue;
      for (const a of s.kind === "store" ? [s.index] : expressions(s))
        visitExpr(a, (each) => {
          if (each.kind === "local") locals.add(each.name);
        });
      for (const block of blocks(s)) walk(block);
    }
  };
  for (let before = -1; before < locals.size; ) {
    before = locals.size;
    walk(kernel.body);
  }
  return locals;
}

function statementsOf(kernel: Kernel, statements: readonly Statement[], locals: ReadonlySet<string>): string {
  const block = (inner: readonly Statement[]): string => statementsOf(kernel, inner, locals);
  return statements
    .filter((s) => isNeeded(kernel, s, locals))
    .map((s) => {
      switch (s.kind) {
        case "let":
        case "var":
          return `let ${nameOf(s.name)} = ${codeOf(s.value)};`;
        case "assign":
          return `${nameOf(s.name)} = ${codeOf(s.value)};`;
        case "for": {
          const name = nameOf(s.name);
          return `for (let ${name} = ${codeOf(s.from)}; ${name} < ${codeOf(s.to)}; ${name} += ${codeOf(s.step)}) {\n${block(s.body)}\n}`;
        }
        case "if":
          return `if (${codeOf(s.condition)}) {\n${block(s.then)}\n} else {\n${block(s.otherwise)}\n}`;
        default:
          return storeOf(kernel, s as Store);
      }
    })
    .join("\n");
}

function storeOf(kernel: Kernel, s: Store): string {
  const buffer = storedTo(kernel, s);
  const { length } = kernel.buffers[buffer]!;
  const count = (index: string): string =>
    `{ const at = ${index}; if (at >= ${length}) beyond(${buffer}, at); if (counts${buffer}[at] < 255) counts${buffer}[at]++; }`;
  if (s.kind === "store") return count(codeOf(s.index));
  const element = `${codeOf(s.index)} + row * ${codeOf(s.stride)} + column`;
  const to = (name: string): string => `for (let ${name} = 0; ${name} < ${matrixSize}; ${name}++)`;
  return `if (subgroup_lane === 0) ${to("row")} ${to("column")} ${count(element)}`;
}

const nameOf = (local: string): string => `$${local}`;

/** Integers and bools only: no index is made of anything else. */
function codeOf(a: Expr): string {
  const whole = (code: string): string => (a.type === "u32" ? `(${code} >>> 0)` : `(${code} | 0)`);
  if (width(a.type) === 1)
    switch (a.kind) {
      case "literal":
        return a.type === "bool" ? `${a.value !== 0}` : `(${a.value})`;
      case "local":
        return nameOf(a.name);
      case "builtin":
        return a.name.replace(".", "_");
      case "parameter":
        return `parameters[${JSON.stringify(a.name)}]`;
      case "unary":
        if (a.op === "not") return `(!${codeOf(a.a)})`;
        break;
      case "binary":
        return binaryOf(a.op, codeOf(a.a), codeOf(a.b), whole);
      case "select":
        return `(${codeOf(a.condition)} ? ${codeOf(a.then)} : ${codeOf(a.otherwise)})`;
      case "convert":
      case "bitcast":
        if (a.type !== "bool") return whole(codeOf(a.a));
        break;
      default:
        break;
    }
  throw new InternalError(`where a kernel stores depends on a ${a.kind} of ${a.type}`);
}

const compared: Partial<Record<KernelBinary, string>> = {
  less: "<",
  less_equal: "<=",
  greater: ">",
  greater_equal: ">=",
  equal: "===",
  not_equal: "!==",
  and: "&&",
  or: "||",
};
const computed: Partial<Record<KernelBinary, string>> = {
  add: "+",
  subtract: "-",
  bit_and: "&",
  bit_or: "|",
  bit_xor: "^",
  shift_left: "<<",
};

function binaryOf(op: KernelBinary, a: string, b: string, whole: (code: string) => string): string {
  if (compared[op] !== undefined) return `(${a} ${compared[op]} ${b})`;
  if (computed[op] !== undefined) return whole(`${a} ${computed[op]} ${b}`);
  switch (op) {
    case "multiply":
      return whole(`Math.imul(${a}, ${b})`);
    case "divide":
    case "remainder":
      return whole(`${op}(${a}, ${b})`);
    case "shift_right":
      return `(${a} >>> ${b})`;
    case "min":
    case "max":
      return `Math.${op}(${a}, ${b})`;
    default:
      throw new InternalError(`where a kernel stores depends on a ${op}`);
  }
}
