import { suite } from "uvu";
import * as assert from "uvu/assert";
import { ended, start } from "./support.js";

const stdout = suite("stdout");

stdout("holds the result alone, whatever native code and libraries print", async () => {
  const { code, stdout: out, stderr } = await ended(start("test/cli/noisy.js", []));
  assert.is(code, 0, stderr);
  assert.equal(JSON.parse(out), { answer: 42 });
  for (const noise of ["buffered by C", "native", "from JavaScript", "a note", "buffered until the end"])
    assert.ok(stderr.includes(noise), noise);
});

stdout.run();
