import type { Diagnostic } from "../diagnostic.js";
import type { ConstantDeclaration } from "../syntax/ast.js";
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
    for (const used of namesIn(declaration.value)) {
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
