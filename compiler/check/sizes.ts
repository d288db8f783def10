import type { Constraint } from "../graph/graph.js";
import { divisibilityFacts } from "../graph/graph.js";
import {
  addSizes,
  constantSize,
  divides,
  multiplySizes,
  printSize,
  sameSize,
  sizeSymbols,
  sizeValue,
  substituteSize,
  subtractSizes,
  symbolSize,
  type Atom,
  type Size,
} from "../types/size.js";

/**
 * What can be proved of sizes from the constraints of a function. Every size symbol is at least 1.
 * The method: `K` becomes `G * (K / G) + K % G` wherever `K / G` occurs, each symbol becomes its least value plus
 * something not negative, and a polynomial without negative coefficients is then not negative.
 */

/** The size with the equalities among the constraints applied, and `(K / G) * G` made `K` where `K % G == 0`. */
function simplifySize(size: Size, constraints: readonly Constraint[]): Size {
  let result = size;
  const facts = divisibilityFacts({ constraints });
  for (const constraint of constraints) {
    if (constraint.kind !== "equal") continue;
    for (const [from, to] of [
      [constraint.left, constraint.right],
      [constraint.right, constraint.left],
    ] as const) {
      const name = soleSymbol(from);
      if (name === null || sizeSymbols(to).has(name)) continue;
      result = substituteSize(result, (symbol) => (symbol === name ? to : null), facts);
      break;
    }
  }
  return substituteSize(result, () => null, facts);
}

/** Whether two sizes are equal for every binding that satisfies the constraints. */
export function equalSizes(a: Size, b: Size, constraints: readonly Constraint[]): boolean {
  if (sameSize(a, b)) return true;
  const [x, y] = [simplifySize(a, constraints), simplifySize(b, constraints)];
  return sameSize(x, y) || expand(subtractSizes(x, y), constraints).size.terms.length === 0;
}

/** Whether a size is at least 0 for every binding that satisfies the constraints. */
export function notNegative(
  size: Size,
  constraints: readonly Constraint[],
  outer: ReadonlyMap<string, number> = new Map(),
): boolean {
  const value = sizeValue(size);
  if (value !== null) return value >= 0;
  const { size: expanded, least: own } = expand(simplifySize(size, constraints), constraints);
  const least = new Map([...outer, ...own]);
  let shifted = constantSize(0);
  for (const term of expanded.terms) {
    let product = constantSize(term.coefficient);
    for (const atom of term.factors) {
      const low = leastOf(atom, least, constraints);
      if (low === null) return false;
      product = multiplySizes(product, addSizes(symbolSize(atomName(atom)), constantSize(low)));
    }
    shifted = addSizes(shifted, product);
  }
  return shifted.terms.every((term) => term.coefficient > 0);
}

/** Whether a constraint follows from others. */
export function provable(
  constraint: Pick<Constraint, "kind" | "left" | "right">,
  constraints: readonly Constraint[],
): boolean {
  const { kind, left, right } = constraint;
  if (kind === "equal") return equalSizes(left, right, constraints);
  if (kind === "at-least")
    return (
      notNegative(subtractSizes(left, right), constraints) ||
      constraints.some(
        (known) =>
          known.kind === "at-least" &&
          notNegative(subtractSizes(left, known.left), constraints) &&
          notNegative(subtractSizes(known.right, right), constraints),
      )
    );
  const facts = divisibilityFacts({ constraints });
  return (
    divides(left, right, facts) || divides(simplifySize(left, constraints), simplifySize(right, constraints), facts)
  );
}

/** Whether a constraint is false whatever the sizes are. */
export function refutable(constraint: Pick<Constraint, "kind" | "left" | "right">): boolean {
  const [left, right] = [sizeValue(constraint.left), sizeValue(constraint.right)];
  if (left === null || right === null) return false;
  switch (constraint.kind) {
    case "equal":
      return left !== right;
    case "at-least":
      return left < right;
    case "divides":
      return right === 0 || left % right !== 0;
    default:
      return constraint.kind satisfies never;
  }
}

/** The name of a size that is one symbol, else null. */
export function soleSymbol(size: Size): string | null {
  const [term, ...rest] = size.terms;
  const [factor, ...others] = term?.factors ?? [];
  return rest.length === 0 && others.length === 0 && term?.coefficient === 1 && factor?.kind === "symbol"
    ? factor.name
    : null;
}

/** A constraint as it is written in source. */
export function printConstraint(constraint: Pick<Constraint, "kind" | "left" | "right">): string {
  const left = printSize(constraint.left);
  switch (constraint.kind) {
    case "equal":
      return `${left} == ${printSize(constraint.right)}`;
    case "at-least":
      return `${left} >= ${printSize(constraint.right)}`;
    case "divides":
      return `${printFactor(constraint.left)} % ${printFactor(constraint.right)} == 0`;
    default:
      return constraint.kind satisfies never;
  }
}

function printFactor(size: Size): string {
  const text = printSize(size);
  return size.terms.length > 1 ||
    (size.terms[0]?.factors.length ?? 0) + (Math.abs(size.terms[0]?.coefficient ?? 1) === 1 ? 0 : 1) > 1
    ? `(${text})`
    : text;
}

function isPositive(
  size: Size,
  constraints: readonly Constraint[],
  least: ReadonlyMap<string, number> = new Map(),
): boolean {
  return notNegative(subtractSizes(size, constantSize(1)), constraints, least);
}

/**
 * A size over independent symbols: quotients of a symbol are symbols of their own, `least` says what each is at least.
 */
function expand(
  size: Size,
  constraints: readonly Constraint[],
): { readonly size: Size; readonly least: ReadonlyMap<string, number> } {
  const facts = divisibilityFacts({ constraints });
  const least = new Map<string, number>();
  const done = new Set<string>();
  let result = size;
  // each round takes one symbol K apart; K / G may itself have been made of others, so rounds go on until none is left
  for (let round = 0; round < 8; round++) {
    const quotient = atomsOf(result).find((atom) => {
      if (atom.kind === "symbol") return false;
      const name = soleSymbol(atom.numerator);
      return (
        name !== null &&
        !done.has(name) &&
        !sizeSymbols(atom.denominator).has(name) &&
        isPositive(atom.denominator, constraints)
      );
    });
    if (quotient === undefined || quotient.kind === "symbol") break;
    const name = soleSymbol(quotient.numerator) ?? "";
    const exact = divides(quotient.numerator, quotient.denominator, facts);
    const part = `(${name} / ${printSize(quotient.denominator)})`;
    least.set(part, exact ? 1 : 0);
    let whole = multiplySizes(quotient.denominator, symbolSize(part));
    if (!exact) {
      const rest = `(${name} % ${printSize(quotient.denominator)})`;
      least.set(rest, 0);
      whole = addSizes(whole, symbolSize(rest));
    }
    done.add(name);
    // the quotient itself first: where there is a rest, G * (K / G) + K % G divided by G would not come out as K / G
    const key = printSize({ terms: [{ coefficient: 1, factors: [quotient] }] });
    result = replaceAtoms(result, (atom) => {
      if (printSize({ terms: [{ coefficient: 1, factors: [atom] }] }) === key)
        return symbolSize(quotient.kind === "quotient" ? part : `(${name} % ${printSize(quotient.denominator)})`);
      return null;
    });
    result = substituteSize(result, (symbol) => (symbol === name ? whole : null), facts);
  }
  return { size: result, least };
}

function replaceAtoms(size: Size, replace: (atom: Atom) => Size | null): Size {
  let sum = constantSize(0);
  for (const term of size.terms) {
    let product = constantSize(term.coefficient);
    for (const atom of term.factors)
      product = multiplySizes(product, replace(atom) ?? { terms: [{ coefficient: 1, factors: [atom] }] });
    sum = addSizes(sum, product);
  }
  return sum;
}

/** Every atom of a size, the inner ones of quotients too, inner first. */
function atomsOf(size: Size): readonly Atom[] {
  return size.terms.flatMap((term) =>
    term.factors.flatMap((atom) =>
      atom.kind === "symbol" ? [atom] : [...atomsOf(atom.numerator), ...atomsOf(atom.denominator), atom],
    ),
  );
}

function atomName(atom: Atom): string {
  return atom.kind === "symbol" ? atom.name : printSize({ terms: [{ coefficient: 1, factors: [atom] }] });
}

/** What an atom is at least; null where nothing is known. */
function leastOf(atom: Atom, least: ReadonlyMap<string, number>, constraints: readonly Constraint[]): number | null {
  if (atom.kind !== "symbol") {
    if (!isPositive(atom.denominator, constraints, least)) return null;
    return atom.kind === "remainder" || notNegative(atom.numerator, constraints, least) ? 0 : null;
  }
  let low = least.get(atom.name) ?? 1;
  for (const constraint of constraints) {
    const bound = sizeValue(constraint.right);
    if (constraint.kind === "at-least" && bound !== null && soleSymbol(constraint.left) === atom.name)
      low = Math.max(low, bound);
  }
  return low;
}
