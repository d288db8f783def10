/** Kernel to WGSL text. No decisions: what stands in the kernel is written down. */
import { InternalError } from "../diagnostic.js";
import { elementType, matrixSize, width } from "../kernel/kernel.js";
import type {
  Builtin,
  Expr,
  Kernel,
  KernelBinary,
  KernelFeature,
  KernelUnary,
  MatrixRole,
  ScalarType,
  Statement,
} from "../kernel/kernel.js";
import { operands, visitStatements } from "../kernel/walk.js";
import { createHelpers, isHelperBinary, isHelperUnary, type HelperOp } from "./helpers.js";
import { wgslLiteral } from "./literal.js";
import { wgslNames } from "./names.js";

/** The quad built-ins for an exchange with lane `lane ^ mask`, by mask. */
const quadSwaps: { readonly [mask: number]: string } = { 1: "quadSwapX", 2: "quadSwapY", 3: "quadSwapDiagonal" };

/**
 * The kernel as a WGSL module with the entry point `main`: buffer i at `@group(0) @binding(i)`, the parameters, if any,
 * as one uniform block at `@group(1) @binding(0)`. The kernel must have passed `verifyKernel`.
 */
export function emitWgsl(kernel: Kernel): string {
  const writer = new Writer(kernel);
  const body = writer.block(kernel.body, 1);
  const lines = [
    `// ${comment(kernel.name)}: ${comment(kernel.origin.schedule)}${kernel.origin.values.length > 0 ? ` of ${comment(kernel.origin.values.join(", "))}` : ""}`,
  ];
  const has = (feature: KernelFeature): boolean => kernel.features.includes(feature);
  if (has("f16")) lines.push("enable f16;");
  if (has("subgroups")) {
    // Control flow may differ between subgroups; that it agrees within each is the verifier's business.
    lines.push("enable subgroups;", "diagnostic(off, subgroup_uniformity);");
  }
  if (has("matrices"))
    lines.push(
      "enable chromium_experimental_subgroup_matrix;",
      "diagnostic(off, chromium.subgroup_matrix_uniformity);",
    );
  lines.push("");
  kernel.buffers.forEach(({ name, element, access }, binding) => {
    lines.push(`@group(0) @binding(${binding}) var<storage, ${access}> ${writer.name(name)}: array<${element}>;`);
  });
  if (kernel.parameters.length > 0) {
    lines.push(
      "struct Parameters {",
      ...kernel.parameters.map(({ name, type }) => `  ${writer.name(name)}: ${type},`),
      "}",
    );
    lines.push("@group(1) @binding(0) var<uniform> parameters: Parameters;");
  }
  for (const { name, element, length } of kernel.arrays)
    lines.push(`var<workgroup> ${writer.name(name)}: array<${element}, ${length}>;`);
  lines.push("", ...writer.helpers());
  const [x, y, z] = kernel.workgroupSize;
  lines.push(`@compute @workgroup_size(${x}, ${y}, ${z})`, `fn main(${builtinArguments(kernel)}) {`);
  // a body may have more lines than a call has arguments
  return `${[...lines, ...body, "}"].join("\n")}\n`;
}

/** The type of a matrix. */
function matrixType(role: MatrixRole): string {
  return `subgroup_matrix_${role}<${role === "result" ? "f32" : "f16"}, ${matrixSize}, ${matrixSize}>`;
}

/** Text that stays within its line. */
function comment(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]+/g, " ");
}

const builtinParameters: { readonly [name: string]: string } = {
  global_id: "@builtin(global_invocation_id) global_id: vec3<u32>",
  local_id: "@builtin(local_invocation_id) local_id: vec3<u32>",
  local_index: "@builtin(local_invocation_index) local_index: u32",
  workgroup_id: "@builtin(workgroup_id) workgroup_id: vec3<u32>",
  subgroup_lane: "@builtin(subgroup_invocation_id) subgroup_lane: u32",
  subgroup_index: "@builtin(subgroup_id) subgroup_index: u32",
  subgroup_size: "@builtin(subgroup_size) subgroup_size: u32",
};

function builtinArguments(kernel: Kernel): string {
  const used = new Set<string>();
  visitStatements(
    kernel.body,
    () => undefined,
    (a) => {
      if (a.kind === "builtin") used.add(baseName(a.name));
    },
  );
  return Object.keys(builtinParameters)
    .filter((name) => used.has(name))
    .map((name) => builtinParameters[name])
    .join(", ");
}

const baseName = (name: Builtin): string => name.replace(/\.[xyz]$/, "");

/** How a binary op is written; `null` as a function call. */
const operators: { readonly [Op in Exclude<KernelBinary, "power">]: string | null } = {
  add: "+",
  subtract: "-",
  multiply: "*",
  divide: "/",
  remainder: "%",
  min: null,
  max: null,
  equal: "==",
  not_equal: "!=",
  less: "<",
  less_equal: "<=",
  greater: ">",
  greater_equal: ">=",
  and: "&&",
  or: "||",
  bit_and: "&",
  bit_or: "|",
  bit_xor: "^",
  shift_left: "<<",
  shift_right: ">>",
};

const unaryForms: {
  readonly [Op in Exclude<KernelUnary, HelperOp>]: { readonly operator: string } | { readonly function: string };
} = {
  negate: { operator: "-" },
  not: { operator: "!" },
  bit_not: { operator: "~" },
  abs: { function: "abs" },
  sign: { function: "sign" },
  sqrt: { function: "sqrt" },
  rsqrt: { function: "inverseSqrt" },
  floor: { function: "floor" },
  ceil: { function: "ceil" },
  /** WGSL's round takes halves to even. */
  round: { function: "round" },
};

/** How tightly a text binds: a name or call, a unary operator, * / %, + -, anything else. */
type Strength = 4 | 3 | 2 | 1 | 0;
interface Text {
  readonly text: string;
  readonly strength: Strength;
}
const primary = (text: string): Text => ({ text, strength: 4 });
const strengths: { readonly [operator: string]: Strength } = { "*": 2, "/": 2, "%": 2, "+": 1, "-": 1 };

class Writer {
  readonly #names: ReadonlyMap<string, string>;
  /** Types whose `hide_` function is called. */
  readonly #hidden = new Set<ScalarType>();
  readonly #helpers = createHelpers();

  constructor(kernel: Kernel) {
    const names = [...kernel.buffers, ...kernel.parameters, ...kernel.arrays].map(({ name }) => name);
    visitStatements(
      kernel.body,
      (s) => {
        if ("name" in s && s.kind !== "assign" && s.kind !== "store_matrix") names.push(s.name);
      },
      () => undefined,
    );
    this.#names = wgslNames(names);
  }

  name(name: string): string {
    const result = this.#names.get(name);
    if (result === undefined) throw new InternalError(`the kernel uses ${name} without defining it`);
    return result;
  }

  /** Functions that the body turned out to need. */
  helpers(): string[] {
    const lines: string[] = [];
    if (this.#helpers.hides) this.#hidden.add("u32");
    for (const type of this.#hidden) {
      lines.push(
        `// Keeps ${type} constants from being folded, where folding is refused.`,
        `fn hide_${type}(x: ${type}) -> ${type} { return x; }`,
        "",
      );
    }
    return [...lines, ...this.#helpers.lines()];
  }

  block(statements: readonly Statement[], depth: number): string[] {
    return statements.flatMap((s) => this.#statement(s, depth));
  }

  #statement(s: Statement, depth: number): string[] {
    const indent = "  ".repeat(depth);
    const expr = (a: Expr): string => this.#expr(a).text;
    switch (s.kind) {
      case "let":
        return [`${indent}let ${this.name(s.name)} = ${expr(s.value)};`];
      case "var":
        return [`${indent}var ${this.name(s.name)}: ${s.type} = ${expr(s.value)};`];
      case "assign":
        return [`${indent}${this.name(s.name)} = ${expr(s.value)};`];
      case "for": {
        const name = this.name(s.name);
        const head = `for (var ${name}: ${s.type} = ${expr(s.from)}; ${name} < ${wrap(this.#expr(s.to), 1)}; ${name} += ${expr(s.step)}) {`;
        return [indent + head, ...this.block(s.body, depth + 1), `${indent}}`];
      }
      case "if": {
        const lines = [`${indent}if (${expr(s.condition)}) {`, ...this.block(s.then, depth + 1)];
        const [only] = s.otherwise;
        if (s.otherwise.length === 1 && only?.kind === "if") {
          const [first = "", ...rest] = this.#statement(only, depth);
          return [...lines, `${indent}} else ${first.trimStart()}`, ...rest];
        }
        if (s.otherwise.length > 0) lines.push(`${indent}} else {`, ...this.block(s.otherwise, depth + 1));
        return [...lines, `${indent}}`];
      }
      case "store":
        return [`${indent}${this.name(s.buffer)}[${expr(s.index)}] = ${expr(s.value)};`];
      case "store_shared":
        return [`${indent}${this.name(s.array)}[${expr(s.index)}] = ${expr(s.value)};`];
      case "barrier":
        return [`${indent}workgroupBarrier();`];
      case "matrix":
        // with a value: what a loop declares without one keeps what the turn before left, on some drivers
        return [`${indent}var ${this.name(s.name)} = ${matrixType("result")}();`];
      case "load_matrix": {
        const order = s.columns ? "col_major" : "row_major";
        return [
          `${indent}let ${this.name(s.name)} = subgroupMatrixLoad<${matrixType(s.role)}, ${order}>(&${this.name(s.array)}, ${expr(s.index)}, ${expr(s.stride)});`,
        ];
      }
      case "multiply_matrices":
        return [
          `${indent}${this.name(s.result)} = subgroupMatrixMultiplyAccumulate(${this.name(s.left)}, ${this.name(s.right)}, ${this.name(s.result)});`,
        ];
      case "store_matrix":
        return [
          `${indent}subgroupMatrixStore<${s.columns ? "col" : "row"}_major>(&${this.name(s.array)}, ${expr(s.index)}, ${this.name(s.name)}, ${expr(s.stride)});`,
        ];
      default:
        return s satisfies never;
    }
  }

  /** `hide`: literals are kept from being constants. */
  #expr(a: Expr, hide = false): Text {
    switch (a.kind) {
      case "literal":
        return this.#literal(a.type, a.value, hide);
      case "local":
        return primary(this.name(a.name));
      case "builtin":
        return primary(a.name);
      case "parameter":
        return primary(`parameters.${this.name(a.name)}`);
      case "load":
        return primary(`${this.name(a.buffer)}[${this.#expr(a.index).text}]`);
      case "shared":
        return primary(`${this.name(a.array)}[${this.#expr(a.index).text}]`);
      case "vector":
        return primary(`${a.type}(${this.#list(a.parts, hide)})`);
      case "component": {
        // An element of a constant vector is a constant again.
        const inner = this.#expr(a.a, hide);
        return primary(`${wrap(inner, 4)}.${"xyzw"[a.at]}`);
      }
      case "unary":
      case "binary":
      case "select":
      case "convert":
      case "bitcast":
      case "call":
        return this.#operation(a, hide || operands(a).every(isConstant));
      default:
        return a satisfies never;
    }
  }

  /**
   * WGSL evaluates operations on constants itself and refuses those that overflow, divide by zero and the like; at run
   * time they are defined. So `hide` is set where all operands are constants.
   */
  #operation(
    a: Extract<Expr, { kind: "unary" | "binary" | "select" | "convert" | "bitcast" | "call" }>,
    hide: boolean,
  ): Text {
    switch (a.kind) {
      case "unary": {
        const operand = this.#expr(a.a, hide);
        if (isHelperUnary(a.op)) return primary(`${this.#helpers.call(a.op, a.type)}(${operand.text})`);
        const form = unaryForms[a.op];
        return "operator" in form
          ? { text: form.operator + wrap(operand, 4), strength: 3 }
          : primary(`${form.function}(${operand.text})`);
      }
      case "binary":
        return this.#binary(a.op, a.a, a.b, hide);
      case "select":
        return primary(`select(${this.#list([a.otherwise, a.then, a.condition], hide)})`);
      case "convert":
        return primary(`${a.type}(${this.#expr(a.a, hide).text})`);
      case "bitcast":
        return primary(`bitcast<${a.type}>(${this.#expr(a.a, hide).text})`);
      case "call": {
        const [, low, high] = a.args;
        // Constant bounds in the wrong order are refused.
        const hideBounds = a.name === "clamp" && low !== undefined && high !== undefined && !inOrder(low, high);
        const parts = a.args.map((arg) => inList(this.#expr(arg, hide || (hideBounds && isConstant(arg)))));
        // a quad swap is the same exchange, in one instruction; quads are lanes 4i .. 4i+3
        const swap =
          a.name === "subgroupShuffleXor" && a.args[1]?.kind === "literal" ? quadSwaps[a.args[1].value] : undefined;
        return primary(swap === undefined ? `${a.name}(${parts.join(", ")})` : `${swap}(${parts[0]})`);
      }
      default:
        return a satisfies never;
    }
  }

  #binary(op: KernelBinary, a: Expr, b: Expr, hide: boolean): Text {
    if (op === "shift_left" || op === "shift_right") {
      return {
        text: `${wrap(this.#expr(a, hide), 3)} ${operators[op]} ${wrap(this.#expr(shiftAmount(b), hide), 3)}`,
        strength: 0,
      };
    }
    const integer = elementType(a.type) === "i32" || elementType(a.type) === "u32";
    // A constant divisor of zero is refused.
    const hideRight = hide || ((op === "divide" || op === "remainder") && integer && hasZero(b));
    const left = this.#expr(a, hide);
    const right = this.#expr(b, hideRight);
    if (isHelperBinary(op, a, b))
      return primary(`${this.#helpers.call(op, a.type)}(${inList(left)}, ${inList(right)})`);
    // drivers find NaN equal to nothing, but also different from nothing
    const float = elementType(a.type) === "f32" || elementType(a.type) === "f16";
    if (op === "not_equal" && float) return { text: `!(${wrap(left, 1)} == ${wrap(right, 1)})`, strength: 3 };
    const operator = operators[op];
    if (operator === null) return primary(`${op}(${left.text}, ${right.text})`);
    const strength = strengths[operator] ?? 0;
    if (strength > 0)
      return { text: `${wrap(left, strength)} ${operator} ${wrap(right, (strength + 1) as Strength)}`, strength };
    // Vectors of bool have & and | only.
    const shown = width(a.type) === 1 ? operator : operator === "&&" ? "&" : operator === "||" ? "|" : operator;
    const inner: Strength = op === "and" || op === "or" || op.startsWith("bit_") ? 3 : 1;
    return { text: `${wrap(left, inner)} ${shown} ${wrap(right, inner)}`, strength: 0 };
  }

  #literal(type: ScalarType, value: number, hide: boolean): Text {
    const hideText = (hidden: ScalarType, text: string): string => {
      this.#hidden.add(hidden);
      return `hide_${hidden}(${text})`;
    };
    const text = wgslLiteral(type, value, hideText);
    if (hide && !text.includes("hide_")) return primary(hideText(type, text));
    return { text, strength: text.startsWith("-") ? 3 : 4 };
  }

  #list(parts: readonly Expr[], hide: boolean): string {
    return parts.map((part) => inList(this.#expr(part, hide))).join(", ");
  }
}

function wrap({ text, strength }: Text, atLeast: Strength): string {
  return strength >= atLeast ? text : `(${text})`;
}

/** A comparison in a list is wrapped: `f(a < b, c > (d))` would read as a template `a<b, c>(d)`. */
function inList(text: Text): string {
  return wrap(text, 1);
}

/** Whether WGSL would take the expression, written plainly, for a constant. */
function isConstant(a: Expr): boolean {
  if (a.kind === "literal") return true;
  return (a.kind === "vector" || a.kind === "component") && operands(a).every(isConstant);
}

/** Whether two bounds are constants in order, or not constants. */
function inOrder(low: Expr, high: Expr): boolean {
  if (!isConstant(low) || !isConstant(high)) return true;
  return low.kind === "literal" && high.kind === "literal" && low.value <= high.value;
}

function hasZero(a: Expr): boolean {
  if (a.kind === "literal") return a.value === 0;
  return (a.kind === "vector" || a.kind === "component") && operands(a).some(hasZero);
}

/** WGSL refuses constant amounts of 32 and more; at run time they count modulo 32. */
function shiftAmount(a: Expr): Expr {
  if (a.kind === "literal") return { ...a, value: a.value & 31 };
  if (a.kind === "vector") return { ...a, parts: a.parts.map(shiftAmount) };
  return a.kind === "component" ? { ...a, a: shiftAmount(a.a) } : a;
}
