/** Walks over expressions and statements, for analyses. */
import type { Expr, Kernel, KernelFunction, KernelType, Statement } from "./kernel.js";

/** The operations on matrices. */
export type MatrixStatement = Extract<
  Statement,
  { kind: "matrix" | "load_matrix" | "multiply_matrices" | "store_matrix" }
>;

/** The operands of an expression, in order of evaluation. */
export function operands(a: Expr): readonly Expr[] {
  switch (a.kind) {
    case "literal":
    case "local":
    case "builtin":
    case "parameter":
      return [];
    case "load":
    case "shared":
      return [a.index];
    case "unary":
    case "convert":
    case "bitcast":
    case "component":
      return [a.a];
    case "binary":
      return [a.a, a.b];
    case "select":
      return [a.condition, a.then, a.otherwise];
    case "call":
      return a.args;
    case "vector":
      return a.parts;
    default:
      return a satisfies never;
  }
}

/** An expression with other operands: as many, of the same types, in the order of `operands`. */
export function withOperands(a: Expr, given: readonly Expr[]): Expr {
  const [x, y, z] = given;
  switch (a.kind) {
    case "literal":
    case "local":
    case "builtin":
    case "parameter":
      return a;
    case "load":
    case "shared":
      return { ...a, index: x! };
    case "unary":
    case "convert":
    case "bitcast":
    case "component":
      return { ...a, a: x! };
    case "binary":
      return { ...a, a: x!, b: y! };
    case "select":
      return { ...a, condition: x!, then: y!, otherwise: z! };
    case "call":
      return { ...a, args: given };
    case "vector":
      return { ...a, parts: given };
    default:
      return a satisfies never;
  }
}

/** The expressions that stand in a statement itself, not in its blocks. */
export function expressions(statement: Statement): readonly Expr[] {
  switch (statement.kind) {
    case "let":
    case "var":
    case "assign":
      return [statement.value];
    case "for":
      return [statement.from, statement.to, statement.step];
    case "if":
      return [statement.condition];
    case "store":
    case "store_shared":
      return [statement.index, statement.value];
    case "load_matrix":
    case "store_matrix":
      return [statement.index, statement.stride];
    case "barrier":
    case "matrix":
    case "multiply_matrices":
      return [];
    default:
      return statement satisfies never;
  }
}

/** The blocks of a statement. */
export function blocks(statement: Statement): readonly (readonly Statement[])[] {
  if (statement.kind === "for") return [statement.body];
  return statement.kind === "if" ? [statement.then, statement.otherwise] : [];
}

/** Calls `visit` on each expression below and at `a`, operands first. */
export function visitExpr(a: Expr, visit: (a: Expr) => void): void {
  for (const operand of operands(a)) visitExpr(operand, visit);
  visit(a);
}

/** Calls the visitors on each statement (before its blocks) and on each expression of it. */
export function visitStatements(
  statements: readonly Statement[],
  onStatement: (s: Statement) => void,
  onExpr: (a: Expr) => void,
): void {
  for (const statement of statements) {
    onStatement(statement);
    for (const a of expressions(statement)) visitExpr(a, onExpr);
    for (const block of blocks(statement)) visitStatements(block, onStatement, onExpr);
  }
}

/** Statements, with those of blocks. */
export function countOf(statements: readonly Statement[]): number {
  let count = 0;
  visitStatements(
    statements,
    () => count++,
    () => {},
  );
  return count;
}

/** Whether a call joins the invocations of a subgroup. */
export function isSubgroupCall(name: KernelFunction): boolean {
  switch (name) {
    case "subgroupAdd":
    case "subgroupMax":
    case "subgroupMin":
    case "subgroupBroadcastFirst":
    case "subgroupShuffle":
    case "subgroupShuffleXor":
      return true;
    case "fma":
    case "dot":
    case "clamp":
    case "unpack2x16float":
    case "pack2x16float":
    case "dot4I8Packed":
    case "countOneBits":
      return false;
    default:
      return name satisfies never;
  }
}

/** Whether a subgroup operation stands in the expression. */
export function hasSubgroupCall(a: Expr): boolean {
  return (a.kind === "call" && isSubgroupCall(a.name)) || operands(a).some(hasSubgroupCall);
}

/** Whether the statement is an operation on matrices, which the invocations of a subgroup do together. */
export function isMatrixStatement(statement: Statement): statement is MatrixStatement {
  return (
    statement.kind === "matrix" ||
    statement.kind === "load_matrix" ||
    statement.kind === "multiply_matrices" ||
    statement.kind === "store_matrix"
  );
}

/** Whether a barrier or a subgroup operation stands in the statement or its blocks. */
export function synchronises(statement: Statement): boolean {
  return (
    statement.kind === "barrier" ||
    isMatrixStatement(statement) ||
    expressions(statement).some(hasSubgroupCall) ||
    blocks(statement).some((block) => block.some(synchronises))
  );
}

/** Whether a barrier stands in the statement or its blocks. */
export function hasBarrier(statement: Statement): boolean {
  return statement.kind === "barrier" || blocks(statement).some((block) => block.some(hasBarrier));
}

/** Every type that the kernel mentions. */
export function typesOf(kernel: Kernel): ReadonlySet<KernelType> {
  const types = new Set<KernelType>();
  for (const { element } of [...kernel.buffers, ...kernel.arrays]) types.add(element);
  visitStatements(
    kernel.body,
    (s) => {
      if (s.kind === "var") types.add(s.type);
    },
    (a) => types.add(a.type),
  );
  return types;
}

/** Invocations a workgroup. */
export function invocations(kernel: Pick<Kernel, "workgroupSize">): number {
  const [x, y, z] = kernel.workgroupSize;
  return x * y * z;
}
