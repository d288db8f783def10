/** Holds the three ways of computing a graph to each other: graph evaluator, kernel evaluator, device. */
import { lowerConcrete, type CompileOptions, type Stages } from "../../compiler/compile.js";
import type { TensorValue } from "../../compiler/graph/evaluate.js";
import type { ConcreteGraph } from "../../compiler/graph/graph.js";
import { printGraph } from "../../compiler/graph/print.js";
import type { Target } from "../../compiler/target.js";
import type { Machine } from "./device-stages.js";
import { evaluateStages } from "./stages.js";
import { difference, type ToleranceKind } from "./tolerance.js";
import { evaluateUnread, type Evaluated } from "./unread.js";

/** A graph with its inputs, and how closely results must agree. */
export interface Case {
  readonly graph: ConcreteGraph;
  readonly inputs: ReadonlyMap<string, TensorValue>;
  /** Words of packed inputs. */
  readonly words?: ReadonlyMap<string, Uint32Array>;
  readonly kind: ToleranceKind;
}

/** A device of the kernel evaluator: a target, and the subgroup size that it turns out to have. */
export interface Simulated {
  readonly target: Target;
  readonly subgroupSize: number;
}

/** What the graph evaluator gives, and the inputs for the other two, with poison where nothing is read. */
export function expectedOf({ graph, inputs }: Case): Evaluated {
  return evaluateUnread(graph, inputs);
}

/** Compiles for a simulated device and holds the kernel evaluator to what is expected; gives the stages. */
export function agreeSimulated(
  given: Case,
  expected: Evaluated,
  { target, subgroupSize }: Simulated,
  options: CompileOptions = {},
): Stages {
  const stages = lowerConcrete(given.graph, target, options);
  compare(
    expected.outputs,
    evaluateStages(stages, expected.inputs, given.words, subgroupSize),
    given.kind,
    stages,
    `kernel evaluator, ${target.name}, subgroups of ${subgroupSize}, ${JSON.stringify(options)}`,
  );
  return stages;
}

/** Compiles for the device and holds it to what is expected; gives the stages. */
export async function agreeOnDevice(
  given: Case,
  expected: Evaluated,
  machine: Machine,
  options: CompileOptions = {},
): Promise<Stages> {
  const stages = lowerConcrete(given.graph, machine.target, options);
  compare(
    expected.outputs,
    await machine.run(stages, expected.inputs, given.words),
    given.kind,
    stages,
    `${machine.target.name}, ${JSON.stringify(options)}`,
  );
  return stages;
}

/** Names of the schedules of all kernels, in order. */
export function schedulesOf(stages: Stages): readonly string[] {
  return stages.kernels.flat().map(({ origin }) => origin.schedule);
}

function compare(
  expected: ReadonlyMap<string, TensorValue>,
  actual: ReadonlyMap<string, TensorValue>,
  kind: ToleranceKind,
  stages: Stages,
  what: string,
): void {
  if ([...actual.keys()].join() !== [...expected.keys()].join())
    throw new Error(`${what}: outputs ${[...actual.keys()].join()}, expected ${[...expected.keys()].join()}`);
  for (const [name, value] of expected) {
    const got = actual.get(name)!;
    const found =
      got.shape.join() !== value.shape.join()
        ? `shape [${got.shape.join()}], expected [${value.shape.join()}]`
        : difference(got.data, value.data, kind);
    if (found !== null)
      throw new Error(
        `${what}: ${name}: ${found}\nschedules: ${schedulesOf(stages).join(" ")}\n${printGraph(stages.fused)}`,
      );
  }
}
