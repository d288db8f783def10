/** Which modules a config of compressed-tensors means. */
import { quoted } from "../error.js";
import { refuse } from "./refusal.js";

/**
 * Whether a linear layer is meant by a name: its own, that of its class, or `re:` and an expression that matches its
 * beginning.
 * @throws ModelError M133 of an expression that could take long, or that is none here
 */
export function matchesTarget(target: string, module: string): boolean {
  if (!target.startsWith("re:")) return target === module || target === "Linear";
  return expressionOf(target.slice(3)).test(module);
}

/** As Python's `re.match`, for expressions whose time is bounded: no repetition of what is repeated itself. */
function expressionOf(source: string): RegExp {
  const repeats = source.match(/[*+{]/g)?.length ?? 0;
  if (source.length > 1000 || repeats > 5 || /[)][*+{]|\\[1-9k]/.test(source))
    refuse(`the expression ${quoted(source)} for names of layers is too involved`);
  try {
    return new RegExp(`^(?:${source})`, "u");
  } catch {
    refuse(`the expression ${quoted(source)} for names of layers is not one that is known here`);
  }
}
