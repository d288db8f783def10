import { printFormat } from "../../compiler/formats/registry.js";
import type { FormatSpec } from "../../compiler/types/type.js";
import { counted } from "../../compiler/words.js";
import { blockBytes, shapeOfModel } from "../bench/shapes.js";
import { syntheticSession } from "../bench/synthetic.js";
import type { Device } from "../device/device.js";
import { standardLibrary } from "../library.js";
import { createCaller, type Caller } from "../llama/call.js";
import { openSession, type Session } from "../llama/inference/session.js";
import type { ActivationChoice } from "../llama/rounding.js";
import type { Model } from "../model/model.js";
import { createExecutor } from "../run/run.js";
import { targetOf } from "../run/target.js";
import { originOf, readChoices, writeChoices } from "../tune/file.js";
import { blocksToTune, bytesToTune } from "../tune/blocks.js";
import { printMeasured } from "../tune/search.js";
import { tune, type TunedWorkload } from "../tune/tune.js";
import type { Workload } from "../tune/workload.js";
import { sessionOptions } from "./dtype.js";
import { UsageError } from "./failure.js";
import { parseFormat } from "./format.js";
import { openGiven } from "./given.js";
import { openUnchecked } from "./machine.js";
import type { DeviceOptions } from "./options.js";
import type { Output } from "./output.js";
import { table } from "./table.js";
import { tunedPath } from "./tuned.js";

interface TuneCommandOptions extends DeviceOptions {
  readonly model?: string;
  readonly modelShape?: string;
  readonly format: readonly string[];
  readonly activations: ActivationChoice;
  readonly sequences: readonly number[];
  readonly context: readonly number[];
  readonly prompt: readonly number[];
  readonly seconds: number;
  readonly out?: string;
  readonly anew?: boolean;
}

/** `espalier tune`: finds the schedules with which a model is fastest, and keeps them. */
export async function run(output: Output, options: TuneCommandOptions): Promise<number | void> {
  const { model: path, modelShape } = options;
  if ((path === undefined) === (modelShape === undefined))
    throw new UsageError("Either --model or --model-shape says what is tuned for: give one of them.");
  if (path !== undefined && options.format.length > 0)
    throw new UsageError("--format belongs to --model-shape; a model has formats of its own.");
  const model = path === undefined ? null : await openGiven(path, output);
  try {
    const device = await openUnchecked(options.device, output.note);
    try {
      const dense = device.kind === "gpu" && device.features.has("shader-f16") ? "f16" : "f32";
      const formats = (options.format.length > 0 ? options.format : ["int4(128)"]).map((text) =>
        parseFormat(text === "dense" ? dense : text),
      );
      const made =
        model === null
          ? formats.map((spec) => [printFormat(spec, "short"), shaped(modelShape ?? "", spec, options)] as const)
          : [["", loaded(model, options)] as const];
      await tuneAll(output, device, options, made);
    } finally {
      device.close();
    }
  } finally {
    await model?.close();
  }
}

type MakeSession = (caller: Caller) => Promise<Session>;

function shaped(name: string, format: FormatSpec, { activations }: TuneCommandOptions): MakeSession {
  return (caller) => {
    const config = shapeOfModel(name);
    const enough = Math.ceil(bytesToTune(caller.target) / blockBytes(config, format));
    const layers = Math.min(config.layers, enough);
    return syntheticSession(caller, { ...config, layers }, format, activations);
  };
}

function loaded(model: Model, { activations }: TuneCommandOptions): MakeSession {
  return (caller) =>
    openSession(caller, model, {
      ...sessionOptions({ dtype: "auto" }, caller.target),
      activations,
      blocks: blocksToTune(model, bytesToTune(caller.target)),
    });
}

async function tuneAll(
  output: Output,
  device: Device,
  options: TuneCommandOptions,
  made: readonly (readonly [string, MakeSession])[],
): Promise<void> {
  const origin = originOf(device);
  const file = options.out ?? tunedPath(device);
  const kept = readChoices(file, origin);
  if (kept !== null && "refused" in kept) output.note(`note: ${file} is written anew: ${kept.refused}.`);
  const before = kept !== null && "choices" in kept && options.anew !== true ? kept.choices : {};
  let choices = before;
  const rows: (TunedWorkload & { readonly format: string })[] = [];
  for (const [format, make] of made) {
    const executor = await createExecutor(device);
    const progress = output.progress("tuning");
    try {
      const caller = createCaller(executor, targetOf(device), standardLibrary());
      const session = await make(caller);
      try {
        const report = await tune(session, workloads(options), {
          known: choices,
          seconds: options.seconds,
          onProgress: (done, total, note) => progress.update(done, total, note),
        });
        choices = report.choices;
        rows.push(...report.workloads.map((each) => ({ ...each, format })));
      } finally {
        session.release();
      }
    } finally {
      progress.end();
      executor.close();
    }
  }
  writeChoices(file, origin, choices);
  const found = Object.keys(choices).length - Object.keys(before).length;
  output.result({ ...origin, file, workloads: rows, choices }, () =>
    [
      printed(rows, output),
      `${counted(found, "choice")} found, ${Object.keys(choices).length} kept for ${device.name}: ${file}`,
    ].join("\n\n"),
  );
}

function workloads({ sequences, context, prompt }: TuneCommandOptions): readonly Workload[] {
  return [
    ...sequences.flatMap((batch) => context.map((seen) => ({ batch, tokens: 1, context: seen }))),
    ...prompt.map((length) => ({ batch: 1, tokens: Math.min(512, 2 ** Math.ceil(Math.log2(length))), context: 0 })),
  ];
}

function printed(rows: readonly (TunedWorkload & { readonly format: string })[], { paint }: Output): string {
  const workload = ({ batch, tokens, context }: Workload): string =>
    tokens === 1 ? `${batch} x 1 token after ${context}` : `a prompt of ${tokens}`;
  const wrong = rows.flatMap((row) =>
    row.trials.filter(({ outcome }) => outcome.kind === "wrong" || outcome.kind === "refused"),
  );
  return [
    table(
      ["format", "workload", "trials", "ms before", "ms after", "gain"],
      rows.map((row) => [
        row.format,
        workload(row),
        row.trials.length,
        { number: row.msBefore, digits: 3 },
        { number: row.msAfter, digits: 3 },
        { number: row.msBefore / row.msAfter, digits: 3 },
      ]),
      paint,
    ),
    ...rows.flatMap((row) =>
      row.keys
        .filter(({ usual, chosen }) => JSON.stringify(usual) !== JSON.stringify(chosen))
        .map(({ key, usual, chosen }) => `${key}\n  ${difference(usual, chosen)}`),
    ),
    ...wrong.map(
      ({ keys, cut, outcome }) =>
        `not taken: ${keys.join(" and ")}\n  ${JSON.stringify(cut)}: ${printMeasured(outcome)}`,
    ),
  ].join("\n\n");
}

/** What a cut has otherwise than the usual one. */
function difference(usual: object, chosen: object): string {
  const before = new Map<string, unknown>(Object.entries(usual));
  return Object.entries(chosen)
    .filter(([part, value]) => JSON.stringify(before.get(part)) !== JSON.stringify(value))
    .map(
      ([part, value]) =>
        `${part} ${before.has(part) ? `${JSON.stringify(before.get(part))} -> ` : ""}${JSON.stringify(value)}`,
    )
    .join(", ");
}
