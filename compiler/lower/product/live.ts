import type { Expr, Statement } from "../../kernel/kernel.js";
import { operands } from "../../kernel/walk.js";

/** Of statements that follow one another, those that the values of `roots` need: a `let` that nothing reads is left out. */
export function live(statements: readonly Statement[], roots: readonly Expr[]): readonly Statement[] {
  if (statements.some((statement) => statement.kind !== "let")) return statements;
  const needed = new Set<string>();
  const need = (value: Expr): void => {
    if (value.kind === "local") needed.add(value.name);
    for (const operand of operands(value)) need(operand);
  };
  roots.forEach(need);
  const kept: Statement[] = [];
  for (const statement of [...statements].reverse()) {
    if (statement.kind !== "let" || !needed.has(statement.name)) continue;
    need(statement.value);
    kept.push(statement);
  }
  return kept.reverse();
}
