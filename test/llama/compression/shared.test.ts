import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Caller } from "../../../runtime/llama/call.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { openToyWorkshop } from "../machine.js";
import { calibrationIds, writtenRecipe, type Written } from "../recipes.js";
import { sameFiles } from "../../support/same-files.js";

const test = suite("layers that share an input");
const { caller, model, bos, folder } = await openToyWorkshop(test, "shared");
const text = { ids: await calibrationIds(model), bos, windows: 2, window: 32 };

/** Compresses, and gives how many times a graph with a Cholesky factorisation was run. */
async function factorings({ recipe, source }: Written, output: string, share?: boolean): Promise<number> {
  let count = 0;
  const counting: Caller = {
    ...caller,
    callGraph(graph, args, extra) {
      count += graph.eqns.filter((eqn) => eqn.kind === "factorize" && eqn.op === "cholesky").length;
      return caller.callGraph(graph, args, extra);
    },
  };
  const before = caller.executor.memory.live;
  await compress(counting, model, recipe, { output: join(folder, output), source, text, share });
  assert.is(caller.executor.memory.live, before, "all memory is given back");
  return count;
}

const same = (a: string, b: string): Promise<void> => sameFiles(join(folder, a), join(folder, b));

const plain = writtenRecipe(`use statistics, solve, gptq, sparsegpt, refine

recipe plain(model: llama, text: tokens, group = 64, damp = 0.05) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears matching "model.layers.0.*" {
      let h = damped(hessian(x2[w], windows(text)), damp)
      let u = inverse_factor(h)
      let sparse, keep = sparsegpt(without_dead(w, x2[w]), u, 2, 4)
      let q, s = gptq_kept_search(sparse, u, keep, group, -8.0, 7.0)
      let better = code_sweep(without_dead(w, x2[w]), q, h, keep, s, group, -8.0, 7.0)
      store w as pack (better where keep) as nm(2, 4) of int4(group) with scale s
    }
  }
}
`);

test("factor a Hessian once, and get the same bytes as if each had done so alone", async () => {
  assert.is(await factorings(plain, "shared"), 4);
  assert.is(await factorings(plain, "alone", false), 7);
  await same("shared", "alone");
});

const branches = writtenRecipe(`use statistics, solve, gptq

recipe branches(model: llama, text: tokens, damp = 0.05) {
  for block in model.blocks {
    let x2 = observe block on text by gram
    for w in block.linears matching "model.layers.1.*" except "down_proj" {
      let u = walk_factor(x2[w], windows(text), damp)
      if w matches "k_proj" {
        let q, s = gptq_dynamic(w, u, 64, -128.0, 127.0)
        store w as pack q as int8(64) with scale s
      } else {
        let q, s = gptq_dynamic(w, u, 64, -8.0, 7.0)
        store w as pack q as int4(64) with scale s
      }
    }
  }
}
`);

test("whose treatments differ only after the factor share it too", async () => {
  assert.is(await factorings(branches, "branches"), 3);
  assert.is(await factorings(branches, "branches-alone", false), 6);
  await same("branches", "branches-alone");
});

test("share nothing between two factors of one Hessian", async () => {
  const two = writtenRecipe(
    branches.source
      .replace(
        "walk_factor(x2[w], windows(text), damp)\n      if",
        "walk_factor(x2[w], windows(text), damp)\n      let v = walk_factor(x2[w], windows(text), 2.0 * damp)\n      if",
      )
      .replace("gptq_dynamic(w, u, 64, -128.0", "gptq_dynamic(w, v, 64, -128.0"),
  );
  assert.is(await factorings(two, "two"), 4, "k_proj has its own, and the others of its block share theirs");
  assert.is(await factorings(two, "two-alone", false), 6);
  await same("two", "two-alone");
});

test.run();
