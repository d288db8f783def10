import {
  copyFileSync,
  cpSync,
  existsSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { byteCount } from "../../runtime/cli/options.js";
import { createOutput } from "../../runtime/cli/output.js";
import { duration } from "../../runtime/cli/progress.js";
import { packageVersion } from "../../runtime/package.js";
import { renderPage, type Page } from "../../runtime/cli/report/page.js";
import { checkPage, printWithPage, writePage } from "../../runtime/cli/report/write.js";
import { ModelError } from "../../runtime/model/error.js";
import { projectFile } from "../support/project.js";
import { classics, command, ended, espalier, start, temporaryFolder, toyModel } from "./support.js";

const report = suite("report");
const folder = temporaryFolder();
report.after(() => folder.remove());

const hostile = '</script><script>alert(1)</script> & "quotes"\u001b[31m';
const page: Page = {
  title: hostile,
  subtitle: "below",
  figures: [{ label: "one", value: "1", note: hostile }],
  sections: [
    {
      kind: "chart",
      title: "plot",
      caption: "of numbers",
      chart: {
        kind: "lines",
        below: "block",
        labels: [hostile, "1"],
        side: "error",
        unit: "percent",
        series: [{ name: "a", values: [0.5, null] }],
      },
    },
    {
      kind: "table",
      title: "rows",
      caption: "",
      header: ["name", "value"],
      rows: [
        [hostile, { value: 1, text: "1.00" }],
        ["b", null],
      ],
    },
    { kind: "text", title: "source", text: hostile },
  ],
};

const clear = { files: [], directories: [] };

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
  await checkPage(path, clear);
  await writePage(path, page);
  assert.is(readFileSync(path, "utf8"), renderPage(page));
  assert.equal(readdirSync(folder.path), ["page.html"]);
  for (const [wrong, code] of [
    [folder.path, "M150"],
    [join(folder.path, "no", "page.html"), "M151"],
  ] as const) {
    const error = await checkPage(wrong, clear).then(
      () => null,
      (thrown: unknown) => thrown,
    );
    assert.ok(error instanceof ModelError && error.code === code);
  }
});

report("where a page cannot be written is found before any work, and nothing is left of the trial", async () => {
  // long enough for a file of this name, but not for what is written beside it first
  const error = await checkPage(join(folder.path, `${"x".repeat(245)}.html`), clear).then(
    () => null,
    (thrown: unknown) => thrown,
  );
  assert.ok(error instanceof ModelError && error.code === "M151", String(error));
  assert.equal(readdirSync(folder.path), ["page.html"]);
  for (const command of [
    ["compress", "int4", "--out", join(folder.path, "out")],
    ["sensitivity", "--text", join(classics, "eval.txt")],
  ]) {
    const { code, stderr } = await espalier(...command, "--model", classics, "--report", "");
    assert.is(code, 2, stderr);
    assert.match(stderr, /option '--report <file>' argument '' is invalid. Expected a path/);
  }
});

report("a page never takes the place of what is read, nor lies where a model is read or written", async () => {
  const model = join(folder.path, "model");
  const [recipe, text, evaluation] = [
    folder.write("own.esp", readFileSync(projectFile("examples/wanda-2of4.esp"))),
    join(folder.path, "text.txt"),
    join(folder.path, "eval.txt"),
  ];
  cpSync(classics, model, { recursive: true });
  for (const path of [text, evaluation]) copyFileSync(join(classics, "eval.txt"), path);
  symlinkSync(model, join(folder.path, "link"));
  const before = readdirSync(folder.path);
  const out = join(folder.path, "new", "out");
  for (const path of [
    join(model, "config.json"),
    join(model, "page.html"),
    join(folder.path, "link", "page.html"),
    recipe,
    text,
    evaluation,
    join(folder.path, "new"),
  ]) {
    const { code, stdout } = await espalier(
      "compress",
      recipe,
      "--model",
      model,
      "--out",
      out,
      "--text",
      text,
      "--eval",
      evaluation,
      "--json",
      "--report",
      path,
    );
    assert.is(code, 1, path);
    assert.match(stdout, /"code": "M152"/, path);
  }
  const sensitivity = await espalier(
    "sensitivity",
    "--model",
    model,
    "--text",
    text,
    "--treatments",
    recipe,
    "--json",
    "--report",
    recipe,
  );
  assert.match(sensitivity.stdout, /"code": "M152"/);
  const gguf = projectFile("test/data/gguf/classics-1l-f16.gguf");
  const { stdout } = await espalier(
    "compress",
    "int4",
    "--model",
    gguf,
    "--out",
    join(folder.path, "out"),
    "--json",
    "--report",
    gguf,
  );
  assert.match(stdout, /"code": "M152"[^]*would replace/);
  assert.equal(readdirSync(folder.path), before);
  for (const name of ["config.json", "model.safetensors"])
    assert.ok(readFileSync(join(model, name)).equals(readFileSync(join(classics, name))));
  for (const name of before) if (name !== "page.html") rmSync(join(folder.path, name), { recursive: true });
});

report("a result is printed also where its page cannot be written any more", async () => {
  const printed: unknown[] = [];
  const notes: string[] = [];
  const output = {
    ...createOutput(true),
    result: (value: unknown) => printed.push(value),
    note: (line: string) => notes.push(line),
  };
  assert.is(
    await printWithPage(
      output,
      { tensors: 7 },
      () => "",
      join(folder.path, "gone", "page.html"),
      () => page,
    ),
    1,
  );
  assert.match(JSON.stringify(printed), /^\[\{"tensors":7,"report":null,"error":\{"code":"M15\d"/);
  assert.match(notes.join("\n"), /error\[M15\d\]/);
  assert.is(
    await printWithPage(
      output,
      { tensors: 7 },
      () => "",
      undefined,
      () => page,
    ),
    0,
  );
  assert.equal(printed.at(-1), { tensors: 7 });
});

report("a page tells what it was made by and of", async () => {
  const path = join(folder.path, "facts.html");
  const output = { ...createOutput(true), result: () => {} };
  const facts = [["Observed on", `8 windows of 256 tokens of ${hostile}`]] as const;
  await printWithPage(
    output,
    {},
    () => "",
    path,
    () => ({ ...page, facts }),
  );
  const html = readFileSync(path, "utf8");
  alone(html);
  assert.match(html, /<dt>Observed on<\/dt><dd>8 windows of 256 tokens of /);
  assert.match(html, /<dt>Command<\/dt><dd>espalier/);
  assert.match(html, new RegExp(`<dt>Espalier</dt><dd>${packageVersion().replaceAll(".", "\\.")}</dd>`));
  assert.match(html, /<dt>Date<\/dt><dd>\d{4}-\d\d-\d\d \d\d:\d\d UTC<\/dd>/);
  assert.not.match(html, /<script>alert/);
});

report("bytes and times are read and written as people do", () => {
  assert.equal(["4096", "512MiB", "1.5GB", "2g", "1k", "0"].map(byteCount), [4096, 536870912, 1.5e9, 2 ** 31, 1024, 0]);
  for (const wrong of ["", "-1", "much", "1.5.2", "3 apples"]) assert.throws(() => byteCount(wrong));
  assert.equal([0.4, 99, 200, 7500].map(duration), ["0 s", "99 s", "3 min 20 s", "2 h 05 min"]);
});

/** Resolves when a run has written what it would go on from: what it prints on the way depends on how fast it is. */
async function firstStepKept(child: ReturnType<typeof start>): Promise<void> {
  const kept = (): boolean =>
    readdirSync(folder.path).some(
      (name) => name.endsWith("-state") && existsSync(join(folder.path, name, "state.json")),
    );
  while (!kept()) {
    if (child.exitCode !== null) throw new Error("the run ended before it kept a step");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

const toy = await toyModel(report);

report("compress that is stopped after a block goes on with --resume, and reports", async () => {
  const out = join(folder.path, "resumed");
  const html = join(folder.path, "resumed.html");
  const line = [
    "compress",
    "examples/wanda-2of4-int4.esp",
    "--model",
    toy,
    "--out",
    out,
    "--device",
    "cpu",
    "--window",
    "16",
    "--windows",
    "4",
    "--json",
    "--report",
    html,
    "--resume",
  ];
  const child = start(command, line);
  const end = ended(child);
  await firstStepKept(child);
  child.kill("SIGINT");
  const stopped = await end;
  assert.is(stopped.code, 130);
  assert.match(
    stopped.stderr,
    /There is nothing to go on with[\s\S]* steps are finished and kept: --resume goes on from there/,
  );
  assert.ok(readdirSync(folder.path).some((name) => /^\.espalier-.*-state$/.test(name)));

  const changed = await espalier(...line, "--set", "group=64");
  assert.is(changed.code, 1);
  assert.match(changed.stderr, /the parameter group has changed: it was 128, and is 64/);

  const { code, stdout, stderr } = await espalier(...line);
  assert.is(code, 0, stderr);
  assert.match(stderr, /Going on after [1-4] of 4 steps/);
  const result = JSON.parse(stdout) as {
    tensors: readonly { layerError: number | null; seconds: number }[];
    report: string;
    deviceBytesPeak: number;
  };
  assert.is(result.tensors.length, 28);
  assert.ok(result.tensors.every(({ layerError, seconds }) => typeof layerError === "number" && seconds > 0));
  assert.is(result.report, html);
  alone(readFileSync(html, "utf8"));
  assert.equal(
    readdirSync(folder.path).filter((name) => name.startsWith(".")),
    [],
  );
});

report("sensitivity tries each group alone and shows which hurts most", async () => {
  const html = join(folder.path, "sensitivity.html");
  const { code, stdout, stderr } = await espalier(
    "sensitivity",
    "--model",
    toy,
    "--text",
    join(classics, "eval.txt"),
    "--treatments",
    "magnitude 2:4, int4",
    "--by",
    "block",
    "--window",
    "16",
    "--limit",
    "2",
    "--windows",
    "2",
    "--device",
    "cpu",
    "--json",
    "--report",
    html,
  );
  assert.is(code, 0, stderr);
  const result = JSON.parse(stdout) as {
    perplexity: number;
    rows: readonly {
      treatment: string;
      group: string;
      layers: readonly string[];
      perplexity: number;
      delta: number;
      layerError: number;
    }[];
  };
  assert.is(result.rows.length, 8);
  assert.ok(
    result.rows.every(
      ({ layers, layerError, perplexity, delta }) =>
        layers.length === 7 && layerError > 0 && Math.abs(perplexity - delta - result.perplexity) < 1e-9,
    ),
  );
  assert.equal(
    [...result.rows].sort((a, b) => b.delta - a.delta),
    result.rows,
  );
  for (const { group, layerError } of result.rows.filter(({ treatment }) => treatment === "magnitude-2of4"))
    assert.ok(
      result.rows.every((row) => row.group !== group || row.layerError <= layerError),
      "half of a layer is more",
    );
  alone(readFileSync(html, "utf8"));
  const unknown = await espalier(
    "sensitivity",
    "--model",
    classics,
    "--text",
    join(classics, "eval.txt"),
    "--treatments",
    "magic",
    "--json",
  );
  assert.is(unknown.code, 2);
  assert.match(unknown.stderr, /no recipe magic: neither a file nor one of .*int4/);
});

report.run();
