/** Which layers mind being compressed: each layer, or group of layers, treated alone, and the model scored. */
import { counted } from "../../../compiler/words.js";
import type { Linear, Model } from "../../model/model.js";
import type { Caller } from "../call.js";
import { createForecast } from "./forecast.js";
import { chanceWarning, type Warning } from "./outcome.js";
import { checkRecipe } from "./fit.js";
import { openTries } from "./sensitivity-tries.js";
import {
  plannedTries,
  type Sensitivity,
  type SensitivityOptions,
  type SensitivityRow,
  type Try,
} from "./sensitivity-plan.js";
import { countedTokens } from "../windows.js";

/**
 * Tries each treatment on each group alone. The model stays on the device, dense in f32, and treated weights are
 * decoded to that, so that all tries run the same kernels. A group is scored from its first block on, for
 * all before is as it was. Layers that a recipe leaves alone are left out.
 * @throws LlamaError recipe, bad-window, not-finite, not-positive-definite; CompileError; ModelError; DeviceError
 */
export async function findSensitivity(
  caller: Caller,
  model: Model,
  tries: readonly Try[],
  options: SensitivityOptions,
): Promise<Sensitivity> {
  const started = performance.now();
  const { scored, calibration } = options;
  const wanted = plannedTries(model, tries, options);
  noteRecipes(caller, model, tries, options.note);
  const { blocks } = model;
  const suffix = (layers: readonly Linear[]): number => blocks.length - Math.min(...layers.map(({ block }) => block));
  const perBlock = scored.count * scored.tokens;
  const observed = blocks.length * calibration.count * calibration.tokens;
  // the logits are worth about as much as a block
  const forecast = createForecast({
    observe: 4 * observed,
    score:
      (blocks.length + 1) * perBlock +
      wanted.reduce((sum, { group }) => sum + (suffix(group.layers) + 1) * perBlock, 0),
  });
  let done = 0;
  const report = (subject: string): void =>
    options.onProgress?.({ subject, done, total: wanted.length, ...forecast.now() });

  const made = await openTries(caller, model, tries, options, (block) => {
    forecast.done("observe", (4 * observed) / blocks.length);
    report(`observing block ${block}`);
  });
  try {
    forecast.done("score", (blocks.length + 1) * perBlock);
    report("the model as given");
    const rows: SensitivityRow[] = [];
    for (const one of wanted) {
      rows.push(await made.run(one));
      done++;
      forecast.done("score", (suffix(one.group.layers) + 1) * perBlock);
      report(`${one.name}: ${one.group.name}`);
    }
    return sensitivityOf(model, options, made.perplexity, rows, (performance.now() - started) / 1000);
  } finally {
    await made.close();
  }
}

/** Says what is to be known of the recipes on this device. @throws LlamaError recipe; CompileError */
export function noteRecipes(
  caller: Caller,
  model: Model,
  tries: readonly Try[],
  note: (line: string) => void = () => {},
): void {
  for (const line of new Set(tries.flatMap(({ recipe }) => checkRecipe(caller, model, recipe).notes)))
    note(`note: ${line}`);
}

/** The result, of rows in the order of the tries. */
export function sensitivityOf(
  model: Model,
  { scored }: Pick<SensitivityOptions, "scored">,
  perplexity: number,
  rows: readonly SensitivityRow[],
  seconds: number,
): Sensitivity {
  return {
    perplexity,
    tokens: countedTokens(scored),
    windows: scored.count,
    rows: worstFirst(rows),
    warnings: warningsOf(perplexity, rows, model.config.vocabSize),
    seconds,
  };
}

/** Rows by what they grow by, those without a perplexity before all others. */
export function worstFirst(rows: readonly SensitivityRow[]): readonly SensitivityRow[] {
  const order = ({ perplexity }: SensitivityRow): number =>
    Number.isNaN(perplexity) ? 2 : perplexity < Infinity ? 0 : 1;
  return [...rows].sort((a, b) => order(b) - order(a) || (order(a) === 0 ? b.delta - a.delta : 0));
}

/**
 * What makes a search worth less than it looks: tries that cannot be distinguished, and a model that is worth nothing.
 */
export function warningsOf(dense: number, rows: readonly SensitivityRow[], vocabulary: number): readonly Warning[] {
  const without = rows.filter(({ perplexity }) => Number.isNaN(perplexity)).length;
  return [
    ...[chanceWarning(dense, vocabulary, "the model as given", "scored")].filter((found) => found !== null),
    ...(without === 0
      ? []
      : [
          {
            kind: "no-perplexity" as const,
            tensor: null,
            value: without,
            message: `${without} of ${counted(rows.length, "try", "tries")} ${without === 1 ? "has" : "have"} no perplexity: what the model computes then is NaN or infinite`,
          },
        ]),
  ];
}
