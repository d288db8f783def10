import type { Statement } from "../syntax/ast.js";
import { fail } from "./frame.js";
import type { RecipeContext } from "./recipe-context.js";

/** Reports a statement that a training's body cannot have. */
export function refusedInTraining(statement: Statement, { frame }: RecipeContext): boolean {
  const help = helpIn(statement);
  if (help === null) return false;
  const what = statement.kind === "let" ? "observe" : statement.kind;
  fail(frame, "E602", `\`${what}\` cannot stand in a training`, statement.span, "not here", { help });
  return true;
}

function helpIn(statement: Statement): string | null {
  switch (statement.kind) {
    case "let":
      return statement.value.kind === "observe"
        ? "observe before it, and store what follows: within, `w.start` is the weight as it was stored then"
        : null;
    case "measure":
      return "measure before it";
    case "print":
      return "print before it, or behind it: within, `w` is another in each step";
    case "permute":
      return "channels change places before anything is stored or trained";
    case "retain":
      return "retain before it, in a loop over blocks of its own";
    case "scale":
      return "scale before it, and train what follows";
    case "round":
      return "round behind it, in a loop over inputs";
    case "train":
      return "trainings follow one another";
    case "expect":
    case "save":
      return "put it behind the training, whose body says what becomes of each layer";
    case "for":
    case "if":
    case "var":
    case "update":
    case "scan":
    case "store":
    case "return":
      return null;
    default:
      return statement satisfies never;
  }
}
