import fc from "fast-check";
import {
  addSizes,
  constantSize,
  divideSizes,
  multiplySizes,
  remainderSizes,
  subtractSizes,
  symbolSize,
  type Atom,
  type Size,
} from "../../compiler/types/size.js";

/** What the symbols are; each is at least 1. */
export type SizeBinding = Readonly<Record<string, number>>;

/**
 * A size with the expression that it was made from, as a function of its symbols; null where that divides by less than
 * 1.
 */
export interface Written {
  readonly size: Size;
  readonly value: (binding: SizeBinding) => number | null;
}

/** Names of the symbols in generated sizes. */
export const symbols = ["N", "K", "G"] as const;

/** Values of the symbols: small, with 1 and values that divide each other often. */
export const bindingOf: fc.Arbitrary<SizeBinding> = fc.record({
  N: fc.integer({ min: 1, max: 12 }),
  K: fc.integer({ min: 1, max: 24 }),
  G: fc.integer({ min: 1, max: 8 }),
});

const floor = (a: number, b: number): number | null => (b < 1 ? null : Math.floor(a / b));
const modulo = (a: number, b: number): number | null => (b < 1 ? null : a - b * Math.floor(a / b));

function both(a: Written, b: Written, size: Size, combine: (x: number, y: number) => number | null): Written {
  return {
    size,
    value: (binding) => {
      const [x, y] = [a.value(binding), b.value(binding)];
      return x === null || y === null ? null : combine(x, y);
    },
  };
}

const leaf: fc.Arbitrary<Written> = fc.oneof(
  fc
    .constantFrom(...symbols)
    .map((name): Written => ({ size: symbolSize(name), value: (binding) => binding[name] ?? null })),
  fc.integer({ min: -3, max: 8 }).map((value): Written => ({ size: constantSize(value), value: () => value })),
);

const positive: fc.Arbitrary<Written> = fc.oneof(
  fc
    .constantFrom(...symbols)
    .map((name): Written => ({ size: symbolSize(name), value: (binding) => binding[name] ?? null })),
  fc.integer({ min: 1, max: 8 }).map((value): Written => ({ size: constantSize(value), value: () => value })),
  fc.tuple(fc.constantFrom(...symbols), fc.integer({ min: 1, max: 4 })).map(
    ([name, factor]): Written => ({
      size: multiplySizes(constantSize(factor), symbolSize(name)),
      value: (binding) => factor * (binding[name] ?? 1),
    }),
  ),
);

/** Sizes up to a few operations deep. Divisors are symbols or positive constants, as in programs. */
export const sizes: fc.Arbitrary<Written> = fc.letrec<{ size: Written }>((tie) => ({
  size: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    leaf,
    fc.tuple(tie("size"), tie("size")).map(([a, b]) => both(a, b, addSizes(a.size, b.size), (x, y) => x + y)),
    fc.tuple(tie("size"), tie("size")).map(([a, b]) => both(a, b, subtractSizes(a.size, b.size), (x, y) => x - y)),
    fc.tuple(tie("size"), tie("size")).map(([a, b]) => both(a, b, multiplySizes(a.size, b.size), (x, y) => x * y)),
    fc.tuple(tie("size"), positive).map(([a, b]) => both(a, b, divideSizes(a.size, b.size), floor)),
    fc.tuple(tie("size"), positive).map(([a, b]) => both(a, b, remainderSizes(a.size, b.size), modulo)),
  ),
})).size;

/** The number that a size is; symbols must all be bound. */
export function valueOf(size: Size, binding: SizeBinding): number {
  return size.terms.reduce(
    (sum, term) => sum + term.factors.reduce((product, atom) => product * atomValue(atom, binding), term.coefficient),
    0,
  );
}

function atomValue(atom: Atom, binding: SizeBinding): number {
  if (atom.kind === "symbol") return binding[atom.name] ?? NaN;
  const [a, b] = [valueOf(atom.numerator, binding), valueOf(atom.denominator, binding)];
  return atom.kind === "quotient" ? Math.floor(a / b) : a - b * Math.floor(a / b);
}
