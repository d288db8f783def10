/** The example of `espalier/web` in docs/browser.md, in a page: a model loaded, compressed, and heard. */
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { startBrowser } from "../support/browser.js";
import { projectFile } from "../support/project.js";

const test = suite("espalier/web");

const read = (file: string): string => readFileSync(projectFile(file), "utf8");
const example = /^```js\n\/\/ page\.js\n([\s\S]*?)^```$/m.exec(read("docs/browser.md"))?.[1] ?? "";

/** A recipe of few layers and a short text, for time. */
const recipe = `use statistics, prune, quantize

recipe few(model: llama, text: tokens) {
  for block in model.blocks {
    let x2 = observe block on text by feature_squares
    for w in block.linears matching "*.o_proj" {
      let sparse = w where mask_2of4(wanda(w, x2[w]))
      store w as pack sparse as nm(2, 4) of int4(128) with scale int4_search(sparse, 128)
    }
  }
}
`;
const made: ReadonlyMap<string, string> = new Map([
  [
    "/",
    `<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><body>
<script type="importmap">{ "imports": { "espalier/web": "./web.js" } }</script>
<script type="module" src="page.js"></script>`,
  ],
  ["/page.js", example],
  ["/recipe.esp", recipe],
  ["/web.js", read("dist/web/web.js")],
  ["/model/calibration.txt", read("examples/classics-3.7m/calibration.txt").slice(0, 16_000)],
]);

/** A server of plain files. */
const server = createServer((request, response) => {
  const path = request.url ?? "/";
  const type = path === "/" ? "text/html" : path.endsWith(".js") ? "text/javascript" : "application/octet-stream";
  const file = /^\/model\/([\w.]+)$/.exec(path)?.[1];
  const body =
    made.get(path) ?? (file === undefined ? null : readFileSync(projectFile(`examples/classics-3.7m/${file}`)));
  response.writeHead(body === null ? 404 : 200, { "content-type": type }).end(body);
});

test("the module says the same as the page", () => {
  const comment = read("web.ts").split("*/")[0] ?? "";
  const own = comment.replaceAll(/^ \* ?/gm, "");
  assert.ok(example.length > 500 && own.includes(example), "web.ts and docs/browser.md differ");
  const lines = example.split("\n").filter((line) => line.trim() !== "");
  assert.ok(lines.length <= 20, `${lines.length} lines`);
});

test("it loads, compresses and speaks", async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const browser = await startBrowser();
  try {
    const page = await browser.newPage();
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(String(error)));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
    let said = "";
    for (let tries = 0; tries < 2000 && said === "" && complaints.length === 0; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      said = String(await page.evaluate("document.body.innerText")).trim();
    }
    assert.equal(complaints, []);
    assert.match(said, /^[\w\s,.;:'"“”!?-]{40,}$/);
  } finally {
    await browser.close();
    server.close();
  }
});

test.run();
