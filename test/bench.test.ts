/** What the scripts of `bench/` import is there: nothing else compiles them. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { projectFile } from "./support/project.js";

const test = suite("bench");
const scripts = readdirSync(projectFile("bench")).filter((name) => name.endsWith(".mjs"));

test("every name that a script imports of the package is exported", async () => {
  const missing: string[] = [];
  let seen = 0;
  for (const script of scripts) {
    const text = readFileSync(projectFile(`bench/${script}`), "utf8");
    for (const [, names = "", path = ""] of text.matchAll(/^import \{([^}]*)\} from "\.\.\/(dist\/[^"]+)";$/gm)) {
      const found = (await import(join(projectFile("bench"), "..", path))) as Record<string, unknown>;
      for (const name of names.split(",").map((each) => each.trim().split(" as ")[0]!)) {
        if (name === "") continue;
        seen += 1;
        if (!(name in found)) missing.push(`${script}: ${name} of ${path}`);
      }
    }
  }
  assert.equal(missing, []);
  assert.ok(seen > 50, `only ${seen} names are imported`);
});

test.run();
