/** Writes the TextMate grammar from the compiler's words: node editors/vscode/grammar.mjs, after npm run build. */
import { writeFileSync } from "node:fs";
import { textMateGrammar } from "../../dist/compiler/language-service/grammar.js";

const path = new URL("syntaxes/espalier.tmLanguage.json", import.meta.url);
writeFileSync(path, `${JSON.stringify(textMateGrammar(), null, 2)}\n`);
