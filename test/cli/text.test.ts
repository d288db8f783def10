import { suite } from "uvu";
import * as assert from "uvu/assert";
import { doubledStart, readTokens } from "../../runtime/cli/text.js";
import { readTokenizer } from "../../runtime/model/tokenizer/tokenizer.js";
import { classics, temporaryFolder } from "./support.js";

const test = suite("cli/text");
const tokenizer = await readTokenizer(classics, { vocabSize: 2048, bosToken: 0, eosTokens: [1] });

test("a text that writes out the token that is put before it is warned of once", async () => {
  const folder = temporaryFolder();
  const notes: string[] = [];
  const output = { note: (line: string) => void notes.push(line), alarm: (text: string) => text };
  await readTokens(folder.write("plain.txt", "said <|begin_of_text|> he"), tokenizer, output);
  assert.equal(notes, []);
  const ids = await readTokens(folder.write("twice.txt", "<|begin_of_text|>said he"), tokenizer, output);
  assert.is(ids[0], 0);
  assert.is(notes.length, 1);
  assert.match(notes.join(), /^warning: the text `.*twice\.txt` begins with `<\|begin_of_text\|>`, and another/);
  folder.remove();

  const prompt = tokenizer.encode("<|begin_of_text|>said he", { prefix: true });
  assert.equal([...prompt.subarray(0, 2)], [0, 0]);
  assert.match(doubledStart(tokenizer, prompt.subarray(1)) ?? "", /another `<\|begin_of_text\|>` is put before it/);
  assert.is(doubledStart(tokenizer, tokenizer.encode("said he", { prefix: false })), null);
  assert.is(doubledStart({ ...tokenizer, bos: null }, prompt), null);
});

test.run();
