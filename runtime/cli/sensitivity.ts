import { existsSync } from "node:fs";
import { join } from "node:path";

import { didYouMean } from "../../compiler/suggest.js";
import { findSensitivity, sensitivityOf } from "../llama/compression/sensitivity.js";
import {
  groupsOf,
  plannedTries,
  type Sensitivity,
  type SensitivityOptions,
  type SensitivityRow,
  type Try,
} from "../llama/compression/sensitivity-plan.js";
import { printPerplexity } from "../llama/compression/outcome.js";
import type { MixedText } from "../llama/texts.js";
import { calibrationWindows, checkContext, scoredWindows } from "../llama/windows.js";
import { filesOf, type Model } from "../model/model.js";
import { examples, packageRoot } from "../package.js";
import { findRecipe } from "./compress.js";
import { UsageError } from "./failure.js";
import { givenModel, openGiven, withLocalTexts } from "./given.js";
import { openMachine } from "./machine.js";
import { devicesOf, type DeviceOptions, type SeveralDevicesOptions, type TunedOptions } from "./options.js";
import type { Output } from "./output.js";
import { sensitivityPage } from "./report/sensitivity.js";
import { checkPage, printWithPage } from "./report/write.js";
import { table } from "./table.js";
import { readTexts } from "./text.js";
import { noteWarnings } from "./warnings.js";
import { openCrew, runAll } from "./workers/crew.js";
import { crewNames } from "./workers/names.js";

export interface SensitivityCommandOptions extends DeviceOptions, SeveralDevicesOptions, TunedOptions {
  readonly model: string;
  readonly text: string;
  readonly calibration?: string;
  readonly treatments: readonly string[];
  readonly by: "layer" | "kind" | "block";
  readonly window: number;
  readonly limit: number;
  readonly windows: number;
  readonly report?: string;
}

/** `espalier sensitivity`: which layers mind which treatment. */
export async function run(output: Output, asked: SensitivityCommandOptions): Promise<number | void> {
  const options = await withLocalTexts(asked, output);
  const read: string[] = [];
  const tries = options.treatments.map((treatment): Try => {
    const file = fileOf(treatment);
    const { recipe, sources } = findRecipe(file, { set: [] }, output);
    read.push(...sources.keys());
    return { name: existsSync(treatment) ? treatment : nameOf(treatment), recipe };
  });
  const path = await givenModel(options.model, output);
  const model = await openGiven(path, output);
  try {
    const tokenizer = await model.tokenizer();
    const beside = join(model.directory, "calibration.txt");
    const source = options.calibration ?? (existsSync(beside) ? beside : options.text);
    if (options.report !== undefined)
      await checkPage(options.report, {
        files: [...filesOf(model), ...read, options.text, source],
        directories: [model.directory],
      });
    const { window } = options;
    const { bos } = tokenizer;
    const tokensOf = (path: string, own: number): Promise<MixedText> =>
      readTexts([{ path, weight: 1 }], tokenizer, { window: own, ends: model.config.eosTokens }, output);
    const text = await tokensOf(options.text, window);
    const scored = scoredWindows(text.ids, window, bos, options.limit, text.answers);
    const calibration = calibrationWindows(
      (await tokensOf(source, bos === null ? window : window - 1)).ids,
      options.window,
      tokenizer.bos,
      options.windows,
    );
    for (const windows of [scored, calibration]) checkContext(windows, model.config.contextLength);
    const searched = { scored, calibration, by: options.by };
    const { result, device } = await search(output, model, tries, searched, { ...options, model: path });
    const code = await printWithPage(
      output,
      { ...result, by: options.by, device },
      () => describe(result, device, output),
      options.report,
      () =>
        sensitivityPage(result, {
          model,
          device,
          text: options.text,
          calibration: source,
          by: options.by,
          groups: groupsOf(model, options.by).map(({ name }) => name),
        }),
    );
    noteWarnings(output, result.warnings, 0);
    return code;
  } finally {
    await model.close();
  }
}

/** Makes the tries, on one device or divided between several. */
async function search(
  output: Output,
  model: Model,
  tries: readonly Try[],
  searched: SensitivityOptions,
  options: SensitivityCommandOptions,
): Promise<{ readonly result: Sensitivity; readonly device: string }> {
  const devices = devicesOf(options);
  const bar = output.share("trying");
  if (devices === null) {
    const { device, caller, close } = await openMachine(options, output.note);
    try {
      const result = await findSensitivity(caller, model, tries, {
        ...searched,
        note: output.note,
        onProgress: ({ subject, done, total, share, secondsLeft }) =>
          bar.update(share, secondsLeft, `${done}/${total} ${subject}`),
      }).finally(bar.end);
      return { result, device: device.name };
    } finally {
      close();
    }
  }
  const started = performance.now();
  const wanted = plannedTries(model, tries, searched);
  const crew = openCrew({
    devices,
    begin: () => ({ work: "sensitivity", options: { options, tries, searched } }),
    note: output.note,
  });
  try {
    bar.update(0, null, "observing on each device");
    await crew.ready;
    const began = performance.now();
    let done = 0;
    const rows = (await runAll(
      crew,
      wanted.map((_, at) => at),
      (at) => {
        done++;
        const left = (wanted.length - done) * ((performance.now() - began) / done / 1000);
        const one = wanted[at];
        bar.update(done / wanted.length, left, `${done}/${wanted.length} ${one?.name}: ${one?.group.name}`);
      },
    )) as readonly SensitivityRow[];
    const perplexity = await crew.run(null);
    const seconds = (performance.now() - started) / 1000;
    return { result: sensitivityOf(model, searched, perplexity as number, rows, seconds), device: crewNames(crew) };
  } finally {
    bar.end();
    await crew.close();
  }
}

/** Tries that are printed. */
const shown = 24;

function describe(result: Sensitivity, device: string, output: Output): string {
  const more = result.rows.length - shown;
  return [
    table(
      ["treatment", "layers", "perplexity", "grows by", "layer error", "weight error", "bits/weight", "bytes saved"],
      result.rows
        .slice(0, shown)
        .map((row) => [
          row.treatment,
          row.group,
          { number: row.perplexity, digits: 3 },
          { number: row.delta, digits: 3 },
          { number: row.layerError ?? NaN, digits: 4 },
          { number: row.relativeError, digits: 4 },
          { number: row.bitsPerWeight, digits: 3 },
          row.bytesBefore - row.bytesAfter,
        ]),
      output.paint,
    ),
    ...(more > 0 ? [`and ${more} that hurt less: --json and --report have them all`] : []),
    `perplexity ${output.paint.bold(printPerplexity(result.perplexity))} as given, over ${result.tokens} tokens (the first ${result.windows} windows); ${result.rows.length} tries in ${result.seconds.toFixed(1)} s on ${device}`,
  ].join("\n");
}

/** The file of a treatment: of an example where it has the name of one, as `magnitude 2:4` or `magnitude-2of4`. */
function fileOf(treatment: string): string {
  if (existsSync(treatment)) return treatment;
  const name = nameOf(treatment);
  if (examples().includes(name)) return join(packageRoot(), "examples", `${name}.esp`);
  const meant = didYouMean(name, examples());
  throw new UsageError(
    `there is no recipe ${treatment}: neither a file nor one of ${examples().join(", ")}${meant === undefined ? "" : `; ${meant}`}`,
  );
}

function nameOf(treatment: string): string {
  return treatment
    .toLowerCase()
    .replace(/(\d+):(\d+)/g, "$1of$2")
    .replace(/\s+/g, "-")
    .replace(/\.esp$/, "");
}
