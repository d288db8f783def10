/** The update of a training in f16, on a device that checks only: how often it starts something, and that it is taken. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { openDevice } from "../../../runtime/device/device.js";
import { standardLibrary } from "../../../runtime/library.js";
import { createCaller } from "../../../runtime/llama/call.js";
import { treatmentGraphs } from "../../../runtime/llama/training/gradients.js";
import { beginTraining } from "../../../runtime/llama/training/trained.js";
import { createOptimizer, createUpdate } from "../../../runtime/llama/training/update.js";
import { withArena } from "../../../runtime/run/arena.js";
import { createExecutor } from "../../../runtime/run/run.js";
import { targetOf } from "../../../runtime/run/target.js";
import { writtenRecipe } from "../recipes.js";

const test = suite("the update of a training");

const { recipe } = writtenRecipe(`use prune, quantize
recipe kept(model: llama) {
  for w in model.linears {
    let kept = w where mask_2of4(magnitude(w.dense))
    store w as pack kept as nm(2, 4) of int4(32) with scale int4_scale(kept, 32)
  }
}
`);
const settings = { rate: 1e-3, warmup: 0, batch: 1, clip: 1, beta1: 0.9, beta2: 0.95, epsilon: 1e-8, decay: 0 };

test("ten dispatches a weight of f16, none of which decodes what there is", async () => {
  const device = await openDevice({ backend: "null" });
  const executor = await createExecutor(device);
  const caller = createCaller(executor, targetOf(device), standardLibrary());
  const [step] = recipe.steps;
  if (step?.kind !== "linears") throw new Error("a loop over layers was expected");
  const [treatment] = step.treatments;
  const nameOf = (kind: string): string => treatment!.inputs.find((each) => each.kind === kind)!.name;
  /** Dispatches of the update of so many weights [32, columns]. */
  const dispatches = (columns: number, weights: number): Promise<number> =>
    withArena(executor, async (arena) => {
      const trained = [];
      for (let at = 0; at < weights; at++) {
        const form = { dtype: "f32", shape: [32, columns], format: { name: "f16", args: {}, of: null } } as const;
        const start = arena.own(await executor.allocate(form, "a weight", 64 * columns));
        const rounding = {
          ...treatmentGraphs(treatment!, caller.functions),
          ...{ clock: null, parameters: [], weight: nameOf("weight"), adjoint: `d_${treatment!.stores}` },
          ...{ sizes: { N: 32, K: columns }, given: { [nameOf("original")]: start } },
        };
        trained.push(
          await beginTraining(arena, caller, { name: `w${at}`, parameter: "wq", start, rounding }, "f16", false),
        );
      }
      const optimizer = await createOptimizer(arena, caller, trained, 1, "f16");
      assert.is(optimizer.squares.shape[0], 32 * weights, "a row each");
      return (await createUpdate(arena, caller, trained, optimizer, settings as never, "f16")).dispatches;
    });
  const [two, three] = [await dispatches(64, 2), await dispatches(64, 3)];
  assert.is(three - two, 10);
  executor.close();
  device.close();
});

test.run();
