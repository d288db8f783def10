/**
 * What must hold of a scalar: indices in scope, loads of the right rank and dtype, operands by the rules of `ops.ts`.
 */
import { isFloat, isInteger, printDtype, sameDtype } from "../types/dtype.js";
import type { DtypeRef } from "../types/dtype.js";
import { binaryOps, unaryOps, type TypeRule } from "../types/scalar-ops.js";
import { sizeSymbols } from "../types/size.js";
import type { Level } from "../types/type.js";
import type { Graph, IndexId, Range, Scalar, ValueId } from "./graph.js";
import { reduceOps } from "./ops.js";
import { printScalar } from "./print.js";
import { children, dtypeOf, reduced } from "./scalar.js";

/** The faults of a scalar in the scope of an equation's ranges. `defined` are the tensors it may load from. */
export function verifyScalar<L extends Level>(
  graph: Graph<L>,
  scalar: Scalar<L>,
  ranges: readonly Range<L>[],
  defined: ReadonlySet<ValueId>,
): string[] {
  const faults: string[] = [];
  const fault = (message: string, node: Scalar<L>): void => {
    faults.push(`${message}: ${printScalar(node, ranges)}`);
  };

  const visit = (node: Scalar<L>, scope: ReadonlySet<IndexId>): void => {
    checkNode(node, scope);
    if (node.kind !== "reduce") {
      for (const child of children(node)) visit(child, scope);
      return;
    }
    const inner = new Set(scope);
    for (const range of node.over) {
      for (const bound of [range.low, range.high]) {
        visit(bound, inner);
        if (dtypeOf(bound) !== "i32") fault("a bound that is not i32", node);
      }
      if (inner.has(range.index)) fault(`index ${range.name} (${range.index}) is bound while it is in scope`, node);
      inner.add(range.index);
    }
    for (const each of reduced(node)) visit(each, inner);
  };

  const checkNode = (node: Scalar<L>, scope: ReadonlySet<IndexId>): void => {
    switch (node.kind) {
      case "constant":
        if (
          (isInteger(node.dtype) && !Number.isInteger(node.value)) ||
          (node.dtype === "u32" && node.value < 0) ||
          (node.dtype === "bool" && node.value !== 0 && node.value !== 1)
        ) {
          fault(`${node.value} is no ${printDtype(node.dtype)}`, node);
        }
        return;
      case "index":
        if (!scope.has(node.index)) fault(`index ${node.name} (${node.index}) is not in scope`, node);
        return;
      case "size":
        if (typeof node.size === "number") return;
        for (const symbol of sizeSymbols(node.size))
          if (!graph.parameters.sizes.includes(symbol)) fault(`${symbol} is not a size parameter`, node);
        return;
      case "load": {
        const type = graph.values[node.tensor]?.type;
        if (type === undefined || !defined.has(node.tensor))
          return fault(`%${node.tensor} is not defined before`, node);
        if (node.at.length !== type.shape.length)
          fault(`${node.at.length} indices for rank ${type.shape.length}`, node);
        if (!sameDtype(node.dtype, type.dtype))
          fault(`a load of dtype ${printDtype(node.dtype)} from a tensor of ${printDtype(type.dtype)}`, node);
        for (const at of node.at) if (dtypeOf(at) !== "i32") fault("an index that is not i32", node);
        return;
      }
      case "unary": {
        const wrong = checkRule(unaryOps[node.op], [dtypeOf(node.a)], node.dtype);
        if (wrong !== null) fault(wrong, node);
        return;
      }
      case "binary": {
        const wrong = checkRule(binaryOps[node.op], [dtypeOf(node.a), dtypeOf(node.b)], node.dtype);
        if (wrong !== null) fault(wrong, node);
        return;
      }
      case "select":
        if (dtypeOf(node.condition) !== "bool") fault("a condition that is not bool", node);
        if (!sameDtype(dtypeOf(node.then), node.dtype) || !sameDtype(dtypeOf(node.otherwise), node.dtype))
          fault("branches of another dtype", node);
        return;
      case "cast":
        return;
      case "reduce": {
        const rule = reduceOps[node.op];
        const body = dtypeOf(node.body);
        if (node.over.length === 0) fault("a reduction over nothing", node);
        if (node.op === "argmax" && node.over.length !== 1) fault("argmax over more than one index", node);
        if ((node.op === "softmax_mean") !== (node.score !== null)) fault("a score where none belongs, or none", node);
        if (rule === "f32") {
          if (node.dtype !== "f32" || reduced(node).some((each) => dtypeOf(each) !== "f32"))
            fault("a softmax_mean that is not of f32", node);
        } else if (rule === "i32") {
          if (node.dtype !== "i32") fault("a result that is not i32", node);
          if ((node.op === "count") !== (body === "bool")) fault(`a body of ${printDtype(body)}`, node);
        } else {
          const wrong = checkRule(rule, [body], node.dtype);
          if (wrong !== null) fault(wrong, node);
        }
        return;
      }
      default:
        node satisfies never;
    }
  };

  visit(scalar, new Set(ranges.map((range) => range.index)));
  return faults;
}

/** What is wrong with operands and result under a type rule, or null. */
export function checkRule(rule: TypeRule, operands: readonly DtypeRef[], result: DtypeRef): string | null {
  const [first, second] = operands;
  if (first === undefined) return "an op without operands";
  if (second !== undefined && !sameDtype(first, second))
    return `operands of ${printDtype(first)} and ${printDtype(second)}`;
  const expected = resultDtype(rule, first);
  if (expected === null) return `an operand of ${printDtype(first)} where the rule is "${rule}"`;
  return sameDtype(expected, result) ? null : `a result of ${printDtype(result)}, not ${printDtype(expected)}`;
}

/** The dtype of the result for operands of a dtype, or null where the rule forbids them. */
export function resultDtype(rule: TypeRule, operand: DtypeRef): DtypeRef | null {
  const numeric = isFloat(operand) || isInteger(operand);
  switch (rule) {
    case "float":
      return isFloat(operand) ? operand : null;
    case "numeric":
      return numeric ? operand : null;
    case "integer":
      return isInteger(operand) ? operand : null;
    case "compare":
      return numeric ? "bool" : null;
    case "logic":
      return operand === "bool" ? operand : null;
    case "bits":
      return operand === "f32" ? "u32" : null;
    case "from-bits":
      return operand === "u32" ? "f32" : null;
    default:
      return rule satisfies never;
  }
}
