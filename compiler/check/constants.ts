import type { Diagnostic } from "../diagnostic.js";
import type { ConstantDeclaration, TableExpr } from "../syntax/ast.js";
import { newBuilder } from "./builder.js";
import { checkElement } from "./element.js";
import { fail, placeIn, type Frame } from "./frame.js";
import type { Declared, FileScope } from "./modules.js";
import { namesIn } from "./names.js";
import { bind, nest, type Binding, type Scope } from "./scope.js";

/**
 * The scope of each file's constants, its own and those of the modules it uses, each worked out where it is declared.
 */
export function checkConstants(
  files: ReadonlyMap<string, FileScope>,
  report: (found: Diagnostic) => void,
): ReadonlyMap<string, Scope> {
  const done = new Map<ConstantDeclaration, Binding | "pending">();
  const valueOf = ({ declaration, file }: Declared<ConstantDeclaration>): Binding => {
    const known = done.get(declaration);
    if (known !== undefined && known !== "pending") return known;
    const home = files.get(file);
    if (home === undefined) return { kind: "unknown" };
    const frame: Frame = {
      file: home,
      builder: newBuilder(),
      report,
      dtypes: new Set(),
      formats: new Set(),
      functionOf: () => null,
      layer: null,
    };
    const scope = nest(null);
    done.set(declaration, "pending");
    const { value: written } = declaration;
    for (const used of written.kind === "table" ? written.values.flatMap(namesIn) : namesIn(written)) {
      const other = home.constants.get(used.name);
      if (other === undefined) continue;
      const pending = done.get(other.declaration) === "pending";
      if (pending) fail(frame, "E205", `\`${used.name}\` is defined by itself`, used.span, "goes round in a circle");
      bind(scope, used.name, pending ? { kind: "unknown" } : valueOf(other), other.declaration.name.span);
    }
    const value = constantBinding(declaration, frame, scope);
    done.set(declaration, value);
    return value;
  };
  const scopes = new Map<string, Scope>();
  for (const [path, file] of files) {
    const scope = nest(null);
    for (const [name, declared] of file.constants) bind(scope, name, valueOf(declared), declared.declaration.name.span);
    scopes.set(path, scope);
  }
  return scopes;
}

function constantBinding(declaration: ConstantDeclaration, frame: Frame, scope: Scope): Binding {
  if (declaration.value.kind === "table") return tableBinding(declaration.name.name, declaration.value, frame, scope);
  const element = checkElement(declaration.value, placeIn(frame, scope));
  if (element === null) return { kind: "unknown" };
  if (element.kind === "number") return { kind: "number", value: element.value, integer: element.integer };
  if (element.kind === "scalar" && element.scalar.kind === "constant" && element.dtype === "bool")
    return { kind: "boolean", value: element.scalar.value !== 0 };
  fail(frame, "E209", `\`${declaration.name.name}\` is not a constant`, declaration.value.span, "not a number", {
    help: "a constant is made of numbers, other constants, and + - * / % ^",
  });
  return { kind: "unknown" };
}

/** The most numbers of a table. */
const mostNumbers = 256;

function tableBinding(name: string, { values, span }: TableExpr, frame: Frame, scope: Scope): Binding {
  if (values.length > mostNumbers) {
    fail(frame, "E209", `\`${name}\` has ${values.length} numbers`, span, `at most ${mostNumbers} are a table`);
    return { kind: "unknown" };
  }
  const numbers: number[] = [];
  for (const value of values) {
    const element = checkElement(value, placeIn(frame, scope));
    if (element === null) return { kind: "unknown" };
    if (element.kind === "number" && Number.isFinite(Math.fround(element.value))) numbers.push(element.value);
    else {
      const what = element.kind === "number" ? `${element.value} is beyond f32` : "not a number";
      fail(frame, "E209", `\`${name}\` is not a table of numbers`, value.span, what, {
        help: "a table is made of numbers, other constants, and + - * / % ^",
      });
      return { kind: "unknown" };
    }
  }
  return { kind: "table", values: numbers };
}
