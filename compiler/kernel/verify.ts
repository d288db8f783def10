/** What must hold of every kernel before it is emitted or evaluated. */
import type { Target } from "../target.js";
import { byteSize, elementType, vectorType, width } from "./kernel.js";
import type { Expr, Kernel, KernelFeature, KernelType, MatrixRole, ScalarType, Statement } from "./kernel.js";
import { binaryType, callType, takesUnary } from "./typing.js";
import { uniformityFaults } from "./uniform.js";
import { invocations, isMatrixStatement, isSubgroupCall, operands, typesOf, visitStatements } from "./walk.js";

/** The largest number of workgroups along one dimension of a dispatch. */
export const maxWorkgroups = 65535;

/** Bytes of workgroup memory that the kernel takes. */
export function workgroupMemory(kernel: Kernel): number {
  return kernel.arrays.reduce(
    (sum, { element, length }) => sum + Math.ceil((byteSizeInMemory(element) * length) / 16) * 16,
    0,
  );
}

/** vec3 takes the room of vec4 in an array. */
function byteSizeInMemory(type: KernelType): number {
  return byteSize(width(type) === 3 ? vectorType(elementType(type), 4) : type);
}

/**
 * What is wrong with a kernel: full sentences that name the place, empty if it is sound. With a target, also what the
 * target does not allow.
 */
export function verifyKernel(kernel: Kernel, target: Target | null = null): readonly string[] {
  const faults: string[] = [];
  const fault = (message: string): void => {
    faults.push(message);
  };
  verifyShape(kernel, fault);
  verifyBody(kernel, fault);
  verifyFeatures(kernel, fault);
  if (faults.length === 0) faults.push(...uniformityFaults(kernel));
  if (target !== null) verifyTarget(kernel, target, fault);
  return faults.map((message) => `kernel ${kernel.name}: ${message}`);
}

type Fault = (message: string) => void;

function verifyShape(kernel: Kernel, fault: Fault): void {
  const axes = ["x", "y", "z"] as const;
  axes.forEach((axis, at) => {
    const size = kernel.workgroupSize[at] ?? 0;
    const count = kernel.workgroups[at] ?? 0;
    if (!Number.isInteger(size) || size < 1) fault(`the workgroup's ${axis} is ${size}.`);
    if (!Number.isInteger(count) || count < 0 || count > maxWorkgroups)
      fault(`${count} workgroups along ${axis}: at most ${maxWorkgroups} are allowed.`);
  });
  if (kernel.workgroupSize[2] > 64) fault(`the workgroup's z is ${kernel.workgroupSize[2]}: at most 64 is allowed.`);

  const names = new Set<string>();
  for (const { name } of [...kernel.buffers, ...kernel.arrays, ...kernel.parameters]) define(names, name, fault);
  const written = new Set(
    kernel.buffers.filter((buffer) => buffer.access === "read_write").map((buffer) => buffer.tensor),
  );
  for (const { name, element, length, tensor } of kernel.buffers) {
    if (elementType(element) === "bool" || width(element) === 3)
      fault(`buffer ${name} has elements of ${element}, which do not lie in buffers.`);
    if (!Number.isInteger(length) || length < 1) fault(`buffer ${name} has a length of ${length}.`);
    const views = kernel.buffers.filter((buffer) => buffer.tensor === tensor).length;
    if (written.has(tensor) && views > 1) fault(`buffer ${name}: tensor ${tensor} is written, and has ${views} views.`);
  }
  for (const { name, length } of kernel.arrays) {
    if (!Number.isInteger(length) || length < 1) fault(`array ${name} has a length of ${length}.`);
  }
}

function define(names: Set<string>, name: string, fault: Fault): void {
  if (!/^[A-Za-z][A-Za-z0-9_]*$/.test(name) || name.includes("__")) fault(`${JSON.stringify(name)} is no usable name.`);
  if (names.has(name)) fault(`the name ${name} is defined twice.`);
  names.add(name);
}

interface Local {
  readonly type: KernelType;
  readonly kind: "let" | "var" | "for";
}

function verifyBody(kernel: Kernel, fault: Fault): void {
  const names = new Set([...kernel.buffers, ...kernel.arrays, ...kernel.parameters].map(({ name }) => name));
  const buffers = new Map(kernel.buffers.map((buffer) => [buffer.name, buffer]));
  const arrays = new Map(kernel.arrays.map((array) => [array.name, array]));
  const parameters = new Map(kernel.parameters.map((one) => [one.name, one.type]));
  const scope = new Map<string, Local>();
  const matrices = new Map<string, MatrixRole>();

  const expect = (what: string, found: KernelType, expected: KernelType): void => {
    if (found !== expected) fault(`${what} has type ${found} instead of ${expected}.`);
  };
  const index = (what: string, a: Expr, length: number): void => {
    expect(`the index of ${what}`, a.type, "u32");
    if (a.kind === "literal" && a.value >= length) fault(`index ${a.value} of ${what}, which has ${length} elements.`);
  };

  /** Whether the type noted at each node follows from its operands. */
  function expr(a: Expr): void {
    for (const operand of operands(a)) expr(operand);
    const typed = (type: KernelType): void => expect(`a ${a.kind}`, a.type, type);
    switch (a.kind) {
      case "literal":
        if (!fits(a.type, a.value)) fault(`the literal ${a.value} is not a ${a.type}.`);
        break;
      case "local": {
        const found = scope.get(a.name);
        if (found === undefined) fault(`${a.name} is used where it is not defined.`);
        else expect(a.name, a.type, found.type);
        break;
      }
      case "builtin":
        typed("u32");
        break;
      case "parameter": {
        const type = parameters.get(a.name);
        if (type === undefined) fault(`there is no parameter ${a.name}.`);
        else expect(`parameter ${a.name}`, a.type, type);
        break;
      }
      case "load": {
        const buffer = buffers.get(a.buffer);
        if (buffer === undefined) {
          fault(`there is no buffer ${a.buffer}.`);
          break;
        }
        index(`buffer ${a.buffer}`, a.index, buffer.length);
        expect(`a load of ${a.buffer}`, a.type, buffer.element);
        break;
      }
      case "shared": {
        const array = arrays.get(a.array);
        if (array === undefined) {
          fault(`there is no array ${a.array}.`);
          break;
        }
        index(`array ${a.array}`, a.index, array.length);
        expect(`a load of ${a.array}`, a.type, array.element);
        break;
      }
      case "unary": {
        expect(`the operand of ${a.op}`, a.a.type, a.type);
        if (!takesUnary(a.op, elementType(a.type))) fault(`${a.op} does not take ${a.type}.`);
        break;
      }
      case "binary": {
        const result = binaryType(a.op, a.a.type, a.b.type);
        if (typeof result === "string") fault(`${result}.`);
        else expect(a.op, a.type, result.type);
        break;
      }
      case "select":
        if (a.condition.type !== "bool")
          expect("the condition of a select", a.condition.type, vectorType("bool", width(a.type)));
        expect("a side of a select", a.then.type, a.type);
        expect("a side of a select", a.otherwise.type, a.type);
        break;
      case "convert":
        if (width(a.a.type) !== width(a.type)) fault(`a conversion of ${a.a.type} to ${a.type}.`);
        break;
      case "bitcast":
        if (byteSize(a.a.type) !== byteSize(a.type) || [a.type, a.a.type].some((type) => elementType(type) === "bool"))
          fault(`a bitcast of ${a.a.type} to ${a.type}.`);
        break;
      case "call": {
        const result = callType(
          a.name,
          a.args.map((arg) => arg.type),
        );
        if (typeof result === "string") fault(`${result}.`);
        else expect(a.name, a.type, result.type);
        break;
      }
      case "vector":
        typed(vectorType(elementType(a.type), a.parts.length as 2 | 3 | 4));
        for (const part of a.parts) expect("a part of a vector", part.type, elementType(a.type));
        break;
      case "component":
        if (width(a.a.type) === 1 || a.at >= width(a.a.type)) fault(`component ${a.at} of ${a.a.type}.`);
        typed(elementType(a.a.type));
        break;
      default:
        a satisfies never;
    }
  }

  function matrixOf(name: string, role: MatrixRole): void {
    const found = matrices.get(name);
    if (found === undefined) fault(`the matrix ${name} is used where it is not defined.`);
    else if (found !== role) fault(`the matrix ${name} is a ${found} one, and is used as a ${role} one.`);
  }

  function matrixMemory(
    s: Extract<Statement, { kind: "load_matrix" | "store_matrix" }>,
    elements: readonly [KernelType, ...KernelType[]],
  ): void {
    expr(s.index);
    expr(s.stride);
    expect(`the stride of ${s.name}`, s.stride.type, "u32");
    const buffer = buffers.get(s.array);
    if (s.kind === "load_matrix" && buffer !== undefined && buffer.access !== "read")
      fault(`buffer ${s.array}, where a matrix lies, is written.`);
    if (
      s.kind === "store_matrix" &&
      buffer !== undefined &&
      (buffer.access !== "read_write" || buffer.element !== "f32")
    )
      fault(`buffer ${s.array}, where a matrix goes, is not one of f32 that is written.`);
    const array = arrays.get(s.array) ?? buffer;
    if (array === undefined) {
      fault(`there is no array ${s.array}.`);
      return;
    }
    index(`array ${s.array}`, s.index, array.length);
    if (!elements.includes(array.element)) expect(`array ${s.array}, where a matrix lies,`, array.element, elements[0]);
  }

  function block(statements: readonly Statement[], before: readonly string[] = []): void {
    const here: string[] = [...before];
    const introduce = (name: string, local: Local): void => {
      define(names, name, fault);
      scope.set(name, local);
      here.push(name);
    };
    for (const s of statements) {
      switch (s.kind) {
        case "let":
          expr(s.value);
          introduce(s.name, { kind: "let", type: s.value.type });
          break;
        case "var":
          expr(s.value);
          expect(`the first value of ${s.name}`, s.value.type, s.type);
          introduce(s.name, { kind: "var", type: s.type });
          break;
        case "assign": {
          expr(s.value);
          const found = scope.get(s.name);
          if (found?.kind !== "var") fault(`${s.name} is assigned to, and is no var that is defined there.`);
          else expect(`the value assigned to ${s.name}`, s.value.type, found.type);
          break;
        }
        case "for": {
          for (const bound of [s.from, s.to, s.step]) {
            expr(bound);
            expect(`a bound of the loop over ${s.name}`, bound.type, s.type);
          }
          if (s.step.kind === "literal" && s.step.value <= 0)
            fault(`the loop over ${s.name} steps by ${s.step.value}.`);
          define(names, s.name, fault);
          scope.set(s.name, { kind: "for", type: s.type });
          block(s.body, [s.name]);
          break;
        }
        case "if":
          expr(s.condition);
          expect("the condition of an if", s.condition.type, "bool");
          block(s.then);
          block(s.otherwise);
          break;
        case "store": {
          expr(s.index);
          expr(s.value);
          const buffer = buffers.get(s.buffer);
          if (buffer === undefined) {
            fault(`there is no buffer ${s.buffer}.`);
            break;
          }
          if (buffer.access !== "read_write") fault(`buffer ${s.buffer} is stored to, and is read-only.`);
          index(`buffer ${s.buffer}`, s.index, buffer.length);
          expect(`the value stored to ${s.buffer}`, s.value.type, buffer.element);
          break;
        }
        case "store_shared": {
          expr(s.index);
          expr(s.value);
          const array = arrays.get(s.array);
          if (array === undefined) {
            fault(`there is no array ${s.array}.`);
            break;
          }
          index(`array ${s.array}`, s.index, array.length);
          expect(`the value stored to ${s.array}`, s.value.type, array.element);
          break;
        }
        case "barrier":
          break;
        case "matrix":
          define(names, s.name, fault);
          matrices.set(s.name, "result");
          here.push(s.name);
          break;
        case "load_matrix":
          matrixMemory(s, ["f16", "vec4<u32>"]);
          define(names, s.name, fault);
          matrices.set(s.name, s.role);
          here.push(s.name);
          break;
        case "multiply_matrices":
          for (const role of ["result", "left", "right"] as const) matrixOf(s[role], role);
          break;
        case "store_matrix":
          matrixMemory(s, ["f32", "vec4<u32>"]);
          matrixOf(s.name, "result");
          break;
        default:
          s satisfies never;
      }
    }
    for (const name of here) {
      scope.delete(name);
      matrices.delete(name);
    }
  }

  block(kernel.body);
}

function fits(type: ScalarType, value: number): boolean {
  switch (type) {
    case "f32":
      return Object.is(Math.fround(value), value);
    case "f16":
      return Number.isFinite(value) && Math.abs(value) <= 65504;
    case "i32":
      return Object.is(value | 0, value);
    case "u32":
      return Object.is(value >>> 0, value);
    case "bool":
      return value === 0 || value === 1;
    default:
      return type satisfies never;
  }
}

function verifyFeatures(kernel: Kernel, fault: Fault): void {
  const has = (feature: KernelFeature): boolean => kernel.features.includes(feature);
  if (!has("f16") && [...typesOf(kernel)].some((type) => elementType(type) === "f16"))
    fault("it computes in f16 without the feature.");
  let subgroups = false;
  let matrices = false;
  visitStatements(
    kernel.body,
    (s) => {
      matrices ||= isMatrixStatement(s);
    },
    (a) => {
      subgroups ||=
        (a.kind === "call" && isSubgroupCall(a.name)) || (a.kind === "builtin" && a.name.startsWith("subgroup"));
    },
  );
  if (subgroups && !has("subgroups")) fault("it uses subgroups without the feature.");
  if (matrices && !has("matrices")) fault("it multiplies matrices without the feature.");
}

function verifyTarget(kernel: Kernel, target: Target, fault: Fault): void {
  const atMost = (what: string, value: number, limit: number): void => {
    if (value > limit) fault(`${what}: ${value}, where ${target.name} allows ${limit}.`);
  };
  atMost("invocations a workgroup", invocations(kernel), target.maxInvocations);
  atMost("bytes of workgroup memory", workgroupMemory(kernel), target.maxWorkgroupMemory);
  atMost("storage buffers", kernel.buffers.length, target.maxStorageBuffers);
  for (const { name, element, length } of kernel.buffers)
    atMost(`bytes of buffer ${name}`, byteSize(element) * length, target.maxBinding);
  if (kernel.features.includes("f16") && !target.f16) fault(`it computes in f16, which ${target.name} lacks.`);
  if (kernel.features.includes("matrices") && !target.matrices)
    fault(`it multiplies matrices, which ${target.name} cannot.`);
  if (kernel.features.includes("matrices") && kernel.workgroupSize[0] % (target.subgroups?.max ?? 1) !== 0)
    fault(
      `it multiplies matrices in a workgroup whose x, ${kernel.workgroupSize[0]}, is no multiple of the largest subgroup.`,
    );
  if (kernel.features.includes("subgroups") && target.subgroups === null)
    fault(`it uses subgroups, which ${target.name} lacks.`);
}
