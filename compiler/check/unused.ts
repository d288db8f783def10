import type { Frame } from "./frame.js";
import type { Scope } from "./scope.js";

/** Warns of each `let` that nothing uses. */
export function warnUnused(scope: Scope, frame: Frame): void {
  for (const [name, entry] of scope.entries) {
    if (!entry.warn || entry.used || entry.span === null || name.startsWith("_") || entry.binding.kind === "unknown")
      continue;
    frame.report({
      code: "E208",
      severity: "warning",
      message: `\`${name}\` is never used`,
      labels: [{ span: entry.span, message: "not used" }],
      notes: [],
      help: `leave it out, or call it \`_${name}\``,
    });
  }
}
