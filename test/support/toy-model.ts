/** A model for tests of how models are handled, where it does not matter what it has learned. */
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { openModel } from "../../runtime/model/model.js";
import { createSafetensors } from "../../runtime/model/safetensors-writer.js";
import { projectFile } from "./project.js";

/** Features, between blocks and within them: every linear layer is a square of this width. */
export const toyWidth = 128;
const headWidth = 32;

const source = projectFile("examples/classics-3.7m");

/**
 * Writes a corner of the project's small model: the first rows and columns of each of its tensors, with its tokenizer.
 * A layer takes an eighth of the work, and since all are of one shape, a quarter of the kernels. `width`: a multiple of
 * 32 features, 256 at most. Gives the directory back.
 */
export async function writeToyModel(directory: string, width: number = toyWidth): Promise<string> {
  await mkdir(directory, { recursive: true });
  for (const file of ["tokenizer.json", "tokenizer_config.json", "generation_config.json", "calibration.txt"])
    await copyFile(join(source, file), join(directory, file));
  const config = JSON.parse(await readFile(join(source, "config.json"), "utf8")) as Record<string, unknown>;
  const heads = width / headWidth;
  const axes = { hidden_size: width, intermediate_size: width, num_attention_heads: heads, num_key_value_heads: heads };
  await writeFile(join(directory, "config.json"), JSON.stringify({ ...config, ...axes }));
  const model = await openModel(source);
  const tensors = model.tensors.map(({ name, shape: [rows = 1, columns] }) => ({
    name,
    dtype: "BF16" as const,
    shape: columns === undefined ? [width] : [/embed_tokens/.test(name) ? rows : width, width],
  }));
  const writer = await createSafetensors(join(directory, "model.safetensors"), tensors);
  for (const { name, shape } of tensors) {
    const [whole, before] = [await model.read(name), model.tensor(name).shape];
    const rows = shape.length === 1 ? 1 : (shape[0] ?? 0);
    const stride = 2 * (before.at(-1) ?? 0);
    const part = new Uint8Array(2 * rows * width);
    // keys and values have fewer rows than that: their rows come again
    const given = before.length === 1 ? 1 : (before[0] ?? 1);
    for (let row = 0; row < rows; row++)
      part.set(whole.subarray((row % given) * stride, (row % given) * stride + 2 * width), 2 * row * width);
    await writer.append(name, part);
  }
  await writer.finish();
  await model.close();
  return directory;
}
