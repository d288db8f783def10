import { existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { UsageError } from "./failure.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";

/** `espalier new`: a folder with a recipe of one's own that checks and runs. */
export async function run(output: Output, folder: string, _options: JsonOptions): Promise<void> {
  if (existsSync(folder) && readdirSync(folder).length > 0)
    throw new UsageError(`${folder} is not empty: give the name of a folder that is not there yet`);
  mkdirSync(folder, { recursive: true });
  const name = recipeName(basename(resolve(folder)));
  const files = { "recipe.esp": recipe(name), "score.esp": score, "README.md": readme(name) };
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text, { flag: "wx" });
  output.result({ folder, files: Object.keys(files) }, () =>
    [
      ...Object.keys(files).map((file) => join(folder, file)),
      `check it: espalier check ${join(folder, "recipe.esp")}`,
    ].join("\n"),
  );
}

/** A name of the language that is made of the folder's. */
function recipeName(folder: string): string {
  const word = folder
    .replaceAll(/[^A-Za-z0-9]+/g, "_")
    .replaceAll(/^_+|_+$/g, "")
    .toLowerCase();
  return /^[a-z]/.test(word) ? `${word}_recipe` : "my_recipe";
}

const score = `/// How much a weight counts: its size times that of what it meets. Change this, and the masks change.
fn score(w: f32[N, K], x2: f32[K]) -> f32[N, K] {
  return s where s[n, k] = abs(w[n, k]) * sqrt(x2[k])
}
`;

function recipe(name: string): string {
  return `use statistics, prune, quantize
use "./score.esp"

/// Of every four neighbours the two that count most are kept, in 4 bits each.
recipe ${name}(model: llama, text: tokens, group = 64) {
  for block in model.blocks {
    let x2 = observe block on text by feature_squares
    for w in block.linears {
      let keep = mask_2of4(score(w, x2[w]))
      let sparse = w where keep
      store w as pack sparse as nm(2, 4) of int4(group) with scale int4_search(sparse, group)
    }
  }
}
`;
}

function readme(name: string): string {
  return `# ${name}

A recipe for Espalier: \`recipe.esp\` says what becomes of each layer, \`score.esp\` which weights count.

\`\`\`sh
espalier check recipe.esp --model MODEL                       # does it fit the model?
espalier run score.esp --arg 'w=[[3, -1], [0.5, 2]]' --arg 'x2=[1, 4]' --evaluate
espalier compress recipe.esp --model MODEL --out SMALLER --report report.html
espalier compare MODEL SMALLER --text TEXT
espalier fmt                                                  # lays the files out
\`\`\`
`;
}
