/** What a recipe expects of the model, decided from perplexities. */
import type { Condition, Quantity } from "../../../compiler/recipe/recipe.js";

/** A perplexity that was needed, in the words of a recipe. */
export interface FoundPerplexity {
  readonly of: "model" | "dense";
  readonly value: number;
}

/** Whether a condition holds; `perplexity` is asked for what is needed, and all that was found goes to `found`. */
export async function holds(
  condition: Condition,
  perplexity: (of: "model" | "dense") => Promise<number>,
  found: FoundPerplexity[],
): Promise<boolean> {
  if (condition.kind === "and")
    return (await holds(condition.left, perplexity, found)) && (await holds(condition.right, perplexity, found));
  const left = await quantityOf(condition.left, perplexity, found);
  const right = await quantityOf(condition.right, perplexity, found);
  switch (condition.op) {
    case "less":
      return left < right;
    case "less_equal":
      return left <= right;
    case "greater":
      return left > right;
    case "greater_equal":
      return left >= right;
    default:
      return condition.op satisfies never;
  }
}

async function quantityOf(
  wanted: Quantity,
  perplexity: (of: "model" | "dense") => Promise<number>,
  found: FoundPerplexity[],
): Promise<number> {
  switch (wanted.kind) {
    case "number":
      return wanted.value;
    case "perplexity": {
      const value = await perplexity(wanted.of);
      found.push({ of: wanted.of, value });
      return value;
    }
    case "arithmetic": {
      const left = await quantityOf(wanted.left, perplexity, found);
      const right = await quantityOf(wanted.right, perplexity, found);
      switch (wanted.op) {
        case "add":
          return left + right;
        case "subtract":
          return left - right;
        case "multiply":
          return left * right;
        case "divide":
          return left / right;
        default:
          return wanted.op satisfies never;
      }
    }
    default:
      return wanted satisfies never;
  }
}
