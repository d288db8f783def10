import { InternalError } from "../../diagnostic.js";
import type { Build, WordReader } from "../../formats/code/code.js";
import type { Section } from "../../formats/format.js";
import type { Storage } from "../../graph/storage.js";
import * as k from "../../kernel/build.js";
import type { Expr, Kernel, KernelBuffer, KernelType, ScalarType, Statement } from "../../kernel/kernel.js";
import { byteSize, elementType } from "../../kernel/kernel.js";
import { blocks, isMatrixStatement } from "../../kernel/walk.js";

/** Grows one kernel: statements in nested blocks, fresh names, views of tensors, workgroup memory, parameters. */
export interface KernelBuilder extends Build {
  /** A fresh name made from the hint. */
  fresh(hint: string): string;
  /** A `var` with its first value; returns the local. */
  variable(hint: string, value: Expr): Expr;
  /** Assigns to a `var` made by `variable`. */
  assign(target: Expr, value: Expr): void;
  /** for index in from .. to by step; u32. */
  loop(hint: string, from: k.Operand, to: Expr, body: (index: Expr) => void, step?: k.Operand): void;
  when(condition: Expr, then: () => void, otherwise?: () => void): void;
  barrier(): void;
  /** The view of a storage with elements of that type; made at first use. */
  view(storage: Storage, element: KernelType, access: "read" | "read_write"): string;
  /** Reads words of a storage; `halves`: items of f16 by loads of their own. */
  words(storage: Storage, halves?: boolean): WordReader;
  /** Workgroup memory. */
  array(hint: string, element: KernelType, length: number): string;
  parameter(name: string, type: "f32" | "i32" | "u32"): Expr;
  /** Statements added by `body`, instead of to the current block. */
  collect(body: () => void): readonly Statement[];
  finish(shape: {
    name: string;
    workgroupSize: readonly [number, number, number];
    workgroups: readonly [number, number, number];
    schedule: string;
    values: readonly string[];
  }): Kernel;
}

/** An expression whose value is at hand: naming it would only add a line. */
function isAtom(value: Expr): boolean {
  return value.kind === "local" || value.kind === "literal" || value.kind === "parameter" || value.kind === "builtin";
}

/**
 * A builder of an empty kernel. Names of parameters are reserved: locals get others. `narrow`: packed tensors are read
 * word
 * by word only, so that each is one buffer.
 */
export function createBuilder(reserved: readonly string[] = [], narrow = false): KernelBuilder {
  const taken = new Set<string>(reserved);
  const counts = new Map<string, number>();
  const buffers: KernelBuffer[] = [];
  const arrays: { name: string; element: KernelType; length: number }[] = [];
  const parameters: { name: string; type: "f32" | "i32" | "u32" }[] = [];
  const blocks: Statement[][] = [[]];

  const fresh = (hint: string): string => {
    const stem = hint.replace(/[^A-Za-z0-9]+/g, "_").replace(/^_+|_+$/g, "") || "v";
    let count = counts.get(stem) ?? 0;
    let name = count === 0 ? stem : `${stem}_${count}`;
    // a stem may itself end in a number that another stem's count comes to
    while (taken.has(name)) name = `${stem}_${++count}`;
    counts.set(stem, count + 1);
    taken.add(name);
    return name;
  };
  const add = (statement: Statement): void => {
    blocks[blocks.length - 1]!.push(statement);
  };
  const collect = (body: () => void): readonly Statement[] => {
    blocks.push([]);
    body();
    return blocks.pop()!;
  };
  const bind = (hint: string, value: Expr): Expr => {
    if (isAtom(value)) return value;
    const name = fresh(hint);
    add(k.letIs(name, value));
    return k.local(name, value.type);
  };
  const view = (storage: Storage, element: KernelType, access: "read" | "read_write"): string => {
    const known = buffers.find((buffer) => buffer.tensor === storage.name && buffer.element === element);
    if (known !== undefined) {
      if (access === "read_write" && known.access === "read") buffers[buffers.indexOf(known)] = { ...known, access };
      return known.name;
    }
    const name = fresh(storage.name);
    buffers.push({
      name,
      tensor: storage.name,
      element,
      access,
      length: Math.floor(storage.bytes / byteSize(element)),
    });
    return name;
  };

  return {
    fresh,
    add,
    bind,
    collect,
    view,
    variable(hint, value) {
      const name = fresh(hint);
      add(k.variable(name, value));
      return k.local(name, value.type);
    },
    assign(target, value) {
      if (target.kind !== "local") throw new InternalError("assignment to what is no variable");
      add(k.assign(target.name, value));
    },
    loop(hint, from, to, body, step = 1) {
      const name = fresh(hint);
      add(
        k.forRange(
          name,
          from,
          to,
          collect(() => body(k.local(name, "u32"))),
          step,
        ),
      );
    },
    when(condition, then, otherwise) {
      add(k.ifThen(condition, collect(then), otherwise === undefined ? [] : collect(otherwise)));
    },
    barrier() {
      add(k.barrier);
    },
    words(storage, halves = false) {
      const word = (section: Section, index: Expr): Expr =>
        k.loadBuffer(view(storage, "u32", "read"), "u32", k.add(index, section.offset));
      return {
        bind,
        add,
        word,
        half:
          halves && !narrow
            ? (section, index) =>
                k.convert("f32", k.loadBuffer(view(storage, "f16", "read"), "f16", k.add(index, 2 * section.offset)))
            : null,
        words4: (section: Section, index: Expr) =>
          narrow
            ? k.vector([0, 1, 2, 3].map((at) => word(section, k.add(k.mul(index, 4), at))))
            : k.loadBuffer(view(storage, "vec4<u32>", "read"), "vec4<u32>", k.add(index, section.offset / 4)),
        words2: (section: Section, index: Expr) =>
          narrow
            ? k.vector([0, 1].map((at) => word(section, k.add(k.mul(index, 2), at))))
            : k.loadBuffer(view(storage, "vec2<u32>", "read"), "vec2<u32>", k.add(index, section.offset / 2)),
      };
    },
    array(hint, element, length) {
      const name = fresh(hint);
      arrays.push({ name, element, length });
      return name;
    },
    parameter(name, type) {
      if (!parameters.some((known) => known.name === name)) parameters.push({ name, type });
      return k.parameter(name, type);
    },
    finish(shape) {
      if (blocks.length !== 1) throw new InternalError("a kernel was finished inside a block");
      const body = blocks[0]!;
      const matrices = mentionsMatrices(body);
      const f16 =
        matrices ||
        [...buffers.map((buffer) => buffer.element), ...arrays.map((array) => array.element)].some(
          (type) => elementType(type) === "f16",
        ) ||
        mentionsF16(body);
      return {
        name: shape.name,
        workgroupSize: shape.workgroupSize,
        workgroups: shape.workgroups,
        buffers,
        arrays,
        parameters,
        body,
        features: [
          ...(f16 ? ["f16" as const] : []),
          ...(mentionsSubgroups(body) ? ["subgroups" as const] : []),
          ...(matrices ? ["matrices" as const] : []),
        ],
        origin: { schedule: shape.schedule, values: shape.values },
      };
    },
  };
}

/** The type that a dtype's elements have in a buffer. */
export function bufferElement(dtype: ScalarType): KernelType {
  return dtype === "bool" ? "u32" : dtype;
}

function mentionsF16(body: readonly Statement[]): boolean {
  return anywhere(body, (node) => "type" in node && typeof node.type === "string" && node.type.includes("f16"));
}

function mentionsSubgroups(body: readonly Statement[]): boolean {
  return anywhere(
    body,
    (node) =>
      "name" in node &&
      typeof node.name === "string" &&
      ((node.kind === "call" && node.name.startsWith("subgroup")) ||
        (node.kind === "builtin" && node.name.startsWith("subgroup"))),
  );
}

function mentionsMatrices(body: readonly Statement[]): boolean {
  return body.some((statement) => isMatrixStatement(statement) || blocks(statement).some(mentionsMatrices));
}

/** Whether any statement or expression below satisfies the test. */
function anywhere(node: unknown, test: (node: { readonly kind: string }) => boolean): boolean {
  if (Array.isArray(node)) return node.some((child) => anywhere(child, test));
  if (typeof node !== "object" || node === null) return false;
  if ("kind" in node && test(node as { readonly kind: string })) return true;
  return Object.values(node).some((child) => typeof child === "object" && anywhere(child, test));
}
