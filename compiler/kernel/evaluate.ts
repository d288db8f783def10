/**
 * The plain meaning of a kernel: runs a whole dispatch on the CPU, and is stricter than any device. It throws on
 * indices out of range, on reads of workgroup memory that was never written, on races between invocations, and on
 * barriers or subgroup operations that not all invocations reach.
 *
 * Statements without barriers and subgroup operations run one invocation after the other; those with them run for all
 * invocations together, step by step.
 */
import { InternalError } from "../diagnostic.js";
import type { Kernel, Statement } from "./kernel.js";
import { Compiler, type Effect, type Together } from "./evaluate-expr.js";
import type { Frame } from "./evaluate-ops.js";
import { Matrices } from "./evaluate-matrix.js";
import { bufferMemory, SharedMemory, type BufferMemory } from "./memory.js";
import { hasBarrier, hasSubgroupCall, invocations, synchronises } from "./walk.js";

export { KernelFault } from "./memory.js";

export interface EvaluateOptions {
  /** Invocations a subgroup; they follow one another in `local_index`. 4 by default. */
  readonly subgroupSize?: number;
}

/**
 * Runs the kernel's whole dispatch over `buffers`, the memory of each tensor by its name, which it overwrites as the
 * kernel says. `parameters` gives each of the kernel's parameters.
 * @throws KernelFault naming the kernel, the memory and the index, when the kernel does what no kernel may
 */
export function evaluateKernel(
  kernel: Kernel,
  buffers: ReadonlyMap<string, ArrayBuffer>,
  parameters: Readonly<Record<string, number>> = {},
  options: EvaluateOptions = {},
): void {
  const subgroupSize = options.subgroupSize ?? 4;
  const count = invocations(kernel);
  const memories = new Map<string, BufferMemory>();
  for (const buffer of kernel.buffers) {
    const bytes = buffers.get(buffer.tensor);
    if (bytes === undefined)
      throw new InternalError(`kernel ${kernel.name}: no memory was given for tensor ${buffer.tensor}`);
    memories.set(buffer.name, bufferMemory(kernel.name, buffer, bytes));
  }
  const shared = new SharedMemory(kernel);
  const compiler = new Compiler(kernel, memories, shared, parameters, subgroupSize);
  const run = new Blocks(kernel, compiler, shared).together(kernel.body);
  const frames = Array.from({ length: count }, () => new Float64Array(compiler.slots));
  const [sizeX, sizeY, sizeZ] = kernel.workgroupSize;
  const [countX, countY, countZ] = kernel.workgroups;
  const s = compiler.builtins;
  for (let z = 0; z < countZ; z++)
    for (let y = 0; y < countY; y++)
      for (let x = 0; x < countX; x++) {
        shared.nextWorkgroup();
        const workgroup = (z * countY + y) * countX + x;
        frames.forEach((frame, index) => {
          const localX = index % sizeX;
          const localY = Math.floor(index / sizeX) % sizeY;
          const localZ = Math.floor(index / (sizeX * sizeY));
          frame[s.invocation] = workgroup * count + index;
          frame[s["local_index"]] = index;
          frame[s["local_id.x"]] = localX;
          frame[s["local_id.y"]] = localY;
          frame[s["local_id.z"]] = localZ;
          frame[s["workgroup_id.x"]] = x;
          frame[s["workgroup_id.y"]] = y;
          frame[s["workgroup_id.z"]] = z;
          frame[s["global_id.x"]] = x * sizeX + localX;
          frame[s["global_id.y"]] = y * sizeY + localY;
          frame[s["global_id.z"]] = z * sizeZ + localZ;
          frame[s["subgroup_lane"]] = index % subgroupSize;
          frame[s["subgroup_index"]] = Math.floor(index / subgroupSize);
          frame[s["subgroup_size"]] = subgroupSize;
        });
        run(frames);
      }
}

/** Compiles blocks: to effects of one invocation, or of all that are active, together. */
class Blocks {
  readonly matrices: Matrices;

  constructor(
    readonly kernel: Kernel,
    readonly compiler: Compiler,
    readonly shared: SharedMemory,
  ) {
    this.matrices = new Matrices(compiler, shared);
  }

  /** For all active invocations, in step. */
  together(statements: readonly Statement[]): Together {
    const steps: Together[] = [];
    let alone: Statement[] = [];
    const flush = (): void => {
      if (alone.length === 0) return;
      const effect = this.each(alone);
      steps.push((active) => {
        for (const frame of active) effect(frame);
      });
      alone = [];
    };
    for (const s of statements) {
      if (!synchronises(s)) {
        alone.push(s);
        continue;
      }
      flush();
      steps.push(this.#joined(s));
    }
    flush();
    return (active) => {
      for (const step of steps) step(active);
    };
  }

  /** For one invocation. */
  each(statements: readonly Statement[]): Effect {
    const effects = statements.map((s) => this.#effect(s));
    const [first, second] = effects;
    if (first === undefined) return () => undefined;
    if (second === undefined) return first;
    return (frame) => {
      for (let i = 0; i < effects.length; i++) effects[i]!(frame);
    };
  }

  #effect(s: Statement): Effect {
    const { compiler } = this;
    switch (s.kind) {
      case "for": {
        const from = compiler.scalar(s.from);
        const slot = compiler.define(s.name, s.type);
        const to = compiler.scalar(s.to);
        const step = compiler.scalar(s.step);
        const body = this.each(s.body);
        return (frame) => {
          for (let i = from(frame); i < to(frame); i += step(frame)) {
            frame[slot] = i;
            body(frame);
          }
        };
      }
      case "if": {
        const condition = compiler.scalar(s.condition);
        const then = this.each(s.then);
        const otherwise = this.each(s.otherwise);
        return (frame) => (condition(frame) !== 0 ? then(frame) : otherwise(frame));
      }
      case "barrier":
      case "matrix":
      case "load_matrix":
      case "multiply_matrices":
      case "store_matrix":
        throw new InternalError(`a ${s.kind} was compiled for one invocation`);
      case "let":
      case "var":
      case "assign":
      case "store":
      case "store_shared":
        return compiler.effect(s);
      default:
        return s satisfies never;
    }
  }

  /** A statement with a barrier or a subgroup operation in it. */
  #joined(s: Statement): Together {
    const { compiler, shared, kernel } = this;
    const scope = hasBarrier(s) ? "workgroup" : "subgroup";
    switch (s.kind) {
      case "barrier":
        return () => shared.nextPhase();
      case "matrix":
      case "load_matrix":
      case "multiply_matrices":
      case "store_matrix":
        return this.matrices.step(s);
      case "if": {
        const hoisted = compiler.hoisting(() => compiler.scalar(s.condition));
        const then = this.together(s.then);
        const otherwise = this.together(s.otherwise);
        return (active) => {
          hoisted.before(active);
          const yes: Frame[] = [];
          const no: Frame[] = [];
          for (const frame of active) (hoisted.value(frame) !== 0 ? yes : no).push(frame);
          if (scope === "workgroup" || blockSynchronises(s)) agree(kernel, compiler, active, yes, scope);
          if (yes.length > 0) then(yes);
          if (no.length > 0) otherwise(no);
        };
      }
      case "for": {
        if (hasSubgroupCall(s.to) || hasSubgroupCall(s.step))
          throw new InternalError(
            `kernel ${kernel.name}: a subgroup operation stands in the bound of the loop over ${s.name}`,
          );
        const from = compiler.hoisting(() => compiler.scalar(s.from));
        const slot = compiler.define(s.name, s.type);
        const to = compiler.scalar(s.to);
        const step = compiler.scalar(s.step);
        const body = this.together(s.body);
        return (all) => {
          from.before(all);
          for (const frame of all) frame[slot] = from.value(frame);
          for (let active = all; ; ) {
            const next = active.filter((frame) => (frame[slot] ?? 0) < to(frame));
            if (next.length < active.length) agree(kernel, compiler, active, next, scope);
            if (next.length === 0) return;
            active = next;
            body(active);
            for (const frame of active) frame[slot] = (frame[slot] ?? 0) + step(frame);
          }
        };
      }
      case "let":
      case "var":
      case "assign":
      case "store":
      case "store_shared": {
        const { before, value } = compiler.hoisting(() => compiler.effect(s));
        return (active) => {
          before(active);
          for (const frame of active) value(frame);
        };
      }
      default:
        return s satisfies never;
    }
  }
}

function blockSynchronises(s: Extract<Statement, { kind: "if" }>): boolean {
  return s.then.some(synchronises) || s.otherwise.some(synchronises);
}

/** Throws unless the chosen of the active invocations are all or none: of the workgroup, or of each subgroup. */
function agree(
  kernel: Kernel,
  compiler: Compiler,
  active: readonly Frame[],
  chosen: readonly Frame[],
  scope: "workgroup" | "subgroup",
): void {
  if (chosen.length === 0 || chosen.length === active.length) return;
  if (scope === "workgroup")
    throw compiler.fault(
      `kernel ${kernel.name}: only ${chosen.length} of ${active.length} invocations reach a barrier`,
    );
  const counts = new Map<number, number>();
  const group = compiler.builtins["subgroup_index"];
  for (const frame of active) counts.set(frame[group] ?? 0, (counts.get(frame[group] ?? 0) ?? 0) + 1);
  const chosenCounts = new Map<number, number>();
  for (const frame of chosen) chosenCounts.set(frame[group] ?? 0, (chosenCounts.get(frame[group] ?? 0) ?? 0) + 1);
  for (const [index, count] of chosenCounts) {
    if (count !== counts.get(index))
      throw compiler.fault(
        `kernel ${kernel.name}: only ${count} of ${counts.get(index)} invocations of subgroup ${index} reach a subgroup operation`,
      );
  }
}
