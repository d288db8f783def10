/** The memory that the evaluator runs on, and the rules that accesses to it must keep. */
import { f16Bits, f16FromBits } from "../float.js";
import { byteSize, elementType, width } from "./kernel.js";
import type { Kernel, KernelBuffer, ScalarType } from "./kernel.js";

/** What a kernel did that no kernel may do. */
export class KernelFault extends Error {
  constructor(message: string) {
    super(message);
    this.name = "KernelFault";
  }
}

/** Access to one scalar of a buffer or array: `element` counts elements, `at` the components of one. */
export interface BufferMemory {
  /** `invocation` is unique in the dispatch. */
  load(element: number, at: number, invocation: number): number;
  store(element: number, at: number, value: number, invocation: number): void;
}

/** Marks a scalar that several invocations have read. */
const several = 0xffffffff;

/**
 * The memory of a buffer. In a dispatch, nothing orders its invocations: what one writes no other may read or write,
 * except to write the very same value.
 */
export function bufferMemory(kernel: string, buffer: KernelBuffer, bytes: ArrayBuffer): BufferMemory {
  const { name, element, length } = buffer;
  const components = width(element);
  if (byteSize(element) * length > bytes.byteLength) {
    throw new KernelFault(
      `kernel ${kernel}: buffer ${name} has ${length} elements of ${element}, more than the ${bytes.byteLength} bytes of tensor ${buffer.tensor}`,
    );
  }
  const scalars = scalarView(elementType(element), bytes, length * components);
  const checked = (index: number, verb: string): void => {
    if (!(index >= 0 && index < length))
      throw new KernelFault(`kernel ${kernel}: ${verb} index ${index} of buffer ${name}, which has ${length} elements`);
  };
  if (buffer.access === "read") {
    return {
      load(index, at) {
        checked(index, "reads");
        return scalars.get(index * components + at);
      },
      store() {
        throw new KernelFault(`kernel ${kernel}: writes the read-only buffer ${name}`);
      },
    };
  }
  // 0: nobody; otherwise the invocation + 1.
  const writers = new Uint32Array(length * components);
  const readers = new Uint32Array(length * components);
  const race = (index: number, what: string): KernelFault =>
    new KernelFault(`kernel ${kernel}: race on buffer ${name}: ${what} element ${index}`);
  return {
    load(index, at, invocation) {
      checked(index, "reads");
      const offset = index * components + at;
      const writer = writers[offset];
      if (writer !== 0 && writer !== invocation + 1)
        throw race(index, "one invocation reads what another has written,");
      const reader = readers[offset];
      readers[offset] = reader === 0 || reader === invocation + 1 ? invocation + 1 : several;
      return scalars.get(offset);
    },
    store(index, at, value, invocation) {
      checked(index, "writes");
      const offset = index * components + at;
      const writer = writers[offset];
      const reader = readers[offset];
      const same = scalars.same(offset, value);
      if (writer !== 0 && writer !== invocation + 1 && !same)
        throw race(index, `two invocations write different values (${scalars.get(offset)} and ${value}) to`);
      if (reader !== 0 && reader !== invocation + 1 && !same)
        throw race(index, "one invocation writes what another has read,");
      writers[offset] = invocation + 1;
      scalars.set(offset, value);
    },
  };
}

/** Scalars of a type in memory. */
interface ScalarView {
  get(index: number): number;
  set(index: number, value: number): void;
  /** Whether the value there is this one; NaN is, and the zeros differ. */
  same(index: number, value: number): boolean;
}

function scalarView(type: ScalarType, bytes: ArrayBuffer, length: number): ScalarView {
  if (type === "f16") {
    const words = new Uint16Array(bytes, 0, length);
    return {
      get: (index) => f16FromBits(words[index] ?? 0),
      set: (index, value) => {
        words[index] = f16Bits(value);
      },
      same: (index, value) => words[index] === f16Bits(value),
    };
  }
  const words =
    type === "f32"
      ? new Float32Array(bytes, 0, length)
      : type === "i32"
        ? new Int32Array(bytes, 0, length)
        : new Uint32Array(bytes, 0, length);
  return {
    get: (index) => words[index] ?? 0,
    set: (index, value) => {
      words[index] = value;
    },
    same: (index, value) => Object.is(words[index], value),
  };
}

interface SharedArray {
  readonly name: string;
  readonly length: number;
  readonly components: number;
  readonly values: Float64Array;
  /** Phase of the last write and read of each scalar, and by whom in that phase. */
  readonly writtenIn: Uint32Array;
  readonly writer: Uint32Array;
  readonly readIn: Uint32Array;
  readonly reader: Uint32Array;
}

/**
 * Workgroup memory. Between two barriers, what one invocation writes no other may touch; what none has written since
 * the workgroup began may not be read.
 */
export class SharedMemory {
  readonly #kernel: string;
  readonly #arrays: ReadonlyMap<string, SharedArray>;
  /** Counts barriers and workgroups, so that nothing has to be cleared. */
  #phase = 0;
  #workgroupStart = 0;

  constructor(kernel: Kernel) {
    this.#kernel = kernel.name;
    this.#arrays = new Map(
      kernel.arrays.map(({ name, element, length }) => {
        const scalars = length * width(element);
        return [
          name,
          {
            name,
            length,
            components: width(element),
            values: new Float64Array(scalars),
            writtenIn: new Uint32Array(scalars),
            writer: new Uint32Array(scalars),
            readIn: new Uint32Array(scalars),
            reader: new Uint32Array(scalars),
          },
        ];
      }),
    );
  }

  nextWorkgroup(): void {
    this.#phase++;
    this.#workgroupStart = this.#phase;
  }

  nextPhase(): void {
    this.#phase++;
  }

  /** Scalars of an element of the array. */
  components(name: string): number {
    return this.#found(name).components;
  }

  #found(name: string): SharedArray {
    const array = this.#arrays.get(name);
    if (array === undefined) throw new KernelFault(`kernel ${this.#kernel}: no array ${name}`);
    return array;
  }

  /** The array; `invocation` of its accesses need only be unique in the workgroup. */
  array(name: string): BufferMemory {
    const { length, components, values, writtenIn, writer, readIn, reader } = this.#found(name);
    const fault = (what: string, index: number): KernelFault =>
      new KernelFault(
        `kernel ${this.#kernel}: ${what} element ${index} of array ${name}, which has ${length} elements`,
      );
    return {
      load: (index, at, invocation) => {
        if (!(index >= 0 && index < length)) throw fault("reads", index);
        const offset = index * components + at;
        const written = writtenIn[offset] ?? 0;
        if (written < this.#workgroupStart) throw fault("reads the never written", index);
        if (written === this.#phase && writer[offset] !== invocation)
          throw fault("race: without a barrier between, one invocation reads what another writes,", index);
        if (readIn[offset] !== this.#phase) {
          readIn[offset] = this.#phase;
          reader[offset] = invocation;
        } else if (reader[offset] !== invocation) {
          reader[offset] = several;
        }
        return values[offset] ?? 0;
      },
      store: (index, at, value, invocation) => {
        if (!(index >= 0 && index < length)) throw fault("writes", index);
        const offset = index * components + at;
        if (writtenIn[offset] === this.#phase && writer[offset] !== invocation)
          throw fault("race: without a barrier between, two invocations write", index);
        if (readIn[offset] === this.#phase && reader[offset] !== invocation)
          throw fault("race: without a barrier between, one invocation writes what another reads,", index);
        writtenIn[offset] = this.#phase;
        writer[offset] = invocation;
        values[offset] = value;
      },
    };
  }
}
