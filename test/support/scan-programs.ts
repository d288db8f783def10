/** Programs with a scan over columns, drawn by fast-check: near what can be run in blocks, on both sides. */
import fc from "fast-check";

export interface ScanProgram {
  /** A function `main`. */
  readonly source: string;
  readonly sizes: Readonly<Record<string, number>>;
}

/** States: w by columns, s by groups of columns, c a number a row. */
const types = { w: "f32[N, K]", s: "f32[N, S]", c: "f32[N]" } as const;
type State = keyof typeof types;

export function scanPrograms(): fc.Arbitrary<ScanProgram> {
  return fc.array(fc.nat(255), { minLength: 20, maxLength: 200, size: "max" }).map((choices) => {
    const made = new Writer(choices).program();
    return { ...made, [fc.toStringMethod]: () => `${made.source}${JSON.stringify(made.sizes)}` };
  });
}

/** Writes a program by numbers that decide each choice; when they are used up, by the first of each. */
class Writer {
  readonly #choices: readonly number[];
  #at = 0;
  readonly #changed = new Set<State>();
  readonly #values: string[] = [];
  #names = 0;
  #group = 2;

  constructor(choices: readonly number[]) {
    this.#choices = choices;
  }

  #pick<T>(...of: readonly T[]): T {
    return of[(this.#choices[this.#at++] ?? 0) % of.length]!;
  }

  program(): ScanProgram {
    const columns = this.#pick(9, 7, 12, 13, 5, 1);
    this.#group = this.#pick(2, 3, 4);
    const from = this.#pick("0", "0", "1", String(this.#group));
    const to = this.#pick("K", "K", "K - 1", "K / 2");
    const steps = Array.from({ length: this.#pick(2, 3, 4, 1, 5) }, () => this.#statement());
    if (this.#changed.size === 0)
      steps.push(this.#write("w", "k", "=", this.#values.length === 0 ? "0.5" : `${this.#values.at(-1)}[n]`, ""));
    const states = [...this.#changed];
    const source = `fn main(w0: f32[N, K], s0: f32[N, S], c0: f32[N], u: f32[K, K], d: f32[N, K], p: mask[N, K], ids: i32[N, K]) -> ${states.map((state) => types[state]).join(", ")} {
  var w = w0
  var s = s0
  var c = c0
  scan k in ${from} .. ${to} {
    ${steps.join("\n    ")}
  }
  return ${states.join(", ")}
}
`;
    return { source, sizes: { N: this.#pick(2, 1, 3, 5), K: columns, S: Math.ceil(columns / this.#group) + 1 } };
  }

  #statement(): string {
    const kind = this.#pick(
      "value",
      "column",
      "trailing",
      "window",
      "trailing",
      "scale",
      "carried",
      "sum",
      "histogram",
    );
    switch (kind) {
      case "value": {
        const name = `v${this.#names++}`;
        const text = `let ${name}[n] = ${this.#expression(null, 2)} for n in 0 .. N`;
        this.#values.push(name);
        return text;
      }
      case "column":
        return this.#write(
          "w",
          this.#column(null),
          this.#pick("=", "+=", "-="),
          `tanh(${this.#expression(null, 2)})`,
          "",
        );
      case "trailing": {
        const low = this.#pick("k", "k + 1", `k / ${this.#group} * ${this.#group} + ${this.#group}`);
        const product = `${this.#expression(null, 1)} * u[k, j]${this.#pick("", " * u[j, j]", " / (2.0 + d[n, j])")}`;
        const kept = this.#pick(product, `select(p[n, j], ${product}, 0.0)`, `d[n, j] * ${product}`);
        const op = this.#pick("-=", "+=", "=");
        return this.#write(
          "w",
          "j",
          op,
          op === "=" ? `w[n, j] - ${kept}` : kept,
          `, j in ${low} .. ${this.#pick("K", "K", "K - 1")}`,
        );
      }
      case "window":
        return this.#write(
          "w",
          "j",
          this.#pick("=", "+=", "-="),
          `tanh(${this.#expression("j", 2)})`,
          `, j in ${this.#window()}`,
        );
      case "scale":
        return this.#write("s", `k / ${this.#group}`, this.#pick("=", "+="), `tanh(${this.#expression(null, 2)})`, "");
      case "carried":
        return this.#write("c", null, this.#pick("=", "+="), `tanh(${this.#expression(null, 2)})`, "");
      // several that fall on one element
      case "sum":
        return this.#pick(
          () => this.#write("c", null, "+=", `tanh(${this.#expression("j", 1)})`, `, j in ${this.#window()}`),
          () => this.#write("w", "j / 2", "+=", `tanh(${this.#expression("j", 1)})`, `, j in ${this.#window()}`),
        )();
      case "histogram":
        return this.#write("w", "ids[n, j] % 4", "+=", `tanh(${this.#expression("j", 1)})`, `, j in ${this.#window()}`);
      default:
        return kind satisfies never;
    }
  }

  #write(state: State, at: string | null, op: string, body: string, more: string): string {
    this.#changed.add(state);
    return `${state}[n${at === null ? "" : `, ${at}`}] ${op} ${body} for n in 0 .. N${more}`;
  }

  #column(j: string | null): string {
    const g = this.#group;
    return this.#pick(
      j ?? "k",
      "k",
      `k / ${g} * ${g}`,
      `k / ${g} * ${g} + ${g - 1}`,
      `k - k % ${g}`,
      "k + 1",
      "k - 1",
      "K - 1 - k",
      `(k + 1) / ${g} * ${g}`,
      `(k - ${2 * g}) / ${g} * ${g} + ${2 * g}`,
      `k % ${g} + k / ${g} * ${g}`,
    );
  }

  #window(): string {
    const g = this.#group;
    return this.#pick(
      `k .. select(k % ${g} == 0, k + ${g}, k)`,
      `k / ${g} * ${g} .. k / ${g} * ${g} + ${g}`,
      "k .. k + 1",
      `k / ${g} * ${g} .. k`,
      `k .. k / ${g} * ${g} + ${g}`,
      "k .. K",
      "0 .. k",
      "0 .. k + 1",
      "k + 1 .. min(k + 3, K)",
      "0 .. K",
    );
  }

  #expression(j: string | null, depth: number): string {
    const inner = (): string => this.#expression(j, depth - 1);
    const kind = depth === 0 ? "atom" : this.#pick("atom", "sum", "product", "select", "reduce");
    switch (kind) {
      case "atom":
        return this.#atom(j);
      case "sum":
        return `(${inner()} + ${inner()}) * 0.5`;
      case "product":
        return `tanh(${inner()}) * tanh(${inner()})`;
      case "select":
        return `select(${this.#pick(`k % ${this.#group} == 0`, "k < 3", `p[n, ${j ?? "k"}]`)}, ${inner()}, ${this.#pick("0.0", "0.5")})`;
      case "reduce": {
        const index = `i${this.#names++}`;
        return `(${this.#pick("sum", "mean", "sum")}[${index} in ${this.#window()}] w[n, ${index}] * u[k, ${index}]) * 0.5`;
      }
      default:
        return kind satisfies never;
    }
  }

  #atom(j: string | null): string {
    const value = this.#values.length === 0 ? "0.5" : `${this.#pick(...this.#values)}[n]`;
    return this.#pick(
      `w[n, ${this.#column(j)}]`,
      value,
      `w[n, ${this.#column(j)}]`,
      `s[n, k / ${this.#group}]`,
      "c[n]",
      `u[k, ${j ?? "k"}]`,
      `d[n, ${j ?? "k"}]`,
      "0.25",
    );
  }
}
