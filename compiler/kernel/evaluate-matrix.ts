/** Operations on matrices, by the evaluator: each subgroup has its own, and its first invocation does the work. */
import { InternalError } from "../diagnostic.js";
import { f16FromBits, f32Bits } from "../float.js";
import type { Compiler, Together } from "./evaluate-expr.js";
import type { Frame } from "./evaluate-ops.js";
import { matrixSize, width } from "./kernel.js";
import type { SharedMemory } from "./memory.js";
import type { MatrixStatement } from "./walk.js";

/** The matrices of a kernel's subgroups. */
export class Matrices {
  /** By name, then by the subgroup's index in its workgroup. */
  readonly #values = new Map<string, Map<number, Float64Array>>();

  constructor(
    readonly compiler: Compiler,
    readonly shared: SharedMemory,
  ) {}

  /** The statement, for the invocations that come by. */
  step(s: MatrixStatement): Together {
    const each = this.#effect(s);
    const group = this.compiler.builtins["subgroup_index"];
    return (active) => {
      const done = new Set<number>();
      for (const frame of active) {
        const index = frame[group] ?? 0;
        if (!done.has(index)) each(frame, index);
        done.add(index);
      }
    };
  }

  #effect(s: MatrixStatement): (frame: Frame, group: number) => void {
    const { compiler, shared } = this;
    const local = compiler.builtins.local_index;
    switch (s.kind) {
      case "matrix":
        return (_, group) => {
          this.#of(s.name).set(group, new Float64Array(matrixSize * matrixSize));
        };
      case "load_matrix": {
        const memory = this.#halves(s.array);
        const [index, stride] = [compiler.scalar(s.index), compiler.scalar(s.stride)];
        return (frame, group) => {
          const [start, pitch] = [index(frame) * memory.each, stride(frame) * memory.each];
          this.#of(s.name).set(
            group,
            Float64Array.from({ length: matrixSize * matrixSize }, (_, at) => {
              const [row, column] = [Math.floor(at / matrixSize), at % matrixSize];
              return memory.load(start + (s.columns ? column * pitch + row : row * pitch + column), frame[local] ?? 0);
            }),
          );
        };
      }
      case "multiply_matrices":
        return (_, group) => {
          const [result, left, right] = [this.#at(s.result, group), this.#at(s.left, group), this.#at(s.right, group)];
          for (let row = 0; row < matrixSize; row++)
            for (let column = 0; column < matrixSize; column++) {
              let sum = result[row * matrixSize + column]!;
              for (let k = 0; k < matrixSize; k++) sum += left[row * matrixSize + k]! * right[k * matrixSize + column]!;
              result[row * matrixSize + column] = Math.fround(sum);
            }
        };
      case "store_matrix": {
        const memory = shared.array(s.array);
        const bits = shared.components(s.array) > 1;
        const [index, stride] = [compiler.scalar(s.index), compiler.scalar(s.stride)];
        return (frame, group) => {
          const each = bits ? 4 : 1;
          const [start, pitch] = [index(frame) * each, stride(frame) * each];
          this.#at(s.name, group).forEach((value, at) => {
            const [row, column] = [Math.floor(at / matrixSize), at % matrixSize];
            const place = start + (s.columns ? column * pitch + row : row * pitch + column);
            const who = frame[local] ?? 0;
            if (bits) memory.store(place >>> 2, place & 3, f32Bits(value), who);
            else memory.store(place, 0, value, who);
          });
        };
      }
      default:
        return s satisfies never;
    }
  }

  /** Workgroup memory or a buffer as f16: how many an element holds, and the one at a place. */
  #halves(name: string): { readonly each: number; load(place: number, invocation: number): number } {
    const buffer = this.compiler.kernel.buffers.find((each) => each.name === name);
    const memory = buffer === undefined ? this.shared.array(name) : this.compiler.memories.get(name)!;
    if ((buffer === undefined ? this.shared.components(name) : width(buffer.element)) === 1)
      return { each: 1, load: (place, invocation) => memory.load(place, 0, invocation) };
    return {
      each: 8,
      load: (place, invocation) => {
        const word = memory.load(place >>> 3, (place >>> 1) & 3, invocation);
        return f16FromBits((word >>> (16 * (place & 1))) & 0xffff);
      },
    };
  }

  #of(name: string): Map<number, Float64Array> {
    const known = this.#values.get(name) ?? new Map<number, Float64Array>();
    this.#values.set(name, known);
    return known;
  }

  #at(name: string, group: number): Float64Array {
    const found = this.#of(name).get(group);
    if (found === undefined) throw new InternalError(`the matrix ${name} has no value in subgroup ${group}`);
    return found;
  }
}
