import { printFormat } from "../formats/registry.js";
import { counted } from "../words.js";
import type { Span } from "../diagnostic.js";
import type { Output, ValueId } from "../graph/graph.js";
import type { Expr, FunctionDeclaration, ReturnStatement, Statement } from "../syntax/ast.js";
import { printDtype, sameDtype } from "../types/dtype.js";
import { constantSize, printSize } from "../types/size.js";
import { sameFormat, type TensorType } from "../types/type.js";
import { finish, typeOf } from "./builder.js";
import { checkDefinition } from "./definition.js";
import { findingsFor } from "./findings.js";
import { checkStatements } from "./statement.js";
import { settle } from "./conversion.js";
import type { CheckedFunction } from "./checked.js";
import { fail, placeIn, printType, type Frame } from "./frame.js";
import { checkOwnAdjoint } from "./own-adjoint.js";
import { impliesPattern, printPattern, whereLost } from "./pattern.js";
import { bind, nest, type Scope } from "./scope.js";
import { checkSignature, type Signature } from "./signature.js";
import { equalSizes } from "./sizes.js";
import { warnUnused } from "./unused.js";
import { checkWhole, materialize } from "./whole.js";

/** Checks a function: its head, then its body. The graph is null where either has an error. */
export function checkFunction(
  declaration: FunctionDeclaration,
  rest: Pick<Frame, "file" | "report" | "functionOf">,
  constants: Scope,
): CheckedFunction {
  const findings = findingsFor(rest);
  const { report, functionOf } = findings;
  const signature = checkSignature(declaration, { ...rest, report, functionOf }, constants);
  if (signature === null)
    return {
      declaration,
      params: declaration.params.map((param) => ({
        kind: "size",
        name: param.name.name,
        fallback: param.fallback,
        span: param.span,
      })),
      graph: null,
    };
  const body = checkBody(declaration, signature);
  const results = body === null ? null : checkOwnAdjoint(declaration, signature, body);
  const { frame } = signature;
  findings.finish();
  if (findings.failed() || results === null) return { declaration, params: signature.params, graph: null };
  const outputs = [...results, ...finalStates(signature)];
  return {
    declaration,
    params: signature.params,
    graph: finish(
      frame.builder,
      declaration.name.name,
      declaration.name.span,
      uniqueNames(outputs),
      signature.parameters,
      signature.constraints,
    ),
  };
}

/** The final state of each `var` parameter, as an output that is not written in the result type. */
function finalStates({ params, scope }: Signature): readonly Output[] {
  return params.flatMap((param) => {
    const binding = scope.entries.get(param.name)?.binding;
    return param.kind === "tensor" && param.mutable && binding?.kind === "tensor"
      ? [{ value: binding.value, name: param.name, input: param.input }]
      : [];
  });
}

/** Checks the statements; the values that are returned, or null where there is an error. */
function checkBody(declaration: FunctionDeclaration, signature: Signature): readonly Output[] | null {
  const { frame, scope } = signature;
  const body = nest(scope);
  let returned: readonly Output[] | null = null;
  let done: Span | null = null;
  const other = (statement: Statement, inner: Scope): void => {
    if (statement.kind === "return") {
      if (inner !== body) {
        done = statement.span;
        return void fail(
          frame,
          "E308",
          "`return` stands at the end of a function, not in a loop",
          statement.span,
          "inside a loop",
        );
      }
      done = statement.span;
      returned = checkReturn(statement, declaration, signature, inner);
      return;
    }
    if (statement.kind === "if")
      return void fail(
        frame,
        "E602",
        "`if` is for recipes, where it chooses by parameters or by the name of a layer",
        statement.condition.span,
        "not in a function",
        { help: "a function chooses element by element: `select(condition, a, b)`" },
      );
    fail(frame, "E602", `\`${statement.kind}\` is for recipes`, statement.span, "not in a function", {
      help: "it belongs into a recipe",
    });
  };
  for (const statement of declaration.body) {
    if (done !== null) {
      fail(frame, "E308", "nothing after `return` is run", statement.span, "never reached", {
        labels: [{ span: done, message: "the function ends here" }],
      });
      break;
    }
    checkStatements([statement], frame, body, other);
  }
  warnUnused(body, frame);
  if (done === null) {
    if (declaration.results.length === 0) {
      if (signature.params.some((param) => param.kind === "tensor" && param.mutable)) return [];
      return fail(
        frame,
        "E308",
        `\`${declaration.name.name}\` gives no result and changes no \`var\` parameter`,
        declaration.name.span,
        "has no effect",
        { help: "declare a result, `-> f32[N, K]`, and `return` it" },
      );
    }
    return fail(
      frame,
      "E308",
      `\`${declaration.name.name}\` ends without \`return\``,
      declaration.name.span,
      `has ${counted(declaration.results.length, "result")}`,
      { help: "end it with `return ...`" },
    );
  }
  return returned;
}

function checkReturn(
  statement: ReturnStatement,
  declaration: FunctionDeclaration,
  signature: Signature,
  outer: Scope,
): readonly Output[] | null {
  const { frame, results } = signature;
  const scope = nest(outer);
  let failed = false;
  for (const definition of statement.definitions) {
    const at = statement.values.findIndex((value) => value.kind === "name" && value.name === definition.name.name);
    const value = checkDefinition(definition, frame, scope, results[at] ?? null);
    if (value === null) failed = true;
    const known = scope.entries.get(definition.name.name);
    if (known !== undefined)
      fail(
        frame,
        "E203",
        `\`${definition.name.name}\` is declared twice`,
        definition.name.span,
        "declared again",
        known.span === null ? {} : { labels: [{ span: known.span, message: "first declared here" }] },
      );
    bind(
      scope,
      definition.name.name,
      value === null ? { kind: "unknown" } : { kind: "tensor", value, mutable: false },
      definition.name.span,
      true,
    );
  }
  const outputs = returnedValues(statement, declaration, signature, scope);
  warnUnused(scope, frame);
  return failed ? null : outputs;
}

function returnedValues(
  statement: ReturnStatement,
  declaration: FunctionDeclaration,
  signature: Signature,
  scope: Scope,
): readonly Output[] | null {
  const { frame, results } = signature;
  const place = placeIn(frame, scope);
  const found: { readonly value: ValueId; readonly expr: Expr }[] = [];
  for (const [at, expr] of statement.values.entries()) {
    const whole = checkWhole(expr, place);
    if (whole === null) return null;
    if (whole.kind === "values") {
      for (const value of whole.values) found.push({ value, expr });
      continue;
    }
    const want = results[at];
    const settled = settle(
      whole.element,
      want?.shape.length === 0 || whole.element.kind === "number" ? (want?.dtype ?? null) : null,
      expr.span,
      place,
    );
    const value = settled === null ? null : materialize(settled.scalar, settled.dtype, "result", expr.span, place);
    if (value === null) return null;
    found.push({ value, expr });
  }
  if (found.length !== results.length) {
    return fail(
      frame,
      "E303",
      `\`${declaration.name.name}\` has ${counted(results.length, "result")}, and ${counted(found.length, "value")} ${found.length === 1 ? "is" : "are"} returned`,
      statement.span,
      `expected ${results.length}, found ${found.length}`,
      {
        help:
          results.length === 0
            ? `declare the result after the parameters: \`-> ${found.map(({ value }) => printType(typeOf(frame.builder, value))).join(", ")}\``
            : null,
      },
    );
  }
  const outputs = found.map(({ value, expr }, at): Output | null => {
    const want = results[at];
    const written = declaration.results[at]?.span ?? declaration.name.span;
    if (want === undefined || !fitsResult(value, want, expr.span, written, frame)) return null;
    return {
      value,
      name: expr.kind === "name" ? expr.name : results.length === 1 ? "result" : `result${at}`,
      input: null,
    };
  });
  const complete = outputs.filter((output) => output !== null);
  return complete.length === outputs.length ? complete : null;
}

/** Whether a returned value has the declared type: dtype, shape and format equal, the pattern proved. */
function fitsResult(value: ValueId, want: TensorType, span: Span, written: Span, frame: Frame): boolean {
  const { builder } = frame;
  const have = typeOf(builder, value);
  const declared = { span: written, message: "declared here" };
  const complain = (code: string, message: string, label: string, help: string | null = null): boolean =>
    fail(frame, code, message, span, label, { labels: [declared], help }) ?? false;
  const expected = printType({ ...want, pattern: { kind: "full" } });
  const found = printType({ ...have, pattern: { kind: "full" } });
  if (have.shape.length !== want.shape.length)
    return complain(
      "E303",
      `the result is ${expected}, and ${found} is returned`,
      `${counted(have.shape.length, "axis", "axes")}, expected ${want.shape.length}`,
    );
  if (!sameDtype(have.dtype, want.dtype))
    return complain(
      "E301",
      `the result is ${expected}, and ${found} is returned`,
      `${printDtype(have.dtype)}, expected ${printDtype(want.dtype)}`,
      want.dtype === "bool" ? null : `convert it in index notation: \`${printDtype(want.dtype)}(...)\``,
    );
  if (!have.shape.every((size, axis) => equalSizes(size, want.shape[axis] ?? constantSize(0), builder.constraints)))
    return complain(
      "E413",
      `the result is ${expected}, and ${found} is returned`,
      `[${have.shape.map(printSize).join(", ")}], expected [${want.shape.map(printSize).join(", ")}]`,
    );
  if (!sameFormat(have.format, want.format)) {
    const help =
      want.format === null
        ? "`unpack` it, or declare its format: `as ...`"
        : `pack it: \`pack ... as ${printFormat(want.format, "short")}\``;
    return complain(
      "E503",
      `the result is ${want.format === null ? "dense" : `stored as ${printFormat(want.format, "short")}`}, and what is returned is ${have.format === null ? "dense" : `stored as ${printFormat(have.format, "short")}`}`,
      found,
      help,
    );
  }
  if (impliesPattern(have.pattern, want.pattern)) return true;
  const lost = whereLost(value, want.pattern, builder.values, builder.producer);
  const at = lost === null ? null : (builder.values[lost.eqn.out]?.span ?? null);
  fail(
    frame,
    "E505",
    `the result is declared as ${printPattern(want.pattern)}, and nothing guarantees that`,
    span,
    printPattern(have.pattern),
    {
      labels: at === null ? [declared] : [declared, { span: at, message: "the pattern is lost here" }],
      help: "mask it: `... where keep`, with `keep` from `top`",
    },
  );
  return false;
}

/** Outputs of one name get numbers. */
function uniqueNames(outputs: readonly Output[]): readonly Output[] {
  const taken = new Set(outputs.filter((output) => output.input !== null).map((output) => output.name));
  return outputs.map((output) => {
    if (output.input !== null) return output;
    let name = output.name;
    for (let number = 2; taken.has(name); number++) name = `${output.name}${number}`;
    taken.add(name);
    return { ...output, name };
  });
}
