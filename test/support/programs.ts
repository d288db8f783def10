/**
 * Random well-typed programs as source text, with sizes and inputs for their function `main`. A program is made from a
 * list of small numbers, each a choice, so that a failing one shrinks.
 */
import fc from "fast-check";
import { tensorValue, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { elementCount } from "../../compiler/types/shape.js";
import { numbers } from "./packed.js";
import {
  expression,
  reduction,
  tame,
  type Bounded,
  type Index,
  type Known,
  type Size,
  type ExpressionState,
} from "./program-expressions.js";

/** A program, and what to call its function `main` with. */
export interface ProgramCase {
  readonly source: string;
  readonly sizes: Readonly<Record<string, number>>;
  readonly inputs: ReadonlyMap<string, TensorValue>;
}

export interface ProgramOptions {
  /**
   * exact: floats are small integers, and every op gives the same bits everywhere. smooth: continuous ops only, of any
   * values.
   */
  readonly values: "exact" | "smooth";
}

const indexNames = { T: "t", N: "n", K: "k" } as const;
const awkwardSizes = [1, 3, 2, 5, 4, 8, 7, 16, 17, 9, 33] as const;
const multiplesOfFour = [4, 8, 12, 20, 32, 36] as const;

/** Random programs. Printed as their source where a property fails. */
export function programCases(options: ProgramOptions): fc.Arbitrary<ProgramCase> {
  return fc
    .record({ choices: fc.array(fc.nat(255), { minLength: 20, maxLength: 400, size: "max" }), seed: fc.nat(0xffff) })
    .map(({ choices, seed }) => {
      const made = new Writer(choices, seed, options).program();
      return { ...made, [fc.toStringMethod]: () => `${made.source}${JSON.stringify(made.sizes)} seed ${seed}` };
    });
}

/** Helper functions that every program has: of elements, of whole tensors, with two results, with a constraint. */
const helpers = `fn clip(x: f32, limit: f32) -> f32 {
  return max(min(x, limit), -limit)
}

fn shifted(x: f32[A, B], offset: i32) -> f32[A, B] {
  return y where y[a, b] = x[a, b - offset] for a in 0 .. A, b in 0 .. B
}

fn extremes(x: f32[A, B]) -> f32[A], f32[A] {
  let low[a] = min[b] x[a, b]
  return low, high where high[a] = max[b] x[a, b]
}

fn pairs(x: f32[A, B]) -> f32[A, B / 2] where B % 2 == 0 {
  return y where y[a, p] = x[a, 2 * p] - x[a, 2 * p + 1] for p in 0 .. B / 2
}

fn linear(x: f32[A, B], w: f32[C, B] as F) -> f32[A, C] {
  return y where y[a, c] = sum[b] x[a, b] * w[c, b]
}
`;

class Writer {
  readonly #choices: readonly number[];
  #position = 0;
  readonly #seed: number;
  readonly #exact: boolean;
  readonly #extents: Readonly<Record<Size, number>>;
  readonly #known: Known[] = [];
  readonly #lines: string[] = [];
  #count = 0;
  /** Whether K % 4 == 0. */
  readonly #fours: boolean;

  constructor(choices: readonly number[], seed: number, options: ProgramOptions) {
    this.#choices = choices;
    this.#seed = seed;
    this.#exact = options.values === "exact";
    this.#fours = this.#choose(2) === 1;
    this.#extents = {
      T: this.#pick(awkwardSizes),
      N: this.#pick(awkwardSizes),
      K: this.#fours ? this.#pick(multiplesOfFour) : this.#pick(awkwardSizes),
    };
  }

  program(): ProgramCase {
    const parameters: string[] = [];
    const inputs = new Map<string, TensorValue>();
    const input = (name: string, dtype: Dtype, shape: readonly Size[], type: string): void => {
      parameters.push(`${name}: ${type}`);
      const extents = shape.map((size) => this.#extents[size]);
      const values = Array.from(numbers(elementCount(extents), this.#seed + parameters.length), (value) =>
        dtype === "bool" ? Number(value > 0) : this.#exact || dtype !== "f32" ? Math.round(3 * value) : 2 * value,
      );
      inputs.set(name.replace("var ", ""), tensorValue(dtype, extents, values));
      this.#known.push({ name: name.replace("var ", ""), dtype, shape, peak: dtype === "bool" ? 1 : 3 });
    };
    input("x", "f32", ["T", "K"], "f32[T, K]");
    input("w", "f32", ["N", "K"], "f32[N, K]");
    input("v", "f32", ["K"], "f32[K]");
    input("p", "i32", ["T"], "i32[T]");
    input("m", "bool", ["N", "K"], "mask[N, K]");
    if (this.#choose(2) === 1) input("c", "f32", [], "f32");
    const mutable = this.#choose(3) === 2;
    if (mutable) input("var cache", "f32", ["T", "N"], "f32[T, N]");

    const steps = 1 + this.#choose(6);
    for (let at = 0; at < steps; at++) this.#statement();
    if (mutable) this.#update({ name: "cache", dtype: "f32", shape: ["T", "N"], peak: 8 });
    const results = this.#known.filter(({ name, dtype }) => /^y\d+$/.test(name) && dtype !== "bool").slice(-2);
    const last =
      results.at(-1) ??
      this.#define(["T"], "f32", (scope) => tame(this.#state, expression(this.#state, "f32", scope, 1)));
    const returned = results.length > 1 ? results : [last];
    const constraint = this.#fours ? " where K % 4 == 0" : "";
    const types = returned.map(({ dtype, shape }) => `${dtype}[${shape.join(", ")}]`).join(", ");
    const source = `${helpers}\nfn main(${parameters.join(", ")}) -> ${types}${constraint} {\n${this.#lines.map((line) => `  ${line}\n`).join("")}  return ${returned.map(({ name }) => name).join(", ")}\n}\n`;
    return { source, sizes: this.#extents, inputs };
  }

  #choose(count: number): number {
    return (this.#choices[this.#position++] ?? 0) % count;
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#choose(list.length)] as T;
  }

  get #state(): ExpressionState {
    return {
      choose: (count) => this.#choose(count),
      pick: (list) => this.#pick(list),
      exact: this.#exact,
      extents: this.#extents,
      known: this.#known,
    };
  }

  #name(): string {
    return `y${this.#count++}`;
  }

  #shape(): readonly Size[] {
    return this.#pick<readonly Size[]>([["T", "N"], ["T", "K"], ["N", "K"], ["T"], ["K"], ["N"], ["T", "N", "K"]]);
  }

  #floats(rank?: number): readonly Known[] {
    return this.#known.filter(
      ({ dtype, shape }) => dtype === "f32" && shape.length > 0 && (rank === undefined || shape.length === rank),
    );
  }

  #statement(): void {
    const matrix = this.#floats(2);
    switch (this.#choose(13)) {
      case 0:
      case 1: {
        const shape = this.#shape();
        const dtype = this.#pick(["f32", "f32", "i32"] as const);
        this.#define(shape, dtype, (scope) => tame(this.#state, expression(this.#state, dtype, scope, 2), dtype));
        return;
      }
      case 2:
      case 3: {
        const shape = this.#shape().slice(0, 2);
        this.#define(shape, "f32", (scope) => tame(this.#state, reduction(this.#state, scope)));
        return;
      }
      case 4: {
        const [x, w] = [
          this.#pick(matrix.filter(({ shape }) => shape[1] === "K")),
          this.#pick(matrix.filter(({ shape }) => shape.join() === "N,K")),
        ];
        if (x.shape[0] === "N")
          return this.#whole(`linear(${x.name}, ${w.name})`, ["N", "N"], x.peak * w.peak * this.#extents.K);
        this.#define(["T", "N"], "f32", () =>
          tame(this.#state, {
            text: `(sum[k] ${x.name}[t, k] * ${w.name}[n, k])`,
            peak: x.peak * w.peak * this.#extents.K,
          }),
        );
        return;
      }
      case 5:
        return this.#sparse();
      case 6:
      case 7: {
        const base = this.#pick(matrix);
        const name = this.#name();
        this.#lines.push(`var ${name} = ${base.name}`);
        this.#known.push({ name, dtype: "f32", shape: base.shape, peak: base.peak });
        this.#update({ ...base, name });
        return;
      }
      case 8: {
        const base = this.#pick(this.#floats(1));
        const name = this.#name();
        const index = indexNames[base.shape[0]!];
        this.#lines.push(
          `var ${name} = ${base.name}`,
          `for step in 0 .. ${1 + this.#choose(3)} {`,
          `  ${name}[${index}] = clip(${name}[${index}] + ${name}[${index} - 1] * f32(step), 4.0) for ${index} in 0 .. ${base.shape[0]}`,
          "}",
        );
        this.#known.push({ name, dtype: "f32", shape: base.shape, peak: 4 + base.peak });
        return;
      }
      case 9: {
        const base = this.#pick(matrix);
        this.#whole(`shifted(${base.name}, ${this.#choose(3) - 1})`, base.shape, base.peak);
        return;
      }
      case 10: {
        const base = this.#pick(matrix);
        const [low, high] = [this.#name(), this.#name()];
        this.#lines.push(`let ${low}, ${high} = extremes(${base.name})`);
        for (const name of [low, high])
          this.#known.push({ name, dtype: "f32", shape: base.shape.slice(0, 1), peak: base.peak });
        return;
      }
      case 11: {
        const base = matrix.findLast(({ shape }) => shape[1] === "K");
        if (!this.#fours || base === undefined) return;
        const halves = this.#name();
        this.#lines.push(`let ${halves}_half = pairs(${base.name})`);
        const row = base.shape[0]!;
        this.#lines.push(
          `let ${halves}[${indexNames[row]}] = sum[h] ${halves}_half[${indexNames[row]}, h] / ${this.#exact ? 1 : 8}.0`,
        );
        this.#known.push({ name: halves, dtype: "f32", shape: [row], peak: base.peak * this.#extents.K });
        return;
      }
      default:
        return this.#packed();
    }
  }

  #whole(text: string, shape: readonly Size[], peak: number): void {
    const name = this.#name();
    this.#lines.push(`let ${name} = ${text}`);
    this.#known.push({ name, dtype: "f32", shape, peak });
  }

  /** let y[...] = body, with the range of each index. */
  #define(shape: readonly Size[], dtype: "f32" | "i32", body: (scope: readonly Index[]) => Bounded): Known {
    const name = this.#name();
    const own = shape.map((size) => ({ name: indexNames[size], size, extent: this.#extents[size] }));
    const { text, peak } = body(own);
    this.#lines.push(
      `let ${name}[${own.map((index) => index.name).join(", ")}] = ${text} for ${own.map((index) => `${index.name} in 0 .. ${index.size}`).join(", ")}`,
    );
    const known: Known = { name, dtype, shape, peak };
    this.#known.push(known);
    return known;
  }

  /** A mask by ranking, or by a condition; and what is left of a tensor under it. */
  #sparse(): void {
    const base = this.#pick(this.#floats(2).filter(({ shape }) => shape[1] === "K"));
    const index = indexNames[base.shape[0]!];
    const mask = this.#name();
    const ranked = this.#exact && this.#fours;
    if (!ranked)
      this.#lines.push(
        `let ${mask}_keep[${index}, k] = (k + ${index}) % 3 != ${this.#choose(3)} for ${index} in 0 .. ${base.shape[0]}, k in 0 .. K`,
      );
    else
      this.#lines.push(
        this.#choose(2) === 1
          ? `let ${mask}_keep = top 2 of 4 along k in ${base.name}`
          : `let ${mask}_keep[${index}, k] = top 2 of 4 along k in abs(${base.name}[${index}, k])`,
      );
    this.#lines.push(`let ${mask} = ${base.name} where ${mask}_keep`);
    this.#known.push(
      { name: `${mask}_keep`, dtype: "bool", shape: base.shape, peak: 1 },
      { name: mask, dtype: "f32", shape: base.shape, peak: base.peak, sparse: ranked },
    );
  }

  /** A tensor packed and read again. Small integers are on every grid. */
  #packed(): void {
    const base =
      this.#floats(2).findLast(({ sparse, peak }) => sparse === true && peak < 8) ??
      this.#pick(this.#floats(2).filter(({ peak }) => peak < 8));
    const name = this.#name();
    if (base.sparse === true && this.#choose(2) === 1)
      this.#lines.push(`let ${name}_packed = pack ${base.name} as nm(2, 4) of f16`);
    else if (!this.#exact || this.#choose(2) === 1) this.#lines.push(`let ${name}_packed = pack ${base.name} as f32`);
    else {
      this.#lines.push(`let ${name}_one[i, j] = 1.0 for i in 0 .. ${base.shape[0]}, j in 0 .. 1`);
      this.#lines.push(
        `let ${name}_packed = pack ${base.name} as ${this.#pick(["int4(channel)", "int8(channel)"])} with scale ${name}_one`,
      );
    }
    const use = this.#choose(3);
    if (use === 2 && base.shape[1] === "K") {
      this.#lines.push(`let ${name} = linear(x, ${name}_packed)`);
      this.#known.push({ name, dtype: "f32", shape: ["T", base.shape[0]!], peak: 3 * base.peak * this.#extents.K });
    } else if (use === 1) this.#lines.push(`let ${name} = unpack ${name}_packed`);
    else {
      const [i, j] = base.shape.map((size) => indexNames[size]);
      const at = i === j ? ["a", "b"] : [i, j];
      this.#lines.push(`let ${name}[${at.join(", ")}] = ${name}_packed[${at.join(", ")}] + 1.0`);
    }
    if (!(use === 2 && base.shape[1] === "K"))
      this.#known.push({ name, dtype: "f32", shape: base.shape, peak: base.peak + 1 });
  }

  /** Changes a tensor of rank 2 in place: all of it, a part, shifted, or many times at one place. */
  #update(base: Known): void {
    const own: readonly Index[] = base.shape.map((size, axis) => ({
      name: ["i", "j"][axis] ?? "l",
      size,
      extent: this.#extents[size],
    }));
    const body = tame(this.#state, expression(this.#state, "f32", own, 1));
    const op = this.#pick(["=", "+=", "-="]);
    const ranges = (low: number): string => own.map((index) => `${index.name} in ${low} .. ${index.size}`).join(", ");
    switch (this.#choose(op === "=" ? 3 : 5)) {
      case 0:
        this.#lines.push(`${base.name}[i, j] ${op} ${body.text} for ${ranges(0)}`);
        break;
      case 1:
        this.#lines.push(`${base.name}[i, j - 1] ${op} ${body.text} for ${ranges(1)}`);
        break;
      case 2:
        this.#lines.push(`${base.name}[i, j + 1] ${op} ${body.text} for ${ranges(0)}`);
        break;
      // many on one place
      case 3:
        this.#lines.push(`${base.name}[i, j % 2] ${op} clip(${body.text}, 1.0) for ${ranges(0)}`);
        break;
      default:
        this.#lines.push(`${base.name}[i, 0] ${op} clip(${body.text}, 1.0) for ${ranges(0)}`);
        break;
    }
    const at = this.#known.findIndex(({ name }) => name === base.name);
    const known = this.#known[at];
    if (known !== undefined)
      this.#known[at] = {
        name: known.name,
        dtype: "f32",
        shape: known.shape,
        peak: known.peak + Math.max(body.peak, base.shape[1] === undefined ? 1 : this.#extents[base.shape[1]]),
      };
  }
}
