/**
 * Expressions and simple statements of a kernel as JavaScript closures over a frame of numbers, one frame an
 * invocation.
 */
import { InternalError } from "../diagnostic.js";
import { f16Bits, f16FromBits } from "../float.js";
import { binaryOf, bitsOf, fromBits, reduceLanes, unaryOf, type Evaluated, type Frame } from "./evaluate-ops.js";
import { convertScalar, roundTo } from "./fold.js";
import { elementType, width } from "./kernel.js";
import type { Builtin, Expr, Kernel, KernelFunction, KernelType, ScalarType, Statement } from "./kernel.js";
import { KernelFault, type BufferMemory, type SharedMemory } from "./memory.js";
import { isSubgroupCall } from "./walk.js";

export type Effect = (frame: Frame) => void;
export type Together = (active: readonly Frame[]) => void;

type BuiltinSlots = { readonly [Name in Builtin | "invocation"]: number };

const builtinSlots: BuiltinSlots = {
  "global_id.x": 0,
  "global_id.y": 1,
  "global_id.z": 2,
  "local_id.x": 3,
  "local_id.y": 4,
  "local_id.z": 5,
  local_index: 6,
  "workgroup_id.x": 7,
  "workgroup_id.y": 8,
  "workgroup_id.z": 9,
  subgroup_lane: 10,
  subgroup_index: 11,
  subgroup_size: 12,
  /** Unique in the dispatch. */
  invocation: 13,
};

/** What must be computed for all invocations together before `value` can be taken for each. */
export interface Hoisted<T> {
  readonly before: Together;
  readonly value: T;
}

export class Compiler {
  readonly builtins = builtinSlots;
  slots = Object.keys(builtinSlots).length;
  readonly #locals = new Map<string, number>();
  readonly #shared = new Map<string, BufferMemory>();
  /** The subgroup operations of the statement that is being compiled, and the steps that do them. */
  #hoisted: { readonly steps: Together[]; readonly done: Map<Expr, Evaluated[]> } | null = null;

  constructor(
    readonly kernel: Kernel,
    readonly memories: ReadonlyMap<string, BufferMemory>,
    shared: SharedMemory,
    readonly parameters: Readonly<Record<string, number>>,
    readonly subgroupSize: number,
  ) {
    for (const { name } of kernel.arrays) this.#shared.set(name, shared.array(name));
  }

  fault(message: string): KernelFault {
    return new KernelFault(message);
  }

  /** Slots for a new local; the first of them. */
  define(name: string, type: KernelType): number {
    const slot = this.#reserve(width(type));
    this.#locals.set(name, slot);
    return slot;
  }

  #reserve(count: number): number {
    const slot = this.slots;
    this.slots += count;
    return slot;
  }

  /** Compiles something whose subgroup operations are to be done beforehand. */
  hoisting<T>(compile: () => T): Hoisted<T> {
    const outer = this.#hoisted;
    const steps: Together[] = [];
    this.#hoisted = { steps, done: new Map() };
    const value = compile();
    this.#hoisted = outer;
    return {
      value,
      before: (active) => {
        for (const step of steps) step(active);
      },
    };
  }

  /** A statement without blocks. */
  effect(s: Extract<Statement, { kind: "let" | "var" | "assign" | "store" | "store_shared" }>): Effect {
    const values = this.components(s.value);
    const [value = () => 0] = values;
    switch (s.kind) {
      case "let":
      case "var":
      case "assign": {
        const slot = s.kind === "assign" ? this.#slotOf(s.name) : this.define(s.name, s.value.type);
        if (values.length === 1)
          return (frame) => {
            frame[slot] = value(frame);
          };
        const results = new Float64Array(values.length);
        return (frame) => {
          values.forEach((one, at) => {
            results[at] = one(frame);
          });
          frame.set(results, slot);
        };
      }
      case "store":
      case "store_shared": {
        const shared = s.kind === "store_shared";
        const memory = shared ? this.#shared.get(s.array) : this.memories.get(s.buffer);
        if (memory === undefined) throw new InternalError(`kernel ${this.kernel.name} stores to unknown memory`);
        const index = this.scalar(s.index);
        const who = shared ? builtinSlots.local_index : builtinSlots.invocation;
        if (values.length === 1) return (frame) => memory.store(index(frame), 0, value(frame), frame[who] ?? 0);
        return (frame) => {
          const offset = index(frame);
          const invocation = frame[who] ?? 0;
          // All components are taken before any is stored.
          values.map((one) => one(frame)).forEach((one, at) => memory.store(offset, at, one, invocation));
        };
      }
      default:
        return s satisfies never;
    }
  }

  #slotOf(name: string): number {
    const slot = this.#locals.get(name);
    if (slot === undefined) throw new InternalError(`kernel ${this.kernel.name} uses ${name} without defining it`);
    return slot;
  }

  /** A scalar expression. */
  scalar(a: Expr): Evaluated {
    return this.component(a, 0);
  }

  /** Each component of an expression. */
  components(a: Expr): Evaluated[] {
    if (a.kind === "call" && isSubgroupCall(a.name)) return this.#subgroup(a);
    return Array.from({ length: width(a.type) }, (_, at) => this.component(a, at));
  }

  /** Component `at` of an expression; of a scalar, the scalar itself. */
  component(a: Expr, at: number): Evaluated {
    const type = elementType(a.type);
    const one = (b: Expr): Evaluated => this.component(b, width(b.type) === 1 ? 0 : at);
    switch (a.kind) {
      case "literal": {
        const { value } = a;
        return () => value;
      }
      case "local": {
        const slot = this.#slotOf(a.name) + at;
        return (frame) => frame[slot]!;
      }
      case "builtin": {
        const slot = builtinSlots[a.name];
        return (frame) => frame[slot]!;
      }
      case "parameter": {
        const given = this.parameters[a.name];
        if (given === undefined)
          throw new InternalError(`kernel ${this.kernel.name}: parameter ${a.name} was not given`);
        const value = convertScalar(a.type, given);
        return () => value;
      }
      case "load": {
        const memory = this.memories.get(a.buffer);
        if (memory === undefined) throw new InternalError(`kernel ${this.kernel.name} has no buffer ${a.buffer}`);
        const index = this.scalar(a.index);
        return (frame) => memory.load(index(frame), at, frame[builtinSlots.invocation]!);
      }
      case "shared": {
        const memory = this.#shared.get(a.array);
        if (memory === undefined) throw new InternalError(`kernel ${this.kernel.name} has no array ${a.array}`);
        const index = this.scalar(a.index);
        return (frame) => memory.load(index(frame), at, frame[builtinSlots.local_index]!);
      }
      case "unary":
        return unaryOf(a.op, type, one(a.a));
      case "binary":
        return binaryOf(a.op, elementType(a.a.type), one(a.a), one(a.b));
      case "select": {
        const condition = one(a.condition);
        const then = one(a.then);
        const otherwise = one(a.otherwise);
        // Both are evaluated, as on a device: so that a read out of range in either shows.
        return (frame) => {
          const x = then(frame);
          const y = otherwise(frame);
          return condition(frame) !== 0 ? x : y;
        };
      }
      case "convert": {
        const value = one(a.a);
        const from = elementType(a.a.type);
        return (frame) => convertScalar(type, value(frame), from);
      }
      case "bitcast":
        return this.#bitcast(a.a, type, at);
      case "vector": {
        const part = a.parts[at];
        if (part === undefined) throw new InternalError(`component ${at} of ${a.type}`);
        return this.scalar(part);
      }
      case "component":
        return this.component(a.a, a.at);
      case "call":
        return isSubgroupCall(a.name) ? this.#subgroup(a)[at]! : this.#call(a.name, a.args, type, at);
      default:
        return a satisfies never;
    }
  }

  #bitcast(a: Expr, to: ScalarType, at: number): Evaluated {
    const from = elementType(a.type);
    const view = new DataView(new ArrayBuffer(4));
    if (to === "f16" || from === "f16") {
      if (to === from) return this.component(a, at);
      if (to === "f16") {
        const word = bitsOf(from, this.component(a, at >> 1), view);
        return (frame) => f16FromBits((word(frame) >>> (16 * (at & 1))) & 0xffff);
      }
      const low = this.component(a, 2 * at);
      const high = this.component(a, 2 * at + 1);
      return fromBits(to, (frame) => (f16Bits(low(frame)) | (f16Bits(high(frame)) << 16)) >>> 0, view);
    }
    return fromBits(to, bitsOf(from, this.component(a, at), view), view);
  }

  #call(name: KernelFunction, args: readonly Expr[], type: ScalarType, at: number): Evaluated {
    const [first, second, third] = args;
    const one = (a: Expr | undefined, component: number): Evaluated => {
      if (a === undefined) throw new InternalError(`${name} has too few arguments`);
      return this.component(a, component);
    };
    switch (name) {
      case "fma": {
        const a = one(first, at),
          b = one(second, at),
          c = one(third, at);
        return (frame) => roundTo(type, a(frame) * b(frame) + c(frame));
      }
      case "clamp": {
        const a = one(first, at),
          low = one(second, at),
          high = one(third, at);
        return (frame) => Math.min(Math.max(a(frame), low(frame)), high(frame));
      }
      case "dot": {
        const count = first === undefined ? 0 : width(first.type);
        const products = Array.from({ length: count }, (_, i) =>
          binaryOf("multiply", type, one(first, i), one(second, i)),
        );
        return (frame) => products.reduce((sum, product) => roundTo(type, sum + product(frame)), 0);
      }
      case "unpack2x16float": {
        const a = one(first, 0);
        return (frame) => f16FromBits((a(frame) >>> (16 * at)) & 0xffff);
      }
      case "pack2x16float": {
        const low = one(first, 0),
          high = one(first, 1);
        return (frame) => (f16Bits(low(frame)) | (f16Bits(high(frame)) << 16)) >>> 0;
      }
      case "dot4I8Packed": {
        const a = one(first, 0),
          b = one(second, 0);
        return (frame) => {
          const x = a(frame),
            y = b(frame);
          let sum = 0;
          for (let shift = 24; shift >= 0; shift -= 8) sum += ((x << shift) >> 24) * ((y << shift) >> 24);
          return sum;
        };
      }
      case "countOneBits": {
        const a = one(first, at);
        return (frame) => {
          let count = 0;
          for (let rest = a(frame) | 0; rest !== 0; rest &= rest - 1) count++;
          return count;
        };
      }
      case "subgroupAdd":
      case "subgroupMax":
      case "subgroupMin":
      case "subgroupBroadcastFirst":
      case "subgroupShuffle":
      case "subgroupShuffleXor":
        throw new InternalError(`${name} was compiled for one invocation`);
      default:
        return name satisfies never;
    }
  }

  /** Reserves slots for the result and has them filled beforehand, for all invocations together. */
  #subgroup(a: Extract<Expr, { kind: "call" }>): Evaluated[] {
    const hoisted = this.#hoisted;
    const done = hoisted?.done.get(a);
    if (done !== undefined) return done;
    const [argument, fromArgument] = a.args;
    if (hoisted === null || argument === undefined)
      throw new InternalError(`kernel ${this.kernel.name}: ${a.name} stands where invocations do not run together`);
    const type = elementType(a.type);
    const values = this.components(argument);
    const from = fromArgument === undefined ? null : this.scalar(fromArgument);
    const sourceOf = (lane: number, by: number): number => (a.name === "subgroupShuffle" ? by : lane ^ by);
    const slot = this.#reserve(values.length);
    const group = builtinSlots.subgroup_index;
    hoisted.steps.push((active) => {
      for (let start = 0; start < active.length; ) {
        const index = active[start]![group]!;
        let end = start;
        while (end < active.length && active[end]![group] === index) end++;
        const lanes = active.slice(start, end);
        start = end;
        values.forEach((value, at) => {
          const inputs = lanes.map((frame) => value(frame));
          lanes.forEach((frame, lane) => {
            frame[slot + at] = from === null ? 0 : this.#shuffled(inputs, lane, sourceOf(lane, from(frame)), a.name);
          });
          if (from !== null) return;
          const result = reduceLanes(a.name, type, inputs);
          for (const frame of lanes) frame[slot + at] = result;
        });
      }
    });
    const results = values.map((_, at) => (frame: Frame) => frame[slot + at]!);
    hoisted.done.set(a, results);
    return results;
  }

  #shuffled(inputs: readonly number[], lane: number, source: number, name: string): number {
    const value = inputs[source];
    if (value === undefined)
      throw this.fault(`kernel ${this.kernel.name}: ${name} in lane ${lane} reads lane ${source}, which is not active`);
    return value;
  }
}
