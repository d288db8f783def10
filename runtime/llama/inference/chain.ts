/** Calls that are linked to one program, bound once and replayed: for a pass that is made again and again. */
import type { SymbolicGraph } from "../../../compiler/graph/graph.js";
import type { RowOrder } from "../../../compiler/types/row-order.js";
import { linkPrograms, type Link } from "../../../compiler/plan/link.js";
import type { Scratch } from "../../run/memory.js";
import type { DeviceTensor, Prepared, TensorForm } from "../../run/run.js";
import type { Arena } from "../../run/arena.js";
import type { Arguments, Caller, Extra } from "../call.js";
import { inOrder } from "../interleave.js";

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

/** Begins a chain; the arena owns what it has on the device, but for what lies in a scratch. */
export function createChain(arena: Arena, caller: Caller, name: string, scratch: Scratch | null = null): Chain {
  const { executor } = caller;
  const links: Link[] = [];
  const inputs = new Map<string, Given>();
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
    const whole = `given ${number}${order === undefined ? "" : ` by ${order.rows} rows of ${order.columns}`}`;
    inputs.set(whole, { tensor: argument, order });
    return whole;
  }

  function add(
    called: string,
    { program }: Prepared,
    args: Arguments<ChainValue | DeviceTensor>,
  ): readonly ChainValue[] {
    const at = links.length;
    const names = Object.fromEntries(
      Object.entries(args).map(([parameter, argument]) => [
        parameter,
        nameOf(parameter, argument, program.inputs.find((input) => input.name === parameter)?.order),
      ]),
    );
    // the final state of a `var` parameter is the tensor that was given for it
    const results = program.outputs.filter((output) => !program.inputs.some(({ buffer }) => buffer === output.buffer));
    const values = results.map(({ name: own, dtype, shape, format }): ChainValue => {
      const whole = `${at} ${called} ${own}`;
      names[own] = whole;
      return { name: whole, dtype, shape, format };
    });
    links.push({ program, names });
    return values;
  }

  return {
    functions: caller.functions,
    call: async (called, args, extra) => add(called, await caller.prepared(called, args, extra), args),
    callGraph: async (graph, args, extra) => add(graph.name, await caller.preparedGraph(graph, args, extra), args),
    async empty(form, label) {
      const tensor = arena.own(await executor.allocate(form, label));
      return { ...form, name: nameOf(label, tensor) };
    },
    release: () => {},
    async bind(keep, into = new Map<ChainValue, DeviceTensor>()) {
      const names = [...keep, ...into.keys()].map((value) => value.name);
      const program = linkPrograms(name, links, names);
      const given = Object.fromEntries(
        await Promise.all(
          [...inputs].map(
            async ([whole, { tensor, order }]) =>
              [whole, order === undefined ? tensor : await inOrder(caller, tensor, order)] as const,
          ),
        ),
      );
      const outputs = Object.fromEntries([...into].map(([value, tensor]) => [value.name, tensor]));
      const bound = await executor.bind(await executor.prepare(program), given, scalars, outputs, scratch);
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
