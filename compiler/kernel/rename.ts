import type { Builtin, Expr, Statement } from "./kernel.js";
import { operands, withOperands } from "./walk.js";

/** What names become: of values and matrices, of buffers and arrays, and what stands for a builtin. */
export interface Renaming {
  readonly local: (name: string) => string;
  readonly memory: (name: string) => string;
  readonly builtin: (name: Builtin) => Expr;
}

/** Statements under other names. */
export function renamed(statements: readonly Statement[], to: Renaming): readonly Statement[] {
  return statements.map((statement) => renameStatement(statement, to));
}

function renameStatement(statement: Statement, to: Renaming): Statement {
  const { local, memory } = to;
  const expr = (a: Expr): Expr => renameExpr(a, to);
  switch (statement.kind) {
    case "let":
    case "var":
    case "assign":
      return { ...statement, name: local(statement.name), value: expr(statement.value) };
    case "for":
      return {
        ...statement,
        name: local(statement.name),
        from: expr(statement.from),
        to: expr(statement.to),
        step: expr(statement.step),
        body: renamed(statement.body, to),
      };
    case "if":
      return {
        ...statement,
        condition: expr(statement.condition),
        then: renamed(statement.then, to),
        otherwise: renamed(statement.otherwise, to),
      };
    case "store":
      return {
        ...statement,
        buffer: memory(statement.buffer),
        index: expr(statement.index),
        value: expr(statement.value),
      };
    case "store_shared":
      return {
        ...statement,
        array: memory(statement.array),
        index: expr(statement.index),
        value: expr(statement.value),
      };
    case "barrier":
      return statement;
    case "matrix":
      return { ...statement, name: local(statement.name) };
    case "load_matrix":
    case "store_matrix":
      return {
        ...statement,
        name: local(statement.name),
        array: memory(statement.array),
        index: expr(statement.index),
        stride: expr(statement.stride),
      };
    case "multiply_matrices":
      return {
        ...statement,
        result: local(statement.result),
        left: local(statement.left),
        right: local(statement.right),
      };
    default:
      return statement satisfies never;
  }
}

function renameExpr(a: Expr, to: Renaming): Expr {
  const own = withOperands(
    a,
    operands(a).map((operand) => renameExpr(operand, to)),
  );
  switch (own.kind) {
    case "local":
      return { ...own, name: to.local(own.name) };
    case "builtin":
      return to.builtin(own.name);
    case "load":
      return { ...own, buffer: to.memory(own.buffer) };
    case "shared":
      return { ...own, array: to.memory(own.array) };
    default:
      return own;
  }
}
