/** Tries of `sensitivity` in a process of their own: those that its command gives it, one at a time. */
import { noteRecipes } from "../../llama/compression/sensitivity.js";
import { plannedTries, type SensitivityOptions, type Try } from "../../llama/compression/sensitivity-plan.js";
import { openTries } from "../../llama/compression/sensitivity-tries.js";
import { openModel } from "../../model/model.js";
import { openMachine } from "../machine.js";
import type { SensitivityCommandOptions } from "../sensitivity.js";
import type { BeginWork } from "./messages.js";

/** A task is the number of a try; null asks for the perplexity of the model as given. */
export const begin: BeginWork = async (choice, given, note) => {
  const { options, tries, searched } = given as {
    readonly options: SensitivityCommandOptions;
    readonly tries: readonly Try[];
    readonly searched: SensitivityOptions;
  };
  const model = await openModel(options.model);
  const wanted = plannedTries(model, tries, searched);
  const { device, caller, close } = await openMachine({ ...options, device: choice }, note);
  noteRecipes(caller, model, tries, note);
  const made = await openTries(caller, model, tries, searched);
  let last: Promise<unknown> = Promise.resolve();
  return {
    device: device.name,
    run(task) {
      const one = task === null ? null : wanted[task as number];
      if (one === undefined) throw new RangeError(`there is no try ${String(task)}`);
      if (one === null) return Promise.resolve(made.perplexity);
      const next = last.then(() => made.run(one));
      last = next.catch(() => {});
      return next;
    },
    async close() {
      await made.close();
      close();
      await model.close();
    },
  };
};
