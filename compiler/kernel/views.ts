/** Views of one tensor: a kernel that reads it by words and by halves can do with words alone, a binding less. */
import * as k from "./build.js";
import { elementType, width, type Expr, type Kernel, type KernelBuffer, type Statement } from "./kernel.js";
import { blocks, expressions, operands, visitStatements, withOperands } from "./walk.js";

/**
 * The kernel without one of its views: halves of a tensor are taken from the words that another view of it gives, of
 * which each is loaded whole. Null where no tensor is only read both ways, or a half is loaded elsewhere than in the
 * value of a statement, or only where it is needed.
 */
export function withFewerViews(kernel: Kernel): Kernel | null {
  for (const halves of kernel.buffers) {
    if (halves.element !== "f16" || halves.access !== "read" || !loadsInValues(kernel.body, halves.name)) continue;
    const [words] = kernel.buffers
      .filter(
        ({ tensor, element, access, length }) =>
          tensor === halves.tensor &&
          access === "read" &&
          elementType(element) === "u32" &&
          width(element) !== 3 &&
          2 * width(element) * length >= halves.length,
      )
      .sort((a, b) => width(a.element) - width(b.element));
    if (words === undefined) continue;
    return {
      ...kernel,
      buffers: kernel.buffers.filter((buffer) => buffer !== halves),
      body: replaced(kernel.body, halves, words, freshNames(kernel)),
    };
  }
  return null;
}

/** Whether a view is loaded in values that are bound, assigned or stored, always where those are, and nowhere else. */
function loadsInValues(statements: readonly Statement[], name: string): boolean {
  return statements.every((statement) => {
    const hasValue = ["let", "var", "assign", "store", "store_shared"].includes(statement.kind);
    const isMatrix = statement.kind === "load_matrix" && statement.array === name;
    return (
      !isMatrix &&
      expressions(statement).every((a) => !isLoaded(a, name) || (hasValue && !mayBeSkipped(a, name))) &&
      blocks(statement).every((block) => loadsInValues(block, name))
    );
  });
}

const isLoaded = (a: Expr, name: string): boolean =>
  (a.kind === "load" && a.buffer === name) || operands(a).some((operand) => isLoaded(operand, name));

/** Whether a view is loaded where the first operand of an `and` or `or` does not decide: elsewhere it may not be there. */
const mayBeSkipped = (a: Expr, name: string): boolean =>
  (a.kind === "binary" && (a.op === "and" || a.op === "or") && isLoaded(a.b, name)) ||
  operands(a).some((operand) => mayBeSkipped(operand, name));

function freshNames(kernel: Kernel): (hint: string) => string {
  const taken = new Set([...kernel.buffers, ...kernel.arrays, ...kernel.parameters].map(({ name }) => name));
  visitStatements(
    kernel.body,
    (statement) => {
      if ("name" in statement) taken.add(statement.name);
    },
    () => {},
  );
  let count = 0;
  return (hint) => {
    let name = `${hint}_${count++}`;
    while (taken.has(name)) name = `${hint}_${count++}`;
    return name;
  };
}

function replaced(
  statements: readonly Statement[],
  halves: KernelBuffer,
  words: KernelBuffer,
  fresh: (hint: string) => string,
): readonly Statement[] {
  const within = (block: readonly Statement[]): readonly Statement[] => replaced(block, halves, words, fresh);
  return statements.flatMap((statement): readonly Statement[] => {
    const before: Statement[] = [];
    const named = (hint: string, value: Expr): Expr => {
      const name = fresh(hint);
      before.push(k.letIs(name, value));
      return k.local(name, value.type);
    };
    const inValue = (a: Expr): Expr => {
      if (a.kind === "convert" && a.type === "f32" && isHalf(a.a)) return halfOf(a.a.index);
      if (isHalf(a)) return k.convert("f16", halfOf(a.index));
      return withOperands(a, operands(a).map(inValue));
    };
    const isHalf = (a: Expr): a is Expr & { readonly kind: "load" } => a.kind === "load" && a.buffer === halves.name;
    const halfOf = (given: Expr): Expr => {
      const index = named("half_at", inValue(given));
      const count = width(words.element);
      const loaded = named("words", k.load(words, k.div(index, 2 * count)));
      const each = Array.from({ length: count }, (_, at) => (count === 1 ? loaded : k.component(loaded, at)));
      let candidates: readonly Expr[] = each;
      for (let bit = 1; candidates.length > 1; bit++) {
        const isHigh = named("high", k.notEqual(k.bitAnd(index, 1 << bit), 0));
        const pairs = candidates;
        candidates = pairs.filter((_, at) => at % 2 === 0).map((low, at) => k.select(isHigh, pairs[2 * at + 1]!, low));
      }
      const pair = named("pair", k.call("unpack2x16float", [candidates[0]!]));
      return k.select(k.notEqual(k.bitAnd(index, 1), 0), k.component(pair, 1), k.component(pair, 0));
    };
    switch (statement.kind) {
      case "let":
      case "var":
      case "assign": {
        const value = inValue(statement.value);
        return [...before, { ...statement, value }];
      }
      case "store":
      case "store_shared": {
        const [index, value] = [inValue(statement.index), inValue(statement.value)];
        return [...before, { ...statement, index, value }];
      }
      case "for":
        return [{ ...statement, body: within(statement.body) }];
      case "if":
        return [{ ...statement, then: within(statement.then), otherwise: within(statement.otherwise) }];
      default:
        return [statement];
    }
  });
}
