/** The disk, as the place of a compression. */
import { join } from "node:path";
import { createDirectory } from "../../model/directory-writer.js";
import { exists, realpathOfNew } from "../../model/files.js";
import { openModel } from "../../model/model.js";
import { recipeHash } from "../../model/write.js";
import { packageVersion } from "../../package.js";
import { announce, stands } from "../long-runs/announced.js";
import { identityOf } from "../long-runs/identity.js";
import { openState } from "../long-runs/saved-state.js";
import { createSpill } from "../long-runs/spill.js";
import { forgetTraining, keepTraining, keptTraining } from "../long-runs/training-state.js";
import { checkOutputs } from "./outputs.js";
import type { Place } from "./place.js";

/** States lie beside outputs, activations in the system's temporary folder. */
export const disk: Place = {
  get version() {
    return packageVersion();
  },
  hash: async (text) => recipeHash(text),
  realPath: (path) => realpathOfNew(path),
  within: join,
  checkOutputs,
  openState: async (path, caller, model, origin, options) =>
    openState(path, await identityOf(caller, model, origin), options),
  keptTraining,
  keepTraining,
  forgetTraining,
  createDirectory,
  openModel: async (directory) => ((await exists(directory)) ? openModel(directory) : null),
  announce,
  stands,
  createSpill,
};
