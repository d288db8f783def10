/** What a training stores is what its passes have used, in each format. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { openMachine } from "../machine.js";
import { writtenRecipe } from "../recipes.js";
import { tinyModel } from "../tiny.js";

const test = suite("formats in trainings");
const { caller, close } = await openMachine();
const folder = await mkdtemp(join(tmpdir(), "espalier-formats-"));
const model = await tinyModel(join(folder, "model"), () => {}, { intermediate_size: 256 });
test.after(async () => {
  assert.is(caller.executor.memory.live, 0);
  await model.close();
  await rm(folder, { recursive: true, force: true });
  close();
});

const text = { ids: Array.from({ length: 640 }, (_, at) => (at * at * 7 + at * 3) % 61), bos: null, window: 16 };
const masked = "let kept = w where mask_2of4(magnitude(w.start))\n      ";

const stores: readonly string[] = [
  "store w as pack w as q8_0",
  "store w as pack w as q4_0",
  "store w as pack w as q4_1",
  "store w as pack w as q4_k",
  "store w as pack w as q6_k",
  "store w as pack w as int3(32) with scale int3_search(w, 32)",
  "let s, z = int4_grid(w, 32)\n      store w as pack w as int4(32, asymmetric) with scale s, zero z",
  "store w as pack w as codebook(nf4, 64) with scale largest(w, 64)",
  "store w as pack w as fp8_e4m3(channel) with scale int8_channel_scale(w)",
  `${masked}store w as pack kept as nm(2, 4) of codebook(nf4, 64) with scale largest(kept, 64)`,
  `let factor = parameter(unit_factors(largest(w.start, 64)))
      let start = largest(w.start, 64)
      let s[n, g] = start[n, g] * factor[n, g]
      let q = pack w as codebook(nf4, 64) with scale s
      store w as pack learned_grid(w, q, s) as codebook(nf4, 64) with scale s`,
  `${masked}store w as pack kept as bitmask of int4(32) with scale int4_scale(kept, 32)`,
];

for (const store of stores)
  test(`${store.split(" as ").at(-1)!.split(" with ")[0]!}${store.includes("parameter") ? ", learned" : ""}`, async () => {
    // the second training begins with what the first has stored, and looks at it before its first step
    const { recipe, source } = writtenRecipe(`use prune, quantize, codebooks, train

/// The squared error of logits: unlike a divergence, it is exact where it is small.
fn off(logits: f32[T, V], dense: f32[T, V]) -> f32[T] {
  return loss where loss[t] = mean[v] (logits[t, v] - dense[t, v])^2
}

recipe both(model: llama, text: tokens) {
  train model on text by off(steps: 2, rate: 1e-3, batch: 4, watch: 1, norms: false) {
    for w in model.linears matching "down_proj" {
      ${store}
    }
  }
  train model on text by off(steps: 1, rate: 1e-6, batch: 4, watch: 1, norms: false) {
    for w in model.linears matching "down_proj" { store w as pack w as f32 }
  }
}
`);
    const { trainings } = await compress(caller, model, recipe, {
      output: join(folder, "out"),
      source,
      text,
      force: true,
    });
    const [used, stored] = [trainings[0]!.best!.loss, trainings[1]!.watched[0]!.loss];
    assert.ok(used > 0, "nothing is rounded");
    // a code may fall to the other side of a half on a device
    assert.ok(Math.abs(stored / used - 1) < 5e-2, `${used} in its passes, ${stored} as it is stored`);
  });

test.run();
