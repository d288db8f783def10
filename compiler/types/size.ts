/**
 * Symbolic sizes: integer polynomials over size symbols and floor divisions, in a normal form, so that two sizes are
 * equal for every binding of their symbols when they print alike. `K / G * G` is `K` only where `K % G == 0` is known.
 */

/** What a polynomial is over: a symbol, or a floor division (or remainder) that could not be simplified. */
export type Atom =
  | { readonly kind: "symbol"; readonly name: string }
  | { readonly kind: "quotient"; readonly numerator: Size; readonly denominator: Size }
  | { readonly kind: "remainder"; readonly numerator: Size; readonly denominator: Size };

/** A product of atoms (sorted by print) with an integer coefficient other than 0. */
export interface Term {
  readonly coefficient: number;
  readonly factors: readonly Atom[];
}

/** A sum of terms, sorted by print, no two with the same factors. Zero has no terms. */
export interface Size {
  readonly terms: readonly Term[];
}

/** That `numerator` is a multiple of `denominator`, as declared by `where numerator % denominator == 0`. */
export interface Divides {
  readonly numerator: Size;
  readonly denominator: Size;
}

/** The size of a known number. */
export function constantSize(value: number): Size {
  return { terms: value === 0 ? [] : [{ coefficient: value, factors: [] }] };
}

/** The size named by a symbol. */
export function symbolSize(name: string): Size {
  return { terms: [{ coefficient: 1, factors: [{ kind: "symbol", name }] }] };
}

/** The number a size is when it has no symbols, else null. */
export function sizeValue(size: Size): number | null {
  const [first, ...rest] = size.terms;
  if (first === undefined) return 0;
  return rest.length === 0 && first.factors.length === 0 ? first.coefficient : null;
}

/** a + b. */
export function addSizes(a: Size, b: Size): Size {
  if (a.terms.length === 0) return b;
  if (b.terms.length === 0) return a;
  return normal([...a.terms, ...b.terms]);
}

/** a - b. */
export function subtractSizes(a: Size, b: Size): Size {
  return addSizes(a, multiplySizes(constantSize(-1), b));
}

/** a * b. `(a / d) * d` becomes `a` where `a % d == 0` is among the facts. */
export function multiplySizes(a: Size, b: Size, facts: readonly Divides[] = []): Size {
  const exact = undone(a, b, facts) ?? undone(b, a, facts);
  if (exact !== null) return exact;
  const [x, y] = [sizeValue(a), sizeValue(b)];
  if (x !== null) return scaled(b, x);
  if (y !== null) return scaled(a, y);
  return normal(
    a.terms.flatMap((x) =>
      b.terms.map((y) => ({ coefficient: x.coefficient * y.coefficient, factors: [...x.factors, ...y.factors] })),
    ),
  );
}

/** The a of a quotient `a / d` that is multiplied by its d, where d divides a; else null. */
function undone(quotient: Size, by: Size, facts: readonly Divides[]): Size | null {
  const atom = soleAtom(quotient);
  return atom?.kind === "quotient" && sameSize(atom.denominator, by) && divides(atom.numerator, by, facts)
    ? atom.numerator
    : null;
}

/** A size a number of times. */
function scaled(size: Size, by: number): Size {
  if (by === 1) return size;
  return by === 0
    ? constantSize(0)
    : { terms: size.terms.map(({ coefficient, factors }) => ({ coefficient: coefficient * by, factors })) };
}

/** Floor of a / b: terms of a that are multiples of b come out of the division, `(K + 3 * G) / G` is `K / G + 3`. */
export function divideSizes(a: Size, b: Size): Size {
  const [x, y] = [sizeValue(a), sizeValue(b)];
  if (x !== null && y !== null && y !== 0) return constantSize(Math.floor(x / y));
  if (y === 1) return a;
  let whole = constantSize(0);
  const rest: Term[] = [];
  for (const term of a.terms) {
    const exact = exactQuotient({ terms: [term] }, b);
    if (exact === null) rest.push(term);
    else whole = addSizes(whole, exact);
  }
  if (rest.length === 0) return whole;
  const left = { terms: rest };
  const value = sizeValue(left);
  if (value !== null && y !== null && y !== 0) return addSizes(whole, constantSize(Math.floor(value / y)));
  // a divisor is at least 1, so that the floor of -1 / b is -1 whatever b is
  if (value === -1) return addSizes(whole, constantSize(-1));
  return addSizes(whole, {
    terms: [{ coefficient: 1, factors: [{ kind: "quotient", numerator: left, denominator: b }] }],
  });
}

/** a modulo b. */
export function remainderSizes(a: Size, b: Size, facts: readonly Divides[] = []): Size {
  const [x, y] = [sizeValue(a), sizeValue(b)];
  if (x !== null && y !== null && y !== 0) return constantSize(x - y * Math.floor(x / y));
  if (divides(a, b, facts)) return constantSize(0);
  return { terms: [{ coefficient: 1, factors: [{ kind: "remainder", numerator: a, denominator: b }] }] };
}

/** Whether b is known to divide a for every binding, from the form of a and the facts. */
export function divides(a: Size, b: Size, facts: readonly Divides[]): boolean {
  const [x, y] = [sizeValue(a), sizeValue(b)];
  if (y === 1) return true;
  if (x !== null && y !== null) return y !== 0 && x % y === 0;
  if (exactQuotient(a, b) !== null) return true;
  for (const fact of facts) {
    if (!sameSize(fact.numerator, a)) continue;
    if (sameSize(fact.denominator, b) || exactQuotient(fact.denominator, b) !== null) return true;
    // K % G == 0 and G % 4 == 0 give K % 4 == 0; each fact is used once, so that this ends
    if (
      divides(
        fact.denominator,
        b,
        facts.filter((other) => other !== fact),
      )
    )
      return true;
  }
  // a sum is divisible where each term is: K + 2*G by G, given K % G == 0
  if (a.terms.length > 1) return a.terms.every((term) => divides({ terms: [term] }, b, facts));
  // a product where one factor is: N * K by G, given K % G == 0
  const [term] = a.terms;
  if (term === undefined || term.factors.length + (Math.abs(term.coefficient) === 1 ? 0 : 1) < 2) return false;
  return term.factors.some((factor) => divides({ terms: [{ coefficient: 1, factors: [factor] }] }, b, facts));
}

/** Whether two sizes are equal for every binding of their symbols (as far as the normal form knows). */
export function sameSize(a: Size, b: Size): boolean {
  return (
    a === b ||
    (a.terms.length === b.terms.length &&
      a.terms.every((term, at) => {
        const other = b.terms[at];
        return (
          other !== undefined && term.coefficient === other.coefficient && sameFactors(term.factors, other.factors)
        );
      }))
  );
}

function sameFactors(a: readonly Atom[], b: readonly Atom[]): boolean {
  return (
    a.length === b.length &&
    a.every((atom, at) => {
      const other = b[at];
      return other !== undefined && sameAtom(atom, other);
    })
  );
}

function sameAtom(a: Atom, b: Atom): boolean {
  if (a.kind === "symbol") return b.kind === "symbol" && a.name === b.name;
  return a.kind === b.kind && sameSize(a.numerator, b.numerator) && sameSize(a.denominator, b.denominator);
}

/** The size with its symbols replaced; a symbol that `bind` does not know stays. */
export function substituteSize(
  size: Size,
  bind: (symbol: string) => Size | null,
  facts: readonly Divides[] = [],
): Size {
  if (size.terms.every(({ factors }) => factors.every((atom) => atom.kind === "symbol" && bind(atom.name) === null)))
    return size;
  let sum = constantSize(0);
  for (const term of size.terms) {
    let product = constantSize(term.coefficient);
    for (const atom of term.factors) product = multiplySizes(product, substituteAtom(atom, bind, facts), facts);
    sum = addSizes(sum, product);
  }
  return sum;
}

/** The symbols that a size mentions. */
export function sizeSymbols(size: Size): ReadonlySet<string> {
  const names = new Set<string>();
  for (const term of size.terms) {
    for (const atom of term.factors) {
      if (atom.kind === "symbol") names.add(atom.name);
      else
        for (const inner of [atom.numerator, atom.denominator]) for (const name of sizeSymbols(inner)) names.add(name);
    }
  }
  return names;
}

/** The size as it is written in source. */
export function printSize(size: Size): string {
  if (size.terms.length === 0) return "0";
  return size.terms.map((term, at) => printTerm(term, at === 0)).join("");
}

function printTerm(term: Term, first: boolean): string {
  const sign = term.coefficient < 0 ? (first ? "-" : " - ") : first ? "" : " + ";
  const magnitude = Math.abs(term.coefficient);
  const factors = term.factors.map(printAtom);
  return sign + [...(magnitude === 1 && factors.length > 0 ? [] : [String(magnitude)]), ...factors].join(" * ");
}

function printAtom(atom: Atom): string {
  if (atom.kind === "symbol") return atom.name;
  const wrap = (size: Size): string =>
    size.terms.length > 1 || (size.terms[0]?.factors.length ?? 0) > 1 ? `(${printSize(size)})` : printSize(size);
  return `(${wrap(atom.numerator)} ${atom.kind === "quotient" ? "/" : "%"} ${wrap(atom.denominator)})`;
}

function substituteAtom(atom: Atom, bind: (symbol: string) => Size | null, facts: readonly Divides[]): Size {
  if (atom.kind === "symbol") return bind(atom.name) ?? symbolSize(atom.name);
  const numerator = substituteSize(atom.numerator, bind, facts);
  const denominator = substituteSize(atom.denominator, bind, facts);
  return atom.kind === "quotient" ? divideSizes(numerator, denominator) : remainderSizes(numerator, denominator, facts);
}

function soleAtom(size: Size): Atom | null {
  const [term, ...rest] = size.terms;
  return term !== undefined && rest.length === 0 && term.coefficient === 1 && term.factors.length === 1
    ? (term.factors[0] ?? null)
    : null;
}

/** a / b where b is one term that divides every term of a, else null. */
function exactQuotient(a: Size, b: Size): Size | null {
  const [divisor, ...rest] = b.terms;
  if (divisor === undefined || rest.length > 0) return null;
  const terms: Term[] = [];
  for (const term of a.terms) {
    if (term.coefficient % divisor.coefficient !== 0) return null;
    const factors = [...term.factors];
    for (const atom of divisor.factors) {
      const at = factors.findIndex((candidate) => sameAtom(candidate, atom));
      if (at < 0) return null;
      factors.splice(at, 1);
    }
    terms.push({ coefficient: term.coefficient / divisor.coefficient, factors });
  }
  return normal(terms);
}

function normal(terms: readonly Term[]): Size {
  const sums = new Map<string, Term>();
  for (const term of terms) {
    const printed = term.factors.map((atom) => ({ atom, text: printAtom(atom) }));
    if (printed.length > 1) printed.sort((a, b) => (a.text < b.text ? -1 : 1));
    const factors = printed.map(({ atom }) => atom);
    const key = printed.map(({ text }) => text).join("*");
    const coefficient = (sums.get(key)?.coefficient ?? 0) + term.coefficient;
    sums.set(key, { coefficient, factors });
  }
  return {
    terms: [...sums]
      .filter(([, term]) => term.coefficient !== 0)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([, term]) => term),
  };
}
