/** A model of a GGUF file on the device, its weights in the file's own formats. */
import { readFile } from "node:fs/promises";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { generate } from "../../../runtime/llama/inference/generate.js";
import { openSession } from "../../../runtime/llama/inference/session.js";
import { openModel } from "../../../runtime/model/model.js";
import { openMachine } from "../../llama/machine.js";
import { fixture, type Expected } from "./support.js";

const test = suite("model/gguf on the device");

const { caller, close } = await openMachine();
/** Tokens of the reference's prompt. */
const prompt = 12;

test("greedy text, with weights in q4_0 and an embedding in q6_k", async () => {
  const { model: path, expected } = fixture("classics-4l-q4_0");
  const { greedy_ids: ids } = JSON.parse(await readFile(expected, "utf8")) as Expected;
  const model = await openModel(path);
  const session = await openSession(caller, model, { dtype: "f32", activations: "f16" });
  const given = ids.slice(0, prompt);
  const made = await generate(session, given, { maxNewTokens: 8, temperature: 0, eosTokens: [] });
  assert.equal([...given, ...made.ids], ids.slice(0, prompt + 8));
  session.release();
  await model.close();
});

test.after(close);

test.run();
