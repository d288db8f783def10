import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../../compiler/check/check.js";
import { createHost } from "../../../runtime/library.js";
import { compress } from "../../../runtime/llama/compression/compress.js";
import { openModel } from "../../../runtime/model/model.js";
import { classics, openMachine } from "../machine.js";

const test = suite("treatments");

// a replayed fault: programs were cached by the recipe's name, so the second treatment of a shape ran the first one's
test("two treatments of layers with one shape are two programs", async () => {
  const source = `use quantize
recipe two(model: llama, group = 128) {
  for w in model.linears matching "k_proj" { store w as pack w as int8(group) with scale int8_scale(w, group) }
  save "eight"
  for w in model.linears matching "k_proj" { store w as pack w as int4(group) with scale int4_scale(w, group) }
  save "four"
}
`;
  const host = createHost();
  const { value } = check("two.esp", { ...host, read: (path) => (path === "two.esp" ? source : host.read(path)) });
  const folder = mkdtempSync(join(tmpdir(), "espalier-treatments-"));
  const { caller, close } = await openMachine();
  const model = await openModel(classics);
  try {
    await compress(caller, model, value!.recipes.get("two")!, { output: join(folder, "out"), source });
    for (const [name, format] of [
      ["eight", "int8"],
      ["four", "int4"],
    ] as const) {
      const saved = await openModel(join(folder, "out", name));
      assert.is(saved.tensor("model.layers.0.self_attn.k_proj.weight").format?.name, format);
      await saved.close();
    }
  } finally {
    await model.close();
    close();
    rmSync(folder, { recursive: true });
  }
});

test.run();
