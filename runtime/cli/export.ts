import { counted } from "../../compiler/words.js";
import { formatBytes } from "../device/error.js";
import { exportModel, type Exported } from "../model/export/export.js";
import type { ExportTarget, ExportType } from "../model/export/targets.js";
import { discardStaged } from "../model/output.js";
import { packageVersion } from "../package.js";
import { openGiven } from "./given.js";
import { onInterrupt } from "./interrupt.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";
import { table } from "./table.js";

interface ExportCommandOptions extends JsonOptions {
  readonly to: ExportTarget;
  readonly out: string;
  readonly type?: ExportType;
  readonly embeddingType?: ExportType;
  readonly requantize?: boolean;
  readonly maxShardSize?: number;
  readonly force?: boolean;
}

/** `espalier export`: a model in a format of other tools. */
export async function run(output: Output, path: string, options: ExportCommandOptions): Promise<number | void> {
  const model = await openGiven(path, output);
  const forget = onInterrupt(() => discardStaged(options.out), output.note);
  const progress = output.progress("writing");
  try {
    const started = performance.now();
    const exported = await exportModel(model, {
      to: options.to,
      output: options.out,
      requantize: options.requantize,
      type: options.type,
      embedding: options.embeddingType,
      maxShardBytes: options.maxShardSize,
      force: options.force,
      version: packageVersion(),
      onProgress: (name, done, total) => progress.update(done, total, name),
    }).finally(progress.end);
    const seconds = (performance.now() - started) / 1000;
    for (const note of exported.notes) output.note(`note: ${note}`);
    output.result({ ...exported, seconds }, () =>
      describeExport({ ...exported, output: options.out }, seconds, output),
    );
  } finally {
    forget();
    await model.close();
  }
}

/** What was written, for people: a line for each way to store, and what was lost. */
export function describeExport({ tensors, bytes, output: path }: Exported, seconds: number, output: Output): string {
  const ways = new Map<string, { count: number; rounded: number; most: number }>();
  for (const { stored, loss } of tensors) {
    const way = ways.get(stored) ?? { count: 0, rounded: 0, most: 0 };
    ways.set(stored, {
      count: way.count + 1,
      rounded: way.rounded + (loss === null ? 0 : 1),
      most: Math.max(way.most, loss?.relative ?? 0),
    });
  }
  return [
    table(
      ["stored as", "tensors", "rounded", "largest error"],
      [...ways].map(([stored, { count, rounded, most }]) => [stored, count, rounded, { number: most, digits: 5 }]),
      output.paint,
    ),
    `${counted(tensors.length, "tensor")}, ${output.paint.bold(formatBytes(bytes))} in ${seconds.toFixed(1)} s: ${path}`,
  ].join("\n");
}
