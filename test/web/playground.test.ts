/** The playground in a headless Chromium with WebGPU on the CPU driver. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { Browser, Page } from "puppeteer-core";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { createSite } from "../../runtime/cli/playground.js";
import { renderPage, type PageCell, type Section } from "../../runtime/cli/report/page.js";
import { openDevice } from "../../runtime/device/device.js";
import { createHost, standardLibrary } from "../../runtime/library.js";
import { createCaller, type Caller } from "../../runtime/llama/call.js";
import { compress } from "../../runtime/llama/compression/compress.js";
import { generate } from "../../runtime/llama/inference/generate.js";
import { openSession } from "../../runtime/llama/inference/session.js";
import { openModel } from "../../runtime/model/model.js";
import { createExecutor } from "../../runtime/run/run.js";
import { targetOf } from "../../runtime/run/target.js";
import { startBrowser } from "../support/browser.js";
import { projectFile } from "../support/project.js";

const test = suite("playground");

const server = createSite();
const prompt = '"My dear Mr. Holmes," said he,';
const tokens = 12;
/** Some layers only, for time. */
const recipe = `use statistics, prune, quantize

/// Wanda and 4 bits, of one layer a block.
recipe small(model: llama, text: tokens) {
  for block in model.blocks {
    let x2 = observe block on text by feature_squares
    for w in block.linears matching "*.o_proj" {
      print f32(w.columns) / 8.0
      let sparse = w where mask_2of4(wanda(w, x2[w]))
      store w as pack sparse as nm(2, 4) of int4(128) with scale int4_search(sparse, 128)
    }
  }
}
`;
let browser: Browser;
let address = "";
/** What pages had to say. */
const complaints: string[] = [];

test.before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  browser = await startBrowser();
});
test.after(async () => {
  await browser.close();
  server.close();
});

async function open(of: Browser, width = 1200): Promise<Page> {
  const page = await of.newPage();
  page.setDefaultTimeout(180_000);
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.setViewport({ width, height: 800 });
  await page.goto(address);
  await page.waitForSelector("body[data-ready]");
  return page;
}

function text(page: Page, id: string): Promise<string> {
  return page.$eval(`#${id}`, (found) => (found as unknown as { readonly textContent: string }).textContent);
}

/** Waits until an element says something of that kind. */
async function says(page: Page, id: string, pattern: RegExp): Promise<string> {
  for (let tries = 0; tries < 1200; tries++) {
    const found = await text(page, id);
    if (pattern.test(found)) return found;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`#${id} should say ${pattern}, and says: ${await text(page, id)}`);
}

/** Puts a text into the editor as if it had been pasted. */
async function write(page: Page, source: string): Promise<void> {
  await page.focus(".cm-content");
  await page.keyboard.down("Control");
  await page.keyboard.press("a");
  await page.keyboard.up("Control");
  await (await page.createCDPSession()).send("Input.insertText", { text: source });
}

test("the script is small", () => {
  const bytes = gzipSync(readFileSync(projectFile("dist/site/playground/app.js"))).length;
  assert.ok(bytes < 1.5e6, `${bytes} bytes`);
});

test("edit, see an error, fix it, see every stage, run on numbers", async () => {
  const page = await open(browser);
  console.log(`first usable editor after ${await page.$eval("body", (body) => body.getAttribute("data-ready"))} ms`);
  await write(page, "fn twice(x: f32[N]) -> f32[N] {\nreturn y where y[n] = 2.0 * z[n]\n}\n");
  await says(page, "found", /error/);
  await page.waitForSelector(".cm-lintRange-error");
  assert.match(await text(page, "findings"), /line 2: E\d+: .*`z`/);
  await write(page, "fn twice(x: f32[N]) -> f32[N] {\nreturn y where y[n] = 2.0 * x[n]\n}\n");
  await says(page, "found", /Nothing to report/);
  assert.ok((await page.$$(".tok-word")).length >= 3);
  const stages: readonly (readonly [string, RegExp])[] = [
    ["ast", /"kind": "function"/],
    ["graph", /graph twice/],
    ["kernel", /kernel twice/],
    ["wgsl", /@compute/],
    ["plan", /"steps"/],
  ];
  for (const [stage, pattern] of stages) await says(page, `stage-${stage}`, pattern);
  await says(page, "device", /Computing on SwiftShader/);
  await page.$eval("#arguments textarea", (field) => ((field as unknown as { value: string }).value = "1 2 3.5 -4"));
  await page.click("#run");
  assert.match(await says(page, "run-note", /\S/), /largest difference from the evaluator is 0\./);
  assert.is((await text(page, "results")).split("2 4 7 -8").length, 3);
  // other numbers, or another function: what was run before is gone
  await page.type("#arguments textarea", " ");
  assert.equal([await text(page, "results"), await text(page, "run-note")], ["", ""]);
  await page.click("#run");
  await says(page, "run-note", /largest difference/);
  await write(page, "fn half(x: f32[N]) -> f32[N] {\nreturn y where y[n] = 0.5 * x[n]\n}\n");
  await says(page, "stage-graph", /graph half/);
  assert.equal([await text(page, "results"), await text(page, "run-note")], ["", ""]);
  await page.close();
});

test("compress the small model and talk to it: the ids are those of Node", async () => {
  const page = await open(browser);
  await write(page, recipe);
  await says(page, "found", /Nothing to report/);
  await says(page, "device", /Computing on/);
  await page.click("#load");
  await says(page, "model-note", /3\.7 million parameters/);
  for (const [id, value] of [
    ["windows", "2"],
    ["window", "32"],
    ["tokens", String(tokens)],
  ] as const)
    await page.$eval(`#${id}`, (field, given) => ((field as unknown as { value: string }).value = given), value);
  await page.click("#compress");
  await says(page, "compress-note", /MiB → \d/);
  // the place of who goes by keyboard is where it was
  await page.waitForFunction("document.activeElement.id === 'compress'");
  assert.match(await text(page, "report"), /layers\.0\.self_attn\.o_proj\.weight2:4nm\(2, 4\) of int4/);
  assert.match(await text(page, "report"), /layers\.3\.self_attn\.o_projf32\(w\.columns\) \/ 8\.032/);
  // a line for the layers that were compressed, over all blocks, in each of both plots
  assert.match(await text(page, "plots"), /Layer error.*o_projWeight error.*o_proj$/);
  await page.waitForSelector("#plots figure:nth-child(2) svg[role=img] polyline");
  const drawn = await page.$$eval("#plots polyline", (lines) => lines.map((line) => line.getAttribute("points")));
  assert.equal(
    drawn.map((points) => points?.split(" ").length),
    [4, 4],
  );
  assert.match(await text(page, "figures"), /7\.00 MiB → .*times smaller.*Bits a weight/);
  await page.click("#speak");
  await page.waitForSelector("#compressed[data-ids]:not([data-ids=''])");
  const ids = (id: string): Promise<string | null> => page.$eval(`#${id}`, (found) => found.getAttribute("data-ids"));
  const found = [await ids("given"), await ids("compressed")];
  assert.ok((await text(page, "given")).length > prompt.length + 10);
  await page.close();
  assert.equal(found, await inNode());
});

/** Chooses a folder, as its user does. */
async function choose(page: Page, path: string): Promise<void> {
  const input = await page.$("input#directory");
  if (input === null) throw new Error("there is no field for a directory");
  await input.uploadFile(path);
}

test("a compressed directory of one's own is opened from the disk, and nothing is uploaded", async () => {
  const page = await open(browser);
  await says(page, "device", /Computing on/);
  const asked: string[] = [];
  page.on("request", (request) => asked.push(`${request.method()} ${request.url()}`));
  await choose(page, projectFile("examples/classics-3.7m-recovered"));
  assert.match(
    await says(page, "model-note", /parameters/),
    /^classics-3\.7m-recovered: 4 blocks, 3\.7 million .*2\.18 MiB/,
  );
  await page.$eval("#tokens", (field) => ((field as unknown as { value: string }).value = "4"));
  await page.click("#speak");
  await page.waitForSelector("#given[data-ids]:not([data-ids=''])");
  const found = await page.$eval("#given", (place) => place.getAttribute("data-ids"));
  assert.equal(asked, []);

  // what is no model, or damaged, is told, and the model that was there stays
  const folder = mkdtempSync(join(tmpdir(), "espalier-picked-"));
  const put = (name: string, content: string | Uint8Array): void => writeFileSync(join(folder, name), content);
  const config = readFileSync(projectFile("examples/classics-3.7m/config.json"));
  const weights = readFileSync(projectFile("examples/classics-3.7m/model.safetensors"));
  put("notes.txt", "no model");
  const complaintOf = async (pattern: RegExp): Promise<void> => {
    await choose(page, folder);
    await says(page, "model-note", pattern);
    assert.ok(await page.$eval("#model-note", (note) => note.classList.contains("bad")));
  };
  await complaintOf(/There is no file `.*config\.json`/);
  put("config.json", config.subarray(0, 40));
  await complaintOf(/config\.json` .*JSON/);
  put("config.json", config.toString().replace('"llama"', '"mamba"'));
  await complaintOf(/mamba/);
  put("config.json", config);
  await complaintOf(/has neither/);
  put("model.safetensors", weights.subarray(0, 5000));
  await complaintOf(/model\.safetensors`: the tensor .* but the file holds/);
  await page.click("#speak");
  await page.waitForFunction("!document.querySelector('#speak').disabled");
  assert.is(await page.$eval("#given", (place) => place.getAttribute("data-ids")), found);
  rmSync(folder, { recursive: true, force: true });
  await page.close();

  const device = await openDevice({ kind: "cpu" });
  const executor = await createExecutor(device);
  const model = await openModel(projectFile("examples/classics-3.7m-recovered"));
  const ids = await speak(createCaller(executor, targetOf(device), standardLibrary()), model, 4);
  await model.close();
  executor.close();
  device.close();
  assert.is(found, ids);
});

/** The ids before and after the same compression in Node. */
async function inNode(): Promise<readonly string[]> {
  const device = await openDevice({ kind: "cpu" });
  const executor = await createExecutor(device);
  const caller = createCaller(executor, targetOf(device), standardLibrary());
  const folder = mkdtempSync(join(tmpdir(), "espalier-playground-"));
  const given = await openModel(projectFile("examples/classics-3.7m"));
  try {
    const host = createHost();
    const { value } = check("small.esp", {
      ...host,
      read: (path) => (path === "small.esp" ? recipe : host.read(path)),
    });
    const tokenizer = await given.tokenizer();
    const source = readFileSync(projectFile("examples/classics-3.7m/calibration.txt"), "utf8");
    await compress(caller, given, value!.recipes.get("small")!, {
      output: join(folder, "model"),
      source: recipe,
      text: {
        ids: [...(await tokenizer.encode(source, { prefix: false }))],
        bos: tokenizer.bos,
        windows: 2,
        window: 32,
      },
    });
    const before = await speak(caller, given);
    const made = await openModel(join(folder, "model"));
    const after = await speak(caller, made);
    await made.close();
    return [before, after];
  } finally {
    await given.close();
    executor.close();
    device.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

async function speak(caller: Caller, model: Awaited<ReturnType<typeof openModel>>, count = tokens): Promise<string> {
  const tokenizer = await model.tokenizer();
  const session = await openSession(caller, model, { dtype: "f32" });
  const ids = await tokenizer.encode(prompt, { prefix: true });
  const { eosTokens } = model.generation;
  const found = await generate(session, ids, { maxNewTokens: count, temperature: 0, eosTokens });
  session.release();
  return found.ids.join(" ");
}

test("360 px, light and dark, by keyboard", async () => {
  const page = await open(browser, 360);
  const grounds: string[] = [];
  for (const value of ["light", "dark"]) {
    await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value }]);
    grounds.push((await page.evaluate("getComputedStyle(document.body).backgroundColor")) as string);
    assert.is(await page.evaluate("document.documentElement.scrollWidth"), 360);
  }
  assert.is.not(grounds[0], grounds[1]);
  // the example, the button, the editor; Escape and Tab leave it again
  const focused = (): Promise<unknown> =>
    page.evaluate("document.activeElement.id || document.activeElement.className");
  await page.keyboard.press("Tab");
  assert.is(await focused(), "example");
  await page.keyboard.press("Tab");
  assert.is(await focused(), "format");
  await page.keyboard.press("Tab");
  assert.match(String(await focused()), /cm-content/);
  await page.keyboard.press("Escape");
  await page.keyboard.press("Tab");
  assert.not.match(String(await focused()), /cm-content/);
  await page.close();
});

test("tables of reports, the widest there are, fit a page of 1000 px", async () => {
  const cell = (text: string): { readonly value: number; readonly text: string } => ({ value: 1, text });
  const name = "model.layers.31.self_attn.down_proj";
  const format = "nm(2, 4) of int4(128, asymmetric)";
  const table = (header: string, row: readonly PageCell[]): Section => ({
    ...{ kind: "table", title: "", caption: "" },
    ...{ header: header.split(", "), rows: [row] },
  });
  const numbers = ["129.608", "36.5618", "0.3152", "0.3702"].map(cell);
  const html = renderPage({
    ...{ title: "a report", subtitle: "", figures: [] },
    sections: [
      table(
        "treatment, layers, perplexity, grows by, layer error, weight error, format, bits/weight, bytes saved, seconds",
        ["sparsegpt-2of4", name, ...numbers, format, cell("4.125"), cell("117440512"), cell("120.98")],
      ),
      table("tensor, pattern, format, bits/weight, bytes, weight error, layer error, seconds", [
        ...[`${name}.weight`, "2:4", format, cell("3.125"), cell("117440512")],
        ...["0.3810", "0.2248", "120.98"].map(cell),
      ]),
    ],
  });
  const page = await browser.newPage();
  await page.setViewport({ width: 1000, height: 800 });
  await page.setContent(html);
  const wide = await page.$$eval(".table", (found) =>
    (found as unknown as { readonly scrollWidth: number; readonly clientWidth: number }[]).map(
      ({ scrollWidth, clientWidth }) => scrollWidth - clientWidth,
    ),
  );
  assert.equal(wide, [0, 0]);
  await page.close();
});

test("without WebGPU the page says so, and edits, checks and compiles", async () => {
  const page = await browser.newPage();
  await page.evaluateOnNewDocument("Object.defineProperty(Navigator.prototype, 'gpu', { value: undefined })");
  await page.goto(address);
  assert.match(await says(page, "device", /WebGPU, or/), /no WebGPU, or does not give it.*compiling work all the same/);
  await says(page, "stage-wgsl", /@compute/);
  await page.click("#run");
  await says(page, "run-note", /By the evaluator alone/);
  assert.is(await page.$eval("#load", (button) => button.hasAttribute("disabled")), true);
  await page.close();
});

test("nothing is served but the files of the site", async () => {
  const status = async (path: string, init?: RequestInit): Promise<number> =>
    (await fetch(`${address}${path}`, init)).status;
  assert.is(await status("playground/model/config.json"), 200);
  for (const path of [
    "package.json",
    "..%2fpackage.json",
    "playground/model/%2e%2e/%2e%2e/package.json",
    "%00",
    "playground/app.js/",
  ])
    assert.is(await status(path), 404, path);
  assert.is(await status("", { method: "POST" }), 405);
});

test("no page had an error on its console", () => assert.equal(complaints, []));

test.run();
