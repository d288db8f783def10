/** Where a compression keeps what it has finished and writes its model: on the disk in Node, in memory in a page. */
import type { Recipe } from "../../../compiler/recipe/recipe.js";
import type { DirectoryPlan, DirectoryWriter } from "../../model/directory-plan.js";
import type { Model } from "../../model/opened.js";
import type { Caller } from "../call.js";
import type { Announced } from "../long-runs/announced.js";
import type { Origin } from "../long-runs/identity.js";
import type { SavedState } from "../long-runs/saved-state.js";
import type { Spill, SpillDisk } from "../long-runs/spill.js";
import type { KeptPoint, TrainingPoint } from "../long-runs/training-state.js";

export interface Place {
  /** The version of this package, which is recorded with a model. */
  readonly version: string;
  /** `sha256:` and the hex digest of a text. */
  hash(text: string): Promise<string>;
  /** The one path of something that need not exist. @throws ModelError */
  realPath(path: string): Promise<string>;
  /** The path of what is called `name` in a directory. */
  within(directory: string, name: string): string;
  /**
   * Checks that what a recipe writes can be written; gives the directories that the run to be gone on with has written
   * already. @throws ModelError
   */
  checkOutputs(
    model: Model,
    recipe: Recipe,
    options: { readonly output: string; readonly resume?: boolean | undefined; readonly force?: boolean | undefined },
  ): Promise<readonly string[]>;
  /** Opens the state of a run with this output. @throws LlamaError resume; ModelError */
  openState(
    path: string,
    caller: Caller,
    model: Model,
    origin: Origin,
    options: { readonly resume: boolean; readonly note: (line: string) => void },
  ): Promise<SavedState>;
  /** What a training has kept in the directory of a state. */
  keptTraining(directory: string): Promise<KeptPoint | null>;
  keepTraining(
    directory: string,
    point: TrainingPoint,
    pieces: (name: string) => AsyncIterable<Uint8Array>,
  ): Promise<void>;
  forgetTraining(directory: string): Promise<void>;
  /** Starts a model directory. @throws ModelError */
  createDirectory(path: string, plan: DirectoryPlan): Promise<DirectoryWriter>;
  /** Opens a model directory; null where there is none. @throws ModelError */
  openModel(directory: string): Promise<Model | null>;
  /** Announces that what lies in `staging` will lie in `directory`. */
  announce(directory: string, staging: string): Promise<Announced>;
  /** Whether what was announced is there. */
  stands(announced: Announced): Promise<boolean>;
  /** Room for activations that do not stay on the device. @throws ModelError */
  createSpill(slots: number, slotBytes: number, disk?: SpillDisk): Promise<Spill>;
}
