import { existsSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { byteCount } from "../../runtime/cli/context.js";
import { duration } from "../../runtime/cli/output.js";
import { renderPage, type Page } from "../../runtime/cli/report/page.js";
import { checkPage, writePage } from "../../runtime/cli/report/write.js";
import { ModelError } from "../../runtime/model/error.js";
import { classics, ended, espalier, start, temporaryFolder } from "./support.js";

const report = suite("report");
const folder = temporaryFolder();
report.after(() => folder.remove());

const hostile = "</script><script>alert(1)</script> & \"quotes\"\u001b[31m";
const page: Page = {
  title: hostile, subtitle: "below", figures: [{ label: "one", value: "1", note: hostile }],
  sections: [
    { kind: "chart", title: "plot", caption: "of numbers", chart: { kind: "lines", below: "block", labels: [hostile, "1"], side: "error", unit: "percent", series: [{ name: "a", values: [0.5, null] }] } },
    { kind: "table", title: "rows", caption: "", header: ["name", "value"], rows: [[hostile, { value: 1, text: "1.00" }], ["b", null]] },
    { kind: "text", title: "source", text: hostile },
  ],
};

/** That a page loads nothing, and takes no text for markup. */
function alone(html: string): void {
  assert.ok(html.startsWith("<!doctype html>") && html.trimEnd().endsWith("</html>"));
  assert.match(html, /default-src 'none'/);
  assert.not.match(html, /<(?:link|img|iframe|script)[^>]*(?:src|href)=/);
  assert.not.match(html, /@import|url\(|sourceMappingURL/);
}

report("a page loads nothing, and takes no text for markup", () => {
  const html = renderPage(page);
  alone(html);
  assert.is(html.split("<script").length - 1, 3, "the data, Chart.js, and what draws");
  assert.not.match(html, /<script>alert/);
  assert.not.match(html, /\u001b/);
  const [, data = ""] = /<script type="application\/json" id="charts">(.*?)<\/script>/s.exec(html) ?? [];
  const charts = JSON.parse(data) as { labels: readonly string[]; series: readonly unknown[] }[];
  assert.is(charts[0]?.labels[0], hostile);
  assert.equal(charts[0]?.series, [{ name: "a", values: [0.5, null] }]);
});

report("a page is written whole, and only where it can be", async () => {
  const path = join(folder.path, "page.html");
  writeFileSync(path, "before");
  await checkPage(path);
  await writePage(path, page);
  assert.is(readFileSync(path, "utf8"), renderPage(page));
  assert.equal(readdirSync(folder.path), ["page.html"]);
  for (const [wrong, code] of [[folder.path, "M150"], [join(folder.path, "no", "page.html"), "M151"]] as const) {
    const error = await checkPage(wrong).then(() => null, (thrown: unknown) => thrown);
    assert.ok(error instanceof ModelError && error.code === code);
  }
});

report("bytes and times are read and written as people do", () => {
  assert.equal(["4096", "512MiB", "1.5GB", "2g", "1k", "0"].map(byteCount), [4096, 536870912, 1.5e9, 2 ** 31, 1024, 0]);
  for (const wrong of ["", "-1", "much", "1.5.2", "3 apples"]) assert.throws(() => byteCount(wrong));
  assert.equal([0.4, 99, 200, 7500].map(duration), ["0 s", "99 s", "3 min 20 s", "2 h 05 min"]);
});

/** Resolves when a run has written what it would go on from: what it prints on the way depends on how fast it is. */
async function firstStepKept(child: ReturnType<typeof start>): Promise<void> {
  const kept = (): boolean => readdirSync(folder.path).some((name) => name.endsWith("-state") && existsSync(join(folder.path, name, "state.json")));
  while (!kept()) {
    if (child.exitCode !== null) throw new Error("the run ended before it kept a step");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

report("compress that is stopped after a block goes on with --resume, and reports", async () => {
  const out = join(folder.path, "resumed");
  const html = join(folder.path, "resumed.html");
  const line = ["compress", "examples/wanda-2of4-int4.esp", "--model", classics, "--out", out, "--device", "cpu", "--window", "64", "--windows", "4", "--json", "--report", html, "--resume"];
  const child = start("runtime/cli/main.js", line);
  const end = ended(child);
  await firstStepKept(child);
  child.kill("SIGINT");
  const stopped = await end;
  assert.is(stopped.code, 130);
  assert.match(stopped.stderr, /There is nothing to go on with[\s\S]* steps are finished and kept: --resume goes on from there/);
  assert.ok(readdirSync(folder.path).some((name) => /^\.espalier-.*-state$/.test(name)));

  const changed = await espalier(...line, "--set", "group=64");
  assert.is(changed.code, 1);
  assert.match(changed.stderr, /the parameter group has changed: it was 128, and is 64/);

  const { code, stdout, stderr } = await espalier(...line);
  assert.is(code, 0, stderr);
  assert.match(stderr, /Going on after [1-4] of 4 steps/);
  const result = JSON.parse(stdout) as { tensors: readonly { layerError: number | null; seconds: number }[]; report: string; deviceBytesPeak: number };
  assert.is(result.tensors.length, 28);
  assert.ok(result.tensors.every(({ layerError, seconds }) => typeof layerError === "number" && seconds > 0));
  assert.is(result.report, html);
  alone(readFileSync(html, "utf8"));
  assert.equal(readdirSync(folder.path).filter((name) => name.startsWith(".")), []);
});

report("sensitivity tries each group alone and tells which hurts most", async () => {
  const html = join(folder.path, "sensitivity.html");
  const { code, stdout, stderr } = await espalier("sensitivity", "--model", classics, "--text", join(classics, "eval.txt"), "--treatments", "magnitude 2:4, int4", "--by", "block", "--window", "32", "--limit", "2", "--windows", "2", "--device", "cpu", "--json", "--report", html);
  assert.is(code, 0, stderr);
  const result = JSON.parse(stdout) as { perplexity: number; rows: readonly { treatment: string; group: string; layers: readonly string[]; perplexity: number; delta: number; layerError: number }[] };
  assert.is(result.rows.length, 8);
  assert.ok(result.rows.every(({ layers, layerError, perplexity, delta }) => layers.length === 7 && layerError > 0 && Math.abs(perplexity - delta - result.perplexity) < 1e-9));
  assert.equal([...result.rows].sort((a, b) => b.delta - a.delta), result.rows);
  assert.is(result.rows[0]?.treatment, "magnitude-2of4");
  alone(readFileSync(html, "utf8"));
  const unknown = await espalier("sensitivity", "--model", classics, "--text", join(classics, "eval.txt"), "--treatments", "magic", "--json");
  assert.is(unknown.code, 2);
  assert.match(unknown.stderr, /no recipe magic: neither a file nor one of .*int4/);
});

report.run();
