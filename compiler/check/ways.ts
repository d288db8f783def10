/** The ways through the branches of a loop over layers: by a layer's name, by parameters, and by what a run computes. */
import type { NamePattern, Treatment } from "../recipe/recipe.js";
import type { Expr, IfStatement, Statement } from "../syntax/ast.js";
import { constantCondition, namesOfRun, testsName } from "./constant-condition.js";
import { fail, type Frame } from "./frame.js";
import { namePattern } from "./recipe-context.js";
import type { Scope } from "./scope.js";

/** A name pattern that a layer must match, or must not. */
type LayerCondition = Treatment["conditions"][number];

/**
 * A statement of a way, or a condition that a run computes there and that must come out so for this way to be taken.
 * `enter` and `leave` are where a branch begins and ends: what it declares is seen in it alone.
 */
export type Passed =
  | { readonly kind: "statement"; readonly statement: Statement }
  | { readonly kind: "enter" }
  | { readonly kind: "leave" }
  | { readonly kind: "choice"; readonly of: IfStatement; readonly holds: boolean };

/** One way through the branches of a loop's body. */
export interface Way {
  readonly conditions: readonly LayerCondition[];
  readonly passed: readonly Passed[];
}

/** The most treatments that the branches of one loop may make. */
export const mostWays = 64;

/** What is known of the loop whose branches are followed. */
interface Branching {
  readonly layer: string;
  readonly frame: Frame;
  readonly scope: Scope;
  /** Names that the loop declares, known only when the recipe runs. */
  readonly computed: ReadonlySet<string>;
  /** Whether a run may choose by what it computes. */
  readonly mayChoose: boolean;
}

/** Every way through the branches; those on parameters are decided. */
export function waysThrough(statements: readonly Statement[], branching: Branching): readonly Way[] {
  const { layer, frame, scope, computed, mayChoose } = branching;
  let ways: readonly Way[] = [{ conditions: [], passed: [] }];
  for (const statement of statements) {
    if (statement.kind !== "if") {
      ways = ways.map((way) => ({ ...way, passed: [...way.passed, { kind: "statement", statement }] }));
      continue;
    }
    const pattern = layerPattern(statement.condition, layer, frame, scope);
    if (pattern === "wrong") continue;
    const { condition } = statement;
    if (
      pattern === null &&
      (!mayChoose || testsName(condition) || namesOfRun(condition, frame, scope, computed).length === 0)
    ) {
      // what a parameter decides is known now; a parameter is never declared in the loop itself
      const chosen = constantCondition(condition, frame, scope, computed);
      if (chosen === null) continue;
      ways = join(ways, throughBranch(chosen ? statement.then : statement.otherwise, branching), between([], []));
      continue;
    }
    const through = (holds: boolean): readonly Way[] =>
      join(
        ways,
        throughBranch(holds ? statement.then : statement.otherwise, branching),
        pattern === null
          ? between([], [{ kind: "choice", of: statement, holds }])
          : between([{ pattern: pattern.pattern, negate: pattern.negate === holds }], []),
      );
    ways = [...through(true), ...through(false)];
    if (ways.length > mostWays) return ways;
  }
  return ways;
}

function throughBranch(statements: readonly Statement[], branching: Branching): readonly Way[] {
  return waysThrough(statements, branching).map((way) => ({
    ...way,
    passed: [{ kind: "enter" }, ...way.passed, { kind: "leave" }],
  }));
}

function between(conditions: readonly LayerCondition[], passed: readonly Passed[]): Way {
  return { conditions, passed };
}

/** The names that statements declare, those in branches too. */
export function declaredIn(statements: readonly Statement[]): readonly string[] {
  return statements.flatMap((statement) => {
    if (statement.kind === "let") return statement.names.map((name) => name.name);
    if (statement.kind === "var") return [statement.name.name];
    return statement.kind === "if" ? declaredIn([...statement.then, ...statement.otherwise]) : [];
  });
}

/** Each way continued by each other; those whose conditions on names contradict are left out. */
function join(before: readonly Way[], after: readonly Way[], middle: Way): readonly Way[] {
  return before.flatMap((a) =>
    after.flatMap((b) => {
      const conditions: LayerCondition[] = [];
      for (const condition of [...a.conditions, ...middle.conditions, ...b.conditions]) {
        const known = conditions.find((other) => other.pattern.glob === condition.pattern.glob);
        if (known === undefined) conditions.push(condition);
        else if (known.negate !== condition.negate) return [];
      }
      return [{ conditions, passed: [...a.passed, ...middle.passed, ...b.passed] }];
    }),
  );
}

/** `w matches "..."`, or its negation; null for a condition of another kind. */
function layerPattern(
  condition: Expr,
  layer: string,
  frame: Frame,
  scope: Scope,
): { readonly pattern: NamePattern; readonly negate: boolean } | "wrong" | null {
  if (condition.kind === "unary" && condition.op === "not") {
    const inner = layerPattern(condition.operand, layer, frame, scope);
    return inner === null || inner === "wrong" ? inner : { ...inner, negate: !inner.negate };
  }
  if (condition.kind !== "matches") return null;
  if (condition.value.kind !== "name" || condition.value.name !== layer) {
    fail(frame, "E606", "`matches` tests the name of the layer", condition.value.span, `not \`${layer}\``, {
      help: `write \`${layer} matches "..."\``,
    });
    return "wrong";
  }
  return { pattern: namePattern(condition.pattern, frame, scope), negate: false };
}
