/** Tables of codebooks, as arguments of a format. */
import { readFileSync } from "node:fs";
import { tableArgument } from "../../compiler/formats/arguments.js";
import { projectFile } from "./project.js";

const [, list = ""] =
  /^const nf4 = \[([^\]]*)\]/m.exec(readFileSync(projectFile("stdlib/codebooks.esp"), "utf8")) ?? [];

/** NF4 of the module codebooks. */
export const nf4 = tableArgument("nf4", list.split(",").map(Number));
