/**
 * What a newcomer waits for in the playground, in a headless Chromium on this machine: node bench/playground.mjs, after
 * npm run build. A page is opened anew each time, its cache empty; the script is served by `espalier playground`'s own
 * server, uncompressed.
 */
import { readFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { createSite } from "../dist/runtime/cli/playground.js";
import { startBrowser } from "../dist/test/support/browser.js";

const server = createSite();
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const address = `http://127.0.0.1:${server.address().port}/playground/`;
const script = readFileSync(new URL("../dist/site/playground/app.js", import.meta.url));
console.log(`script ${script.length} bytes, ${gzipSync(script).length} by gzip`);

const browser = await startBrowser();
const rounds = [];
for (let round = 0; round < 8; round += 1) {
  const context = await browser.createBrowserContext();
  const page = await context.newPage();
  await page.setCacheEnabled(false);
  const start = performance.now();
  await page.goto(address, { waitUntil: "domcontentloaded" });
  await page.waitForSelector("body[data-ready]");
  // usable: what is typed stands in it
  await page.focus(".cm-content");
  await page.keyboard.type("// ");
  await page.waitForFunction("document.querySelector('.cm-content').textContent.startsWith('// ')");
  const typed = performance.now() - start;
  const ready = Number(await page.$eval("body", (body) => body.dataset.ready));
  rounds.push({ typed, ready });
  await context.close();
}
await browser.close();
server.close();
for (const [name, words] of [
  ["ready", "ms from the page's beginning until its editor is there and has been checked"],
  ["typed", "ms from asking for the page until a text typed into it is shown"],
]) {
  const sorted = rounds.map((each) => each[name]).sort((a, b) => a - b);
  console.log(
    `median ${sorted[sorted.length >> 1].toFixed(0).padStart(5)}   longest ${sorted.at(-1).toFixed(0).padStart(5)}   ${words}`,
  );
}
