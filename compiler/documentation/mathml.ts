/** Formulas as MathML Core, which browsers draw as it is: https://www.w3.org/TR/mathml-core/. */
import type { Formula, Line } from "./formula.js";

/** The lines of an equation as HTML: each is a formula of its own, so that a wide one scrolls by itself. */
export function mathmlLines(lines: readonly Line[]): string {
  return lines
    .map(({ depth, formula }) => {
      const indent = depth === 0 ? "" : ` style="--depth: ${depth}"`;
      return `<div class="line"${indent}><math displaystyle="true">${mathml(formula)}</math></div>`;
    })
    .join("\n");
}

/** A formula as the inside of a `math` element. */
export function mathml(formula: Formula): string {
  switch (formula.kind) {
    case "name":
      // letters of the page's own fonts, made italic by its style: not every machine has a font of mathematical letters
      return `<mi mathvariant="normal">${escaped(formula.text)}</mi>`;
    case "number":
      return `<mn>${escaped(formula.text)}</mn>`;
    case "operator":
      return formula.text === "∇" || formula.text === "…"
        ? `<mi mathvariant="normal">${formula.text}</mi>`
        : `<mo>${escaped(formula.text)}</mo>`;
    case "word":
      return `<mtext>${escaped(formula.text)}</mtext>`;
    case "space":
      return '<mspace width="0.35em"></mspace>';
    case "row":
      return `<mrow>${formula.parts.map(mathml).join("")}</mrow>`;
    case "fenced": {
      const stretchy = isTall(formula.body) ? "" : ' stretchy="false"';
      const fence = (form: string, text: string): string => `<mo fence="true" form="${form}"${stretchy}>${text}</mo>`;
      return `<mrow>${fence("prefix", formula.open)}${mathml(formula.body)}${fence("postfix", formula.close)}</mrow>`;
    }
    case "fraction":
      return `<mfrac>${mathml(formula.above)}${mathml(formula.below)}</mfrac>`;
    case "root":
      return `<msqrt>${mathml(formula.body)}</msqrt>`;
    case "power":
      return `<msup>${mathml(formula.base)}${mathml(formula.exponent)}</msup>`;
    case "subscript":
      return `<msub>${mathml(formula.base)}${mathml(formula.below)}</msub>`;
    case "over": {
      const large =
        formula.what === "∑"
          ? '<mo largeop="true" movablelimits="false">∑</mo>'
          : `<mo movablelimits="false" lspace="0.17em" rspace="0.17em">${escaped(formula.what)}</mo>`;
      return formula.above === null
        ? `<munder>${large}${mathml(formula.below)}</munder>`
        : `<munderover>${large}${mathml(formula.below)}${mathml(formula.above)}</munderover>`;
    }
    case "cases": {
      const rows = formula.cases.map(
        ({ value, when }) =>
          `<mtr><mtd>${mathml(value)}</mtd><mtd>${
            when === null
              ? "<mtext>otherwise</mtext>"
              : `<mrow><mtext>if</mtext><mspace width="0.35em"></mspace>${mathml(when)}</mrow>`
          }</mtd></mtr>`,
      );
      return `<mrow><mo fence="true" form="prefix" stretchy="true">{</mo><mtable class="cases">${rows.join("")}</mtable></mrow>`;
    }
    default:
      return formula satisfies never;
  }
}

/** Whether parentheses around it are taller than a line. */
function isTall(formula: Formula): boolean {
  switch (formula.kind) {
    case "fraction":
    case "over":
    case "cases":
      return true;
    case "row":
      return formula.parts.some(isTall);
    case "fenced":
    case "root":
      return isTall(formula.body);
    case "power":
    case "subscript":
      return isTall(formula.base);
    default:
      return false;
  }
}

function escaped(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
