/** Formulas as TeX, in the part of it that GitHub and KaTeX read: for Markdown. */
import { fences, operators, type Formula, type Line } from "./formula.js";

/** The lines of an equation as one block. */
export function texLines(lines: readonly Line[]): string {
  const rows = lines.map(({ depth, formula }) => `& ${"\\quad ".repeat(depth)}${tex(formula)}`);
  return `\\begin{aligned}\n${rows.join(" \\\\\n")}\n\\end{aligned}`;
}

/** A formula. */
export function tex(formula: Formula): string {
  switch (formula.kind) {
    case "name":
      return formula.text.length === 1 ? formula.text : `\\mathit{${escaped(formula.text)}}`;
    case "number":
      return formula.text;
    case "operator":
      return operators[formula.text];
    case "word":
      return `\\text{${escaped(formula.text)}}`;
    case "space":
      return "\\;";
    case "row":
      return formula.parts.map(tex).join(" ");
    case "fenced":
      return `\\left${fences[formula.open]} ${tex(formula.body)} \\right${fences[formula.close]}`;
    case "fraction":
      return `\\frac{${tex(formula.above)}}{${tex(formula.below)}}`;
    case "root":
      return `\\sqrt{${tex(formula.body)}}`;
    case "power":
      return `{${tex(formula.base)}}^{${tex(formula.exponent)}}`;
    case "subscript":
      return `{${tex(formula.base)}}_{${tex(formula.below)}}`;
    case "over": {
      const large = formula.what === "∑" ? "\\sum\\limits" : `\\operatorname*{${escaped(formula.what)}}`;
      const above = formula.above === null ? "" : `^{${tex(formula.above)}}`;
      return `${large}_{${tex(formula.below)}}${above}`;
    }
    case "cases": {
      const rows = formula.cases.map(
        ({ value, when }) => `${tex(value)} & ${when === null ? "\\text{otherwise}" : `\\text{if } ${tex(when)}`}`,
      );
      return `\\begin{cases} ${rows.join(" \\\\ ")} \\end{cases}`;
    }
    default:
      return formula satisfies never;
  }
}

function escaped(text: string): string {
  return text.replaceAll(/[_#%&{}$]/g, (found) => `\\${found}`);
}
