/** Copies of the same statements as one, whose operands are chosen. */
import * as k from "./build.js";
import type { Expr, Statement } from "./kernel.js";
import { expressions, hasSubgroupCall, operands, visitExpr, visitStatements, withOperands } from "./walk.js";

/** A copy's own names, and what they are called in the first. */
type Names = ReadonlyMap<string, string>;

type Assignment = Extract<Statement, { kind: "assign" }>;

/** Copies as one. */
export interface Unified {
  /** Operands that differ and do not change on the way, by names: they stand before the body. */
  readonly choices: readonly Statement[];
  readonly body: readonly Statement[];
}

/**
 * Copies as one that does what copy `which` (u32, the same for the workgroup) does; null where they are not alike: where
 * statements are not of the same kinds, or what joins a subgroup differs. Operands that differ are chosen, but those that
 * read memory: `let`s of such, and stores to memory that differs, stand in branches. `fresh` gives names that are not
 * taken.
 */
export function unify(
  copies: readonly (readonly Statement[])[],
  which: Expr,
  fresh: (hint: string) => string,
): Unified | null {
  const choices: Statement[] = [];
  const known = new Map<string, Expr>();
  const own = copies.map(definedIn);
  const assigned = copies.map(assignedIn);
  /** Of each copy; the first keeps its own. */
  const names = copies.map(() => new Map<string, string>());

  const renamed = (given: readonly Expr[]): readonly Expr[] => given.map((a, copy) => rename(a, names[copy]!));
  const define = (given: readonly string[]): void => given.forEach((name, copy) => names[copy]!.set(name, given[0]!));
  const refersAlike = (given: readonly string[]): boolean =>
    given.every((name, copy) => (names[copy]!.get(name) ?? name) === given[0]);

  /** The operand of copy `which`: by a name, or, if it changes on the way, where it stands. */
  const choice = (given: readonly Expr[]): Expr | null => {
    if (given.some((a) => a.type !== given[0]!.type || readsMemory(a) || hasSubgroupCall(a))) return null;
    const changes = given.some((a, copy) =>
      mentions(a, (name) => own[copy]!.has(name) || assigned.some((some) => some.has(name))),
    );
    const all = renamed(given);
    const chosen = all
      .slice(0, -1)
      .reduceRight((rest, a, copy) => (isEqual(a, rest) ? rest : k.select(k.equal(which, copy), a, rest)), all.at(-1)!);
    if (changes) return chosen;
    const key = JSON.stringify(given);
    const before = known.get(key);
    if (before !== undefined) return before;
    const name = fresh("own");
    choices.push(k.letIs(name, chosen));
    const value = k.local(name, chosen.type);
    known.set(key, value);
    return value;
  };

  const expr = (given: readonly Expr[]): Expr | null => {
    const a = given[0]!;
    if (a.kind === "local")
      return given.every((b, copy) => b.kind === "local" && isSame(a.name, b.name, copy)) ? a : choice(given);
    if (given.some((b) => shapeOf(b) !== shapeOf(a))) return choice(given);
    const parts = given.map(operands);
    const unified: Expr[] = [];
    for (const at of parts[0]!.keys()) {
      const part = expr(parts.map((some) => some[at]!));
      if (part === null) return null;
      unified.push(part);
    }
    return withOperands(a, unified);
  };
  /** Whether a name of a copy is a name of the first, or of neither. */
  const isSame = (first: string, name: string, copy: number): boolean =>
    (names[copy]!.get(name) ?? (own[copy]!.has(name) ? null : name)) === first;

  const block = (given: readonly (readonly Statement[])[]): readonly Statement[] | null => {
    if (given.some(({ length }) => length !== given[0]!.length)) return null;
    const result: Statement[] = [];
    // values in branches that nothing has read yet: those that follow one another have branches together
    let reads: (readonly Assignment[])[] = [];
    const flush = (): void => {
      if (reads.length > 0) result.push(apart(given.map((_, copy) => reads.map((some) => some[copy]!))));
      reads = [];
    };
    for (const at of given[0]!.keys()) {
      const places = given.map((some) => some[at]!);
      const unified = place(places);
      if (unified === null) {
        const values = assignments(places);
        if (values === null) return null;
        if (!independent(values, reads)) flush();
        const [{ name, value }] = values as readonly [Assignment];
        result.push(k.variable(name, k.constant(value.type, 0)));
        reads.push(values);
        continue;
      }
      if (unified.kind !== "let" || mentions(unified.value, (name) => reads.some(([read]) => read!.name === name)))
        flush();
      result.push(unified);
    }
    flush();
    return result;
  };

  /** Values that are not alike, as of buffers that differ: the assignment of each copy. */
  const assignments = (given: readonly Statement[]): readonly Assignment[] | null => {
    const lets = given.flatMap((each) => (each.kind === "let" ? [each] : []));
    const [a] = lets;
    if (a === undefined || lets.length < given.length) return null;
    if (lets.some(({ value }) => value.type !== a.value.type || hasSubgroupCall(value))) return null;
    const values = lets.map(({ value }, copy) => rename(value, names[copy]!));
    define(lets.map(({ name }) => name));
    return values.map((value) => ({ kind: "assign", name: a.name, value }));
  };

  /** The statements of all copies at one place. */
  const place = (given: readonly Statement[]): Statement | null => {
    const a = given[0]!;
    if (given.some(({ kind }) => kind !== a.kind)) return null;
    const values = given.map(expressions);
    if (a.kind === "store" && given.some((each) => (each as typeof a).buffer !== a.buffer))
      return apart(
        given.map((each, copy) => {
          const [index, value] = values[copy]!.map((x) => rename(x, names[copy]!));
          return [{ ...(each as typeof a), index: index!, value: value! }];
        }),
      );
    if (a.kind === "store_matrix" && given.some((each) => (each as typeof a).array !== a.array)) {
      if (!refersAlike(given.map(nameOf))) return null;
      return apart(
        given.map((each, copy) => {
          const [index, stride] = values[copy]!.map((x) => rename(x, names[copy]!));
          return [{ ...(each as typeof a), name: a.name, index: index!, stride: stride! }];
        }),
      );
    }
    const unified: Expr[] = [];
    for (const at of values[0]!.keys()) {
      const value = expr(values.map((some) => some[at]!));
      if (value === null) return null;
      unified.push(value);
    }
    return alike(a, given, unified);
  };

  /** Statements of copy `which`, in a branch. */
  const apart = (given: readonly (readonly Statement[])[]): Statement =>
    given
      .slice(0, -1)
      .reduceRight<readonly Statement[]>(
        (otherwise, then, copy) => [k.ifThen(k.equal(which, copy), then, otherwise)],
        given.at(-1)!,
      )[0]!;

  /** Statements of one kind, with the expressions that they have in common. */
  const alike = (a: Statement, given: readonly Statement[], [x, y, z]: readonly Expr[]): Statement | null => {
    const all = given as readonly (typeof a)[];
    switch (a.kind) {
      case "let":
      case "var":
        define(all.map(nameOf));
        return { ...a, value: x! };
      case "assign":
        return refersAlike(all.map(nameOf)) ? { ...a, value: x! } : null;
      case "for": {
        define(all.map(nameOf));
        const body = block(all.map((each) => (each as typeof a).body));
        return body === null ? null : { ...a, from: x!, to: y!, step: z!, body };
      }
      case "if": {
        const then = block(all.map((each) => (each as typeof a).then));
        const otherwise = then === null ? null : block(all.map((each) => (each as typeof a).otherwise));
        return otherwise === null ? null : { ...a, condition: x!, then: then!, otherwise };
      }
      case "store":
        return { ...a, index: x!, value: y! };
      case "store_shared":
        return all.every((each) => (each as typeof a).array === a.array) ? { ...a, index: x!, value: y! } : null;
      case "barrier":
        return a;
      case "matrix":
        define(all.map(nameOf));
        return a;
      case "load_matrix": {
        const same = all.every((each) => {
          const { array, role, columns } = each as typeof a;
          return array === a.array && role === a.role && columns === a.columns;
        });
        define(all.map(nameOf));
        return same ? { ...a, index: x!, stride: y! } : null;
      }
      case "multiply_matrices": {
        const refer = (key: "result" | "left" | "right"): boolean =>
          refersAlike(given.flatMap((each) => (each.kind === "multiply_matrices" ? [each[key]] : [])));
        return refer("result") && refer("left") && refer("right") ? a : null;
      }
      case "store_matrix": {
        const same =
          all.every((each) => (each as typeof a).array === a.array && (each as typeof a).columns === a.columns) &&
          refersAlike(all.map(nameOf));
        return same ? { ...a, index: x!, stride: y! } : null;
      }
      default:
        return a satisfies never;
    }
  };

  const body = block(copies);
  return body === null ? null : { choices, body };
}

/** What copy `which` does (`unify`), in a branch for each copy where they are not alike. */
export function asOne(
  copies: readonly (readonly Statement[])[],
  which: Expr,
  fresh: (hint: string) => string,
): readonly Statement[] {
  const unified = unify(copies, which, fresh);
  if (unified !== null) return [...unified.choices, ...unified.body];
  return copies
    .slice(0, -1)
    .reduceRight<readonly Statement[]>(
      (otherwise, then, copy) => [k.ifThen(k.equal(which, copy), then, otherwise)],
      copies.at(-1)!,
    );
}

/** The name that a statement defines, or is about. */
const nameOf = (statement: Statement): string => ("name" in statement ? statement.name : "");

/** Whether values can stand together with those before them: none is made of one of those. */
function independent(values: readonly Assignment[], before: readonly (readonly Assignment[])[]): boolean {
  const names = new Set(before.flat().map(({ name }) => name));
  return !values.some(({ value }) => mentions(value, (name) => names.has(name)));
}

const isEqual = (a: Expr, b: Expr): boolean => JSON.stringify(a) === JSON.stringify(b);

/** What an expression is beside its operands. */
function shapeOf(a: Expr): string {
  const { kind, type } = a;
  switch (kind) {
    case "literal":
      return `${kind} ${type} ${Object.is(a.value, -0) ? "-0" : a.value}`;
    case "local":
    case "builtin":
    case "parameter":
      return `${kind} ${type} ${a.name}`;
    case "load":
      return `${kind} ${type} ${a.buffer}`;
    case "shared":
      return `${kind} ${type} ${a.array}`;
    case "unary":
    case "binary":
      return `${kind} ${type} ${a.op} ${operands(a)
        .map((operand) => operand.type)
        .join(" ")}`;
    case "component":
      return `${kind} ${type} ${a.at} ${a.a.type}`;
    case "call":
      return `${kind} ${type} ${a.name} ${a.args.length}`;
    case "vector":
    case "select":
    case "convert":
    case "bitcast":
      return `${kind} ${type} ${operands(a)
        .map((operand) => operand.type)
        .join(" ")}`;
    default:
      return kind satisfies never;
  }
}

function rename(a: Expr, names: Names): Expr {
  if (a.kind === "local") return { ...a, name: names.get(a.name) ?? a.name };
  return withOperands(
    a,
    operands(a).map((operand) => rename(operand, names)),
  );
}

function mentions(a: Expr, wanted: (name: string) => boolean): boolean {
  return (a.kind === "local" && wanted(a.name)) || operands(a).some((operand) => mentions(operand, wanted));
}

function readsMemory(a: Expr): boolean {
  let reads = false;
  visitExpr(a, ({ kind }) => (reads ||= kind === "load" || kind === "shared"));
  return reads;
}

/** Names that statements define, in blocks too. */
function definedIn(statements: readonly Statement[]): ReadonlySet<string> {
  const names = new Set<string>();
  visitStatements(
    statements,
    (statement) => {
      if ("name" in statement && statement.kind !== "assign" && statement.kind !== "store_matrix")
        names.add(statement.name);
    },
    () => {},
  );
  return names;
}

/** Variables that are assigned to. */
function assignedIn(statements: readonly Statement[]): ReadonlySet<string> {
  const names = new Set<string>();
  visitStatements(
    statements,
    (statement) => statement.kind === "assign" && names.add(statement.name),
    () => {},
  );
  return names;
}
