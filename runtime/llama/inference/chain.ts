/** Calls that are linked to one program, bound once and replayed: for a pass that is made again and again. */
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import { rowOrderText, type RowOrder } from "../../../compiler/types/row-order.js";
import { linkPrograms, type Link } from "../../../compiler/plan/link.js";
import type { Program } from "../../../compiler/plan/program.js";
import { shareGroups } from "../../../compiler/plan/share-groups.js";
import type { Scratch } from "../../run/memory.js";
import type { DeviceTensor, TensorForm } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Arguments, Caller, Extra } from "../call.js";
import { allInOrder } from "../interleave.js";

/** Where calls go: to the device at once, or into a program that is linked of them. */
export interface Calls<T extends TensorForm> {
  /** Those of the caller. */
  readonly functions: Caller["functions"];
  /** As `Caller.call`. */
  call(name: string, args: Arguments<T | DeviceTensor>, extra?: Extra): Promise<readonly T[]>;
  /** As `Caller.callGraph`. */
  callGraph(graph: SymbolicGraph, args: Arguments<T | DeviceTensor>, extra?: Extra): Promise<readonly T[]>;
  /** A tensor that is written before it is read. */
  empty(form: TensorForm, label: string): Promise<T>;
  /** For a result that is not needed any more. */
  release(value: T): void;
}

/** Calls that run at once; the arena owns their results. */
export function callsIn(arena: Arena, caller: Caller): Calls<DeviceTensor> {
  return {
    functions: caller.functions,
    call: async (name, args, extra) => arena.ownAll(await caller.call(name, args, extra)),
    callGraph: async (graph, args, extra) => arena.ownAll(await caller.callGraph(graph, args, extra)),
    empty: async (form, label) => arena.own(await caller.executor.allocate(form, label)),
    release: (value) => arena.release(value),
  };
}

/** A tensor between the calls of a chain. */
export interface ChainValue extends TensorForm {
  /** What it is called in the program that is linked. */
  readonly name: string;
}

/** Calls that are recorded. Device tensors among their arguments are what the program is bound to. */
export interface Chain extends Calls<ChainValue> {
  /**
   * The program of all calls, bound, for as long as the arena of the chain lives. Its outputs are `keep` by their
   * names, and what is to lie `into` a tensor of the caller's.
   * @throws DeviceError
   */
  bind(keep: readonly ChainValue[], into?: ReadonlyMap<ChainValue, DeviceTensor>): Promise<BoundChain>;
}

export interface BoundChain {
  /** The tensor that a value kept has, the same at every replay. */
  tensor(value: ChainValue): DeviceTensor;
  /** Records a run. */
  replay(): void;
  readonly dispatches: number;
}

/** Memory that chains share which run one after the other, for as long as the arena lives. */
export function createScratch(arena: Arena, caller: Caller): Scratch {
  const scratch: Scratch = { buffers: [] };
  arena.defer(() => caller.executor.discard(scratch));
  return scratch;
}

/** A tensor that a chain is bound to, and the order of its rows that a program wants. */
interface Given {
  readonly tensor: DeviceTensor;
  readonly order: RowOrder | undefined;
}

/** A call of a chain. Its program is another where weights turn out to have no room in the order that it wants. */
interface Recorded {
  program: Program;
  readonly compile: () => Program;
  readonly args: Arguments<ChainValue | DeviceTensor>;
  /** What its results are called in the whole. */
  readonly results: Readonly<Record<string, string>>;
}

/** A chain as one program, and what it is given by the names in it. */
interface Linked {
  readonly program: Program;
  readonly given: ReadonlyMap<string, Given>;
}

/** Begins a chain; the arena owns what it has on the device, but for what lies in a scratch. */
export function createChain(arena: Arena, caller: Caller, name: string, scratch: Scratch | null = null): Chain {
  const { executor } = caller;
  const calls: Recorded[] = [];
  const empties = new Map<DeviceTensor, string>();
  const numbers = new Map<DeviceTensor, number>();
  const scalars: Record<string, number> = {};

  const isValue = (argument: ChainValue | DeviceTensor): argument is ChainValue => !("buffer" in argument);

  function nameOf(parameter: string, argument: ChainValue | DeviceTensor | number, order?: RowOrder): string {
    if (typeof argument === "number") {
      const whole = `${parameter}=${argument}`;
      scalars[whole] = argument;
      return whole;
    }
    if (isValue(argument)) return argument.name;
    const number = numbers.get(argument) ?? numbers.size;
    numbers.set(argument, number);
    return `given ${number}${order === undefined ? "" : ` by ${rowOrderText(order)}`}`;
  }

  // compiled here, and by the device once all is linked: it is another kernel for other neighbours
  async function add(
    called: string,
    compile: () => Program,
    args: Arguments<ChainValue | DeviceTensor>,
  ): Promise<readonly ChainValue[]> {
    const program = compile();
    const at = calls.length;
    // the final state of a `var` parameter is the tensor that was given for it
    const own = program.outputs.filter((output) => !program.inputs.some(({ buffer }) => buffer === output.buffer));
    const results = own.map(({ name: result, dtype, shape, format }) => ({
      own: result,
      value: { name: `${at} ${called} ${result}`, dtype, shape, format },
    }));
    calls.push({
      program,
      compile,
      args,
      results: Object.fromEntries(results.map(({ own, value }) => [own, value.name])),
    });
    return results.map(({ value }) => value);
  }

  /** The program of all calls, and what it is given. */
  function linked(names: readonly string[]): Linked {
    const given = new Map<string, Given>();
    const links: Link[] = [];
    for (const { program, args, results } of calls) {
      const own = Object.entries(args).map(([parameter, argument]) => {
        const order = program.inputs.find((input) => input.name === parameter)?.order;
        const whole = nameOf(parameter, argument, order);
        if (typeof argument !== "number" && !isValue(argument)) given.set(whole, { tensor: argument, order });
        return [parameter, whole] as const;
      });
      links.push({ program, names: { ...Object.fromEntries(own), ...results } });
    }
    for (const [tensor, label] of empties) given.set(label, { tensor, order: undefined });
    const program = linkPrograms(name, links, names);
    // what shares its memory with others is to take little, and groups keep what they bind
    return { program: scratch === null ? shareGroups(program, caller.target.maxStorageBuffers) : program, given };
  }

  return {
    functions: caller.functions,
    call: (called, args, extra) => add(called, () => caller.program(called, args, extra), args),
    callGraph: (graph, args, extra) => add(graph.name, () => caller.programOf(graph, args, extra), args),
    async empty(form, label) {
      const tensor = arena.own(await executor.allocate(form, label));
      const whole = nameOf(label, tensor);
      empties.set(tensor, whole);
      return { ...form, name: whole };
    },
    release: () => {},
    async bind(keep, into = new Map<ChainValue, DeviceTensor>()) {
      const names = [...keep, ...into.keys()].map((value) => value.name);
      let { program, given } = linked(names);
      let tensors = await allInOrder(caller, [...given.values()]);
      if (tensors === null) {
        // no room for weights in another order: the calls are compiled for those that there are
        for (const call of calls) call.program = call.compile();
        ({ program, given } = linked(names));
        tensors = [...given.values()].map(({ tensor }) => tensor);
      }
      const inputs = Object.fromEntries([...given.keys()].map((whole, at) => [whole, tensors[at]!]));
      const outputs = Object.fromEntries([...into].map(([value, tensor]) => [value.name, tensor]));
      const bound = await executor.bind(await executor.prepare(program), inputs, scalars, outputs, scratch);
      arena.defer(() => executor.unbind(bound));
      return {
        tensor(value) {
          const tensor = bound.outputs[value.name];
          if (tensor === undefined) throw new Error(`the chain ${name} does not keep ${value.name}`);
          return tensor;
        },
        replay: () => executor.replay(bound),
        dispatches: bound.dispatches,
      };
    },
  };
}
