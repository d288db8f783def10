/** What `compress --to` writes beside the models that it saves. */
import { printPerplexity } from "../llama/compression/outcome.js";
import type { Compression } from "../llama/compression/compression.js";
import { ModelError, quoted } from "../model/error.js";
import { exportModel, type Exported } from "../model/export/export.js";
import type { ExportTarget, ExportType } from "../model/export/targets.js";
import { exists } from "../model/files.js";
import { openModel } from "../model/model.js";
import { packageVersion } from "../package.js";
import type { Output } from "./output.js";

/** The options of `compress` that concern it. */
export interface SavedOptions {
  readonly to?: ExportTarget;
  readonly type?: ExportType;
  readonly requantize?: boolean;
  readonly force?: boolean;
}

/** Where a model that is saved there is exported to. */
function exportPath(saved: string, to: ExportTarget): string {
  return `${saved.replace(/[/\\]+$/, "")}${to === "gguf" ? ".gguf" : `-${to}`}`;
}

/** That the place is free, before a long work is done. @throws ModelError M150 */
export async function checkExport(saved: string, { to, force = false }: SavedOptions): Promise<void> {
  if (to === undefined || force) return;
  const path = exportPath(saved, to);
  if (await exists(path))
    throw new ModelError(
      "M150",
      `The output ${quoted(path)} exists already.`,
      "give --force to replace it, or choose another",
    );
}

/** Exports what a compression has saved, if that is asked for. */
export async function exportSaved(
  { saved, perplexities }: Compression,
  { to, type, requantize, force }: SavedOptions,
  output: Output,
): Promise<readonly (Exported & { readonly seconds: number })[]> {
  if (to === undefined) return [];
  const figures = perplexities.map(({ text, of, value }) => ({
    what: `perplexity on the ${text} text, ${of === "given" ? "of the model that was compressed" : "of this model"}`,
    value: printPerplexity(value),
  }));
  const exported: (Exported & { readonly seconds: number })[] = [];
  for (const path of saved) {
    const started = performance.now();
    const model = await openModel(path);
    try {
      const written = await exportModel(model, {
        to,
        type,
        requantize,
        force,
        figures,
        output: exportPath(path, to),
        version: packageVersion(),
      });
      for (const note of written.notes) output.note(`note: ${note}`);
      exported.push({ ...written, seconds: (performance.now() - started) / 1000 });
    } catch (error) {
      output.note(`note: the model itself is written: ${path}`);
      throw error;
    } finally {
      await model.close();
    }
  }
  return exported;
}
