/**
 * Which values are the same for all invocations of a workgroup, or of a subgroup, and whether barriers and subgroup
 * operations stand where all of them come by. As strict as WGSL for barriers; for subgroup operations it is enough
 * that the invocations of each subgroup agree.
 */
import type { Expr, Kernel, Statement } from "./kernel.js";
import { hasSubgroupCall, isSubgroupCall, operands } from "./walk.js";

/** How far a value agrees: over the workgroup (2), over each subgroup (1), not at all (0). */
type Uniformity = 0 | 1 | 2;

const workgroup = 2;
const subgroup = 1;

/** What is wrong with the places of barriers and subgroup operations: full sentences, empty if nothing is. */
export function uniformityFaults(kernel: Kernel): readonly string[] {
  const faults = new Set<string>();
  const writable = new Set(
    kernel.buffers.filter((buffer) => buffer.access === "read_write").map((buffer) => buffer.name),
  );
  /** Uniformity of `let`s, `var`s and loop variables. They only ever fall, so loops settle. */
  const locals = new Map<string, Uniformity>();

  const lowest = (...values: readonly Uniformity[]): Uniformity => Math.min(workgroup, ...values) as Uniformity;

  function uniformityOf(a: Expr, flow: Uniformity): Uniformity {
    switch (a.kind) {
      case "literal":
      case "parameter":
        return workgroup;
      case "local":
        return locals.get(a.name) ?? workgroup;
      case "builtin":
        if (a.name.startsWith("workgroup_id")) return workgroup;
        if (a.name === "subgroup_size") return workgroup;
        return a.name === "subgroup_index" ? subgroup : 0;
      case "load": {
        const index = uniformityOf(a.index, flow);
        return writable.has(a.buffer) ? 0 : index;
      }
      case "shared":
        uniformityOf(a.index, flow);
        return 0;
      case "binary":
        if ((a.op === "and" || a.op === "or") && hasSubgroupCall(a.b))
          faults.add(`A subgroup operation stands in the second operand of \`${a.op}\`, which may be skipped.`);
        return lowest(uniformityOf(a.a, flow), uniformityOf(a.b, flow));
      case "call": {
        const inputs = lowest(...a.args.map((arg) => uniformityOf(arg, flow)));
        if (!isSubgroupCall(a.name)) return inputs;
        if (flow < subgroup) faults.add(`${a.name} stands in control flow that differs within a subgroup.`);
        if (a.name === "subgroupShuffleXor") {
          const mask = a.args[1];
          if (mask && uniformityOf(mask, flow) < subgroup)
            faults.add("subgroupShuffleXor has a mask that differs within a subgroup.");
          return 0;
        }
        return a.name === "subgroupShuffle" ? 0 : subgroup;
      }
      default:
        return lowest(...operands(a).map((operand) => uniformityOf(operand, flow)));
    }
  }

  function fall(name: string, to: Uniformity): void {
    locals.set(name, lowest(locals.get(name) ?? workgroup, to));
  }

  function run(statements: readonly Statement[], flow: Uniformity): void {
    for (const s of statements) {
      switch (s.kind) {
        case "let":
          fall(s.name, uniformityOf(s.value, flow));
          break;
        case "var":
        case "assign":
          fall(s.name, lowest(uniformityOf(s.value, flow), flow));
          break;
        case "store":
        case "store_shared":
          uniformityOf(s.index, flow);
          uniformityOf(s.value, flow);
          break;
        case "matrix":
        case "multiply_matrices":
          if (flow < subgroup)
            faults.add("An operation on matrices stands in control flow that differs within a subgroup.");
          break;
        case "load_matrix":
        case "store_matrix":
          if (lowest(flow, uniformityOf(s.index, flow), uniformityOf(s.stride, flow)) < subgroup)
            faults.add(`The place of the matrix ${s.name}, or the control flow around it, differs within a subgroup.`);
          break;
        case "barrier":
          if (flow < workgroup) faults.add("A barrier stands in control flow that differs within a workgroup.");
          break;
        case "if": {
          const inside = lowest(flow, uniformityOf(s.condition, flow));
          run(s.then, inside);
          run(s.otherwise, inside);
          break;
        }
        case "for": {
          if (hasSubgroupCall(s.to) || hasSubgroupCall(s.step))
            faults.add(`A subgroup operation stands in the bound or step of the loop over ${s.name}.`);
          uniformityOf(s.from, flow);
          for (let before = ""; ; ) {
            const inside = lowest(
              flow,
              uniformityOf(s.from, flow),
              uniformityOf(s.to, flow),
              uniformityOf(s.step, flow),
              locals.get(s.name) ?? workgroup,
            );
            fall(s.name, inside);
            run(s.body, inside);
            const after = [...locals.values()].join("");
            if (after === before) break;
            before = after;
          }
          break;
        }
        default:
          s satisfies never;
      }
    }
  }

  // Faults that an early, too optimistic round missed show in the next; those it found are real, for values only fall.
  run(kernel.body, workgroup);
  return [...faults];
}
