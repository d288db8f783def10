/**
 * What a program does not look at may hold anything: memory that nobody wrote does. The three ways of computing a graph
 * are given NaN there, or integers far out of any range, so that a kernel that reads more than the program says shows.
 */
import { allEqns } from "../../compiler/graph/eqn.js";
import { evaluate, type TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph, ValueId } from "../../compiler/graph/graph.js";
import type { Dtype } from "../../compiler/types/dtype.js";
import { elementCount } from "../../compiler/types/shape.js";
import { poisonWord } from "../../runtime/run/poison.js";

/** What an element of these bits is. */
export function poisonOf(dtype: Dtype): number {
  return dtype === "f32" || dtype === "f16" ? NaN : dtype === "bool" ? 1 : poisonWord;
}

/** Memory that nobody wrote, of so many bytes, a multiple of 4. */
export function unwritten(bytes: number): ArrayBuffer {
  return new Uint32Array(bytes / 4).fill(poisonWord).buffer;
}

/** What a graph gives, and the inputs with poison for the elements of dense tensors that have no part in it. */
export interface Evaluated {
  readonly inputs: ReadonlyMap<string, TensorValue>;
  readonly outputs: ReadonlyMap<string, TensorValue>;
}

/**
 * Evaluates a graph, watching what it reads. An element of an input that ends up in an output as it was given has a
 * part in nothing else, and is poison there, too.
 */
export function evaluateUnread(graph: ConcreteGraph, inputs: ReadonlyMap<string, TensorValue>): Evaluated {
  const read = new Map<ValueId, Uint8Array>();
  const replaced = new Map<ValueId, Uint8Array>();
  const marksOf = (marks: Map<ValueId, Uint8Array>, value: ValueId): Uint8Array => {
    const known = marks.get(value) ?? new Uint8Array(elementCount(graph.values[value]!.type.shape));
    marks.set(value, known);
    return known;
  };
  const outputs = evaluate(graph, inputs, {
    reads: (value, offset) => (marksOf(read, value)[offset] = 1),
    replaces: (value, offset) => (marksOf(replaced, value)[offset] = 1),
  });

  let changed = false;
  /** What is read of `to` is read of `from`, of which it is a copy but for what was replaced. */
  const pass = (from: ValueId, to: ValueId, but: Uint8Array | null): void => {
    const [source, copy] = [marksOf(read, from), marksOf(read, to)];
    copy.forEach((mark, at) => {
      if (mark === 0 || source[at] !== 0 || (but !== null && but[at] !== 0)) return;
      source[at] = 1;
      changed = true;
    });
  };
  const whole = (value: ValueId): void => void marksOf(read, value).fill(1);
  const eqns = [...allEqns(graph.eqns)].reverse();
  const inScan = new Set(graph.eqns.flatMap((eqn) => (eqn.kind === "scan" ? allEqns(eqn.body) : [])));
  for (const eqn of eqns) {
    if (eqn.kind === "top") whole(eqn.score);
    if (eqn.kind === "pack") for (const id of [eqn.source, eqn.scale, eqn.zero]) if (id !== null) whole(id);
    if (eqn.kind === "plus") for (const id of [eqn.packed, eqn.left, eqn.right]) whole(id);
    if (eqn.kind === "factorize") {
      const size = graph.values[eqn.source]!.type.shape[0]!;
      const marks = marksOf(read, eqn.source);
      marks.forEach((_, at) => {
        if (at % size <= Math.floor(at / size)) marks[at] = 1;
      });
    }
  }
  do {
    changed = false;
    for (const eqn of eqns) {
      // a step replaces other elements than the next does
      if (eqn.kind === "update")
        pass(eqn.base, eqn.out, eqn.op === "add" || inScan.has(eqn) ? null : marksOf(replaced, eqn.out));
      if (eqn.kind !== "scan") continue;
      for (const state of eqn.states) {
        pass(state.after, state.before, null);
        pass(state.after, state.out, null);
        pass(state.initial, state.before, null);
        pass(state.initial, state.out, null);
      }
    }
  } while (changed);

  const given = new Map(inputs);
  for (const input of graph.inputs) {
    const { type } = graph.values[input.value]!;
    const value = inputs.get(input.name);
    const marks = marksOf(read, input.value);
    if (value === undefined || type.format !== null || type.shape.length === 0 || !marks.includes(0)) continue;
    const data = value.data.slice();
    marks.forEach((mark, at) => {
      if (mark === 0) data[at] = poisonOf(type.dtype);
    });
    given.set(input.name, { ...value, data });
  }
  if ([...given].every(([name, value]) => value === inputs.get(name))) return { inputs, outputs };

  // again, for what goes into outputs as it was given; nothing else may have changed
  const again = evaluate(graph, given);
  for (const { name, value } of graph.outputs) {
    const [before, after] = [outputs.get(name)!.data, again.get(name)!.data];
    const poison = poisonOf(graph.values[value]!.type.dtype);
    const passes = comesFromInput(graph, value);
    after.forEach((element: number, at: number) => {
      if (!Object.is(element, before[at]) && !(passes && Object.is(element, poison)))
        throw new Error(`element ${at} of ${name} is ${element}, and was ${before[at]} before the unread was poisoned`);
    });
  }
  return { inputs: given, outputs: again };
}

/** Whether a value is an input that updates have changed in places. */
function comesFromInput(graph: ConcreteGraph, value: ValueId): boolean {
  if (graph.inputs.some((input) => input.value === value)) return true;
  return graph.eqns.some((eqn) =>
    eqn.kind === "update"
      ? eqn.out === value && comesFromInput(graph, eqn.base)
      : eqn.kind === "scan" && eqn.states.some((state) => state.out === value && comesFromInput(graph, state.initial)),
  );
}
