/** A batch's prompts in a process of their own: those that its command gives it. */
import { openModel } from "../../model/model.js";
import { openAnswers } from "../batch-answers.js";
import type { BatchLine } from "../batch-lines.js";
import type { BatchOptions } from "../batch.js";
import { openMachine } from "../machine.js";
import type { BeginWork } from "./messages.js";

/** What the process is asked for. */
export type BatchTask =
  | { readonly kind: "answer"; readonly line: BatchLine; readonly prompt: Int32Array }
  | { readonly kind: "counts" };

export const begin: BeginWork = async (choice, given, note) => {
  const { options, contextLength } = given as { readonly options: BatchOptions; readonly contextLength: number };
  const model = await openModel(options.model);
  const { device, caller, close } = await openMachine({ ...options, device: choice }, note);
  const answers = await openAnswers(device.name, caller, model, options, contextLength);
  return {
    device: device.name,
    run(task) {
      const asked = task as BatchTask;
      return asked.kind === "counts" ? answers.counts() : answers.answer(asked.line, asked.prompt);
    },
    async close() {
      await answers.close();
      close();
      await model.close();
    },
  };
};
