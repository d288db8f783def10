/** Random expressions of elements as source text, each with a bound on its magnitude: what `programs.ts` writes. */
import type { Dtype } from "../../compiler/types/dtype.js";

export type Size = "T" | "N" | "K";

/** A tensor in scope; of a packed one elements are f32. */
export interface Known {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly Size[];
  /** Bound on the magnitude of its elements. */
  readonly peak: number;
  /** Whether its pattern is 2:4 along K. */
  readonly sparse?: boolean;
}

export interface Bounded {
  readonly text: string;
  readonly peak: number;
}

/** An index in scope with what it runs below. */
export interface Index {
  readonly name: string;
  readonly size: Size | null;
  readonly extent: number;
}

/** What an expression may be made of, and the choices that decide. */
export interface ExpressionState {
  choose(count: number): number;
  pick<T>(list: readonly T[]): T;
  readonly exact: boolean;
  readonly extents: Readonly<Record<Size, number>>;
  /** Grows with each statement. */
  readonly known: readonly Known[];
}

export function reduction(state: ExpressionState, own: readonly Index[]): Bounded {
  const size = state.pick<Size>(["K", "N", "T"]);
  const name = `r${state.choose(2)}`;
  const extent = state.extents[size];
  const outer = own.at(-1)!;
  const high = state.pick([
    `${size}`,
    `${size}`,
    `min(${outer.name} + 1, ${size})`,
    state.exact && own.some((index) => index.size === "T") ? `p[t]` : `${size}`,
  ]);
  const index: Index = { name, size: high === size ? size : null, extent };
  const over = `${name} in ${state.choose(4) === 3 ? 1 : 0} .. ${high}`;
  const second: Index | null = state.choose(4) === 3 ? { name: "s", size: null, extent: 3 } : null;
  const scope = [...own, index, ...(second === null ? [] : [second])];
  const ranges = second === null ? over : `${over}, s in 0 .. ${state.choose(2) === 1 ? 3 : `min(${name}, 3)`}`;
  const length = extent * (second === null ? 1 : 3);
  const op = state.pick(
    state.exact
      ? (["sum", "max", "min", "any", "all", "count", "argmax"] as const)
      : (["sum", "mean", "max", "min"] as const),
  );
  const float = (depth: number): Bounded => expression(state, "f32", scope, depth);
  switch (op) {
    case "sum":
    case "mean": {
      const body = float(2);
      return { text: `(${op}[${ranges}] (${body.text}))`, peak: body.peak * (op === "sum" ? length : 1) };
    }
    case "max":
    case "min": {
      const integer = state.exact && state.choose(2) === 1;
      const body = integer ? expression(state, "i32", scope, 1) : float(1);
      // a range may be empty: what is large or infinite then is cut off
      const cut = `max(min(${op}[${ranges}] (${body.text}), ${integer ? "100" : "100.0"}), ${integer ? "-100" : "-100.0"})`;
      return { text: integer ? `f32(${cut})` : cut, peak: 100 };
    }
    case "any":
    case "all":
      return { text: `select(${op}[${ranges}] (${condition(state, scope, 1)}), 1.0, 0.0)`, peak: 1 };
    case "count":
      return { text: `f32(count[${ranges}] (${condition(state, scope, 1)}))`, peak: length };
    case "argmax":
      return {
        text: `f32(argmax[${over}] (${expression(state, state.pick(["f32", "i32"]), [...own, index], 1).text}))`,
        peak: extent,
      };
    default:
      return op satisfies never;
  }
}

export function expression(
  state: ExpressionState,
  dtype: "f32" | "i32",
  scope: readonly Index[],
  depth: number,
): Bounded {
  if (depth === 0 || state.choose(5) === 4) return leaf(state, dtype, scope);
  const a = expression(state, dtype, scope, depth - 1);
  if (state.choose(3) === 2) return transformed(state, dtype, a);
  const b = expression(state, dtype, scope, depth - 1);
  switch (state.choose(7)) {
    case 0:
      return { text: `(${a.text} * ${b.text})`, peak: a.peak * b.peak };
    case 1:
      return { text: `(${a.text} + ${b.text})`, peak: a.peak + b.peak };
    case 2:
      return { text: `(${a.text} - ${b.text})`, peak: a.peak + b.peak };
    case 3:
      return { text: `min(${a.text}, ${b.text})`, peak: Math.max(a.peak, b.peak) };
    case 4:
      return { text: `max(${a.text}, ${b.text})`, peak: Math.max(a.peak, b.peak) };
    case 5:
      return { text: `select(${condition(state, scope, 0)}, ${a.text}, ${b.text})`, peak: Math.max(a.peak, b.peak) };
    default:
      return { text: `(${a.text} where (${condition(state, scope, 0)}))`, peak: a.peak };
  }
}

function transformed(state: ExpressionState, dtype: "f32" | "i32", a: Bounded): Bounded {
  const with_ = (text: string, peak = a.peak): Bounded => ({ text, peak });
  if (dtype === "i32")
    return state.pick([
      with_(`abs(${a.text})`),
      with_(`(${a.text} % 3)`, 2),
      with_(`(${a.text} / 2)`),
      with_(`bit_and(${a.text}, 7)`, 7),
      with_(`i32(shift_right(u32(abs(${a.text})), 1))`),
    ]);
  if (state.exact)
    return state.pick([
      with_(`abs(${a.text})`),
      with_(`(-${a.text})`),
      with_(`round(${a.text} / 2.0)`),
      with_(`f32(i32(${a.text}))`),
      with_(`floor(${a.text})`),
      with_(`clip(${a.text}, 2.0)`, 2),
      a.peak > 64 ? a : with_(`(${a.text})^2`, a.peak ** 2),
      with_(`sign(${a.text})`, 1),
    ]);
  return state.pick([
    with_(`abs(${a.text})`),
    with_(`exp(-abs(${a.text}))`, 1),
    with_(`sqrt(abs(${a.text}) + 1.0)`, a.peak + 1),
    with_(`rsqrt(abs(${a.text}) + 1.0)`, 1),
    with_(`tanh(${a.text})`, 1),
    with_(`(${a.text} / (abs(${a.text}) + 1.0))`, 1),
    with_(`clip(${a.text}, 2.0)`, 2),
    with_(`log(abs(${a.text}) + 1.0)`, Math.log(a.peak + 1)),
  ]);
}

/** Of integers, or of what is exact: nothing that rounding could turn. */
function condition(state: ExpressionState, scope: readonly Index[], depth: number): string {
  const op = state.pick(["<", ">=", "==", "!=", "<=", ">"]);
  const dtype = state.exact ? state.pick(["f32", "i32"] as const) : "i32";
  const compared = `${expression(state, dtype, scope, depth).text} ${op} ${leaf(state, dtype, scope).text}`;
  const mask = state.known.findLast(
    (known) => known.dtype === "bool" && known.shape.every((size) => scope.some((index) => index.size === size)),
  );
  switch (state.choose(5)) {
    case 0:
      return `not (${compared})`;
    case 1:
      return mask === undefined
        ? compared
        : `${mask.name}[${mask.shape.map((size) => scope.find((index) => index.size === size)!.name).join(", ")}] ${state.pick(["and", "or"])} (${compared})`;
    default:
      return compared;
  }
}

function leaf(state: ExpressionState, dtype: "f32" | "i32", scope: readonly Index[]): Bounded {
  const kind = state.choose(6);
  const index = state.pick(scope);
  if (kind === 5) return { text: dtype === "i32" ? `i32(${state.choose(4)})` : `${state.choose(4)}.0`, peak: 3 };
  if (dtype === "i32" && kind > 1)
    return kind === 2 && index.size !== null
      ? { text: index.size, peak: index.extent }
      : { text: index.name, peak: index.extent };
  const sources = state.known.filter((known) => known.dtype === dtype);
  const source = state.choose(2) === 1 ? sources.at(-1)! : state.pick(sources);
  if (source.shape.length === 0) return { text: source.name, peak: source.peak };
  const at = source.shape.map((size) => {
    const fitting = scope.filter((each) => each.size === size);
    if (fitting.length > 0 && state.choose(6) < 5) return state.pick(fitting).name;
    const some = state.pick(scope).name;
    return state.pick([`${some} % ${size}`, some, `${some} - 1`, `(2 * ${some} + 1) % ${size}`, "0"]);
  });
  return { text: `${source.name}[${at.join(", ")}]`, peak: source.peak };
}

/** Keeps a value small enough that what follows stays exact, or finite. */
export function tame(state: ExpressionState, { text, peak }: Bounded, dtype: "f32" | "i32" = "f32"): Bounded {
  if (peak <= 8) return { text, peak };
  if (dtype === "i32") return { text: `max(min(${text}, 4), -4)`, peak: 4 };
  return state.exact
    ? { text: `clip(${text}, 4.0)`, peak: 4 }
    : { text: `${text} / ${2 ** Math.ceil(Math.log2(peak / 4))}.0`, peak: 4 };
}
