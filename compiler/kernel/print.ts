/** Kernels as text, for people and goldens. */
import { width } from "./kernel.js";
import type { Expr, Kernel, KernelBinary, Statement } from "./kernel.js";
import { workgroupMemory } from "./verify.js";

/** The kernel, readable; ends with a newline. */
export function printKernel(kernel: Kernel): string {
  const { name, origin, workgroups, workgroupSize, buffers, arrays, parameters, features } = kernel;
  const lines = [
    `kernel ${name}: ${origin.schedule} of ${origin.values.join(", ")}`,
    `  ${workgroups.join(" x ")} workgroups of ${workgroupSize.join(" x ")}${features.length > 0 ? `, with ${features.join(", ")}` : ""}`,
    ...buffers.map(
      (b) =>
        `  ${b.access === "read" ? "read" : "write"} ${b.name}: ${b.element}[${b.length}]${b.tensor === b.name ? "" : ` of ${b.tensor}`}`,
    ),
    ...parameters.map((p) => `  parameter ${p.name}: ${p.type}`),
    ...arrays.map((a) => `  shared ${a.name}: ${a.element}[${a.length}]`),
    ...(arrays.length > 0 ? [`  ${workgroupMemory(kernel)} bytes of workgroup memory`] : []),
    "",
    ...printBlock(kernel.body, 1),
  ];
  return `${lines.join("\n")}\n`;
}

function printBlock(statements: readonly Statement[], depth: number): string[] {
  const indent = "  ".repeat(depth);
  return statements.flatMap((s): string[] => {
    switch (s.kind) {
      case "let":
        return [`${indent}let ${s.name}: ${s.value.type} = ${printExpr(s.value)}`];
      case "var":
        return [`${indent}var ${s.name}: ${s.type} = ${printExpr(s.value)}`];
      case "assign":
        return [`${indent}${s.name} = ${printExpr(s.value)}`];
      case "for": {
        const step = s.step.kind === "literal" && s.step.value === 1 ? "" : ` by ${printExpr(s.step)}`;
        return [
          `${indent}for ${s.name}: ${s.type} in ${printExpr(s.from)} .. ${printExpr(s.to)}${step} {`,
          ...printBlock(s.body, depth + 1),
          `${indent}}`,
        ];
      }
      case "if": {
        const otherwise = s.otherwise.length > 0 ? [`${indent}} else {`, ...printBlock(s.otherwise, depth + 1)] : [];
        return [
          `${indent}if ${printExpr(s.condition)} {`,
          ...printBlock(s.then, depth + 1),
          ...otherwise,
          `${indent}}`,
        ];
      }
      case "store":
        return [`${indent}${s.buffer}[${printExpr(s.index)}] = ${printExpr(s.value)}`];
      case "store_shared":
        return [`${indent}${s.array}[${printExpr(s.index)}] = ${printExpr(s.value)}`];
      case "barrier":
        return [`${indent}barrier`];
      case "matrix":
        return [`${indent}matrix ${s.name} = 0`];
      case "load_matrix":
        return [
          `${indent}matrix ${s.name} = ${s.role} ${s.array}[${printExpr(s.index)}], ${s.columns ? "columns" : "rows"} ${printExpr(s.stride)} apart`,
        ];
      case "multiply_matrices":
        return [`${indent}${s.result} += ${s.left} * ${s.right}`];
      case "store_matrix":
        return [
          `${indent}${s.array}[${printExpr(s.index)}], ${s.columns ? "columns" : "rows"} ${printExpr(s.stride)} apart = ${s.name}`,
        ];
      default:
        return s satisfies never;
    }
  });
}

const symbols: { readonly [Op in KernelBinary]: string | null } = {
  add: "+",
  subtract: "-",
  multiply: "*",
  divide: "/",
  remainder: "%",
  power: null,
  min: null,
  max: null,
  equal: "==",
  not_equal: "!=",
  less: "<",
  less_equal: "<=",
  greater: ">",
  greater_equal: ">=",
  and: "and",
  or: "or",
  bit_and: "&",
  bit_or: "|",
  bit_xor: "^",
  shift_left: "<<",
  shift_right: ">>",
};

/** The expression on one line. Literals show their type where it is not f32 or u32. */
export function printExpr(a: Expr): string {
  const list = (parts: readonly Expr[]): string => parts.map(printExpr).join(", ");
  switch (a.kind) {
    case "literal":
      if (a.type === "bool") return a.value !== 0 ? "true" : "false";
      if (a.type === "f32") return /[.eIN]/.test(String(a.value)) ? shown(a.value) : `${shown(a.value)}.0`;
      return a.type === "u32" ? String(a.value) : `${a.type}(${shown(a.value)})`;
    case "local":
      return a.name;
    case "builtin":
      return a.name;
    case "parameter":
      return a.name;
    case "load":
      return `${a.buffer}[${printExpr(a.index)}]`;
    case "shared":
      return `${a.array}[${printExpr(a.index)}]`;
    case "unary":
      return a.op === "negate"
        ? `-${printInner(a.a)}`
        : a.op === "not"
          ? `not ${printInner(a.a)}`
          : `${a.op}(${printExpr(a.a)})`;
    case "binary": {
      const symbol = symbols[a.op];
      return symbol === null ? `${a.op}(${list([a.a, a.b])})` : `${printInner(a.a)} ${symbol} ${printInner(a.b)}`;
    }
    case "select":
      return `select(${list([a.condition, a.then, a.otherwise])})`;
    case "convert":
      return `${a.type}(${printExpr(a.a)})`;
    case "bitcast":
      return `bits ${a.type}(${printExpr(a.a)})`;
    case "call":
      return `${a.name}(${list(a.args)})`;
    case "vector":
      return a.parts.every((part) => part === a.parts[0]) && a.parts[0]
        ? `vec${width(a.type)}(${printExpr(a.parts[0])})`
        : `vec${width(a.type)}(${list(a.parts)})`;
    case "component":
      return `${printInner(a.a)}.${"xyzw"[a.at]}`;
    default:
      return a satisfies never;
  }
}

const shown = (value: number): string => (Object.is(value, -0) ? "-0" : String(value));

function printInner(a: Expr): string {
  const open =
    (a.kind === "binary" && symbols[a.op] !== null) || (a.kind === "unary" && (a.op === "negate" || a.op === "not"));
  return open ? `(${printExpr(a)})` : printExpr(a);
}
