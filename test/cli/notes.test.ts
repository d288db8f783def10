import { join } from "node:path";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { espalier, temporaryFolder, toyModel } from "./support.js";

const notes = suite("notes");
const folder = temporaryFolder();
notes.after(() => folder.remove());

// rows see each other, so that no block of columns can be walked alone
const file = folder.write(
  "mixed.esp",
  `use quantize
fn mixed(w0: f32[N, K]) -> f32[N, K] {
  var w = w0
  scan k in 0 .. K {
    let middle = mean[n] w[n, k]
    w[n, k] = w[n, k] - 0.5 * middle for n in 0 .. N
  }
  return w
}
recipe twice(model: llama, group = 128) {
  for block in model.blocks {
    for w in block.linears matching "*.k_proj" {
      let q = mixed(w)
      store w as pack q as int4(group) with scale int4_scale(q, group)
    }
    for w in block.linears matching "*.v_proj" {
      let q = mixed(w)
      store w as pack q as int4(group) with scale int4_scale(q, group)
    }
  }
}
`,
);
const note = `the scan over k in mixed (${file}) runs column by column and not in blocks, which is slow: middle is not computed for all rows.`;

for (const stage of ["graph", "kernel", "wgsl", "plan"]) {
  notes(`compile says why a scan is not run in blocks, beside the ${stage}`, async () => {
    const line = ["compile", file, "--fn", "mixed", "--size", "N=4", "K=8", "--emit", stage];
    const plain = await espalier(...line);
    assert.is(plain.code, 0, plain.stderr);
    assert.is(plain.stderr, `note: ${note}\n`);
    assert.not.match(plain.stdout, /column by column/);
    const { stdout, stderr } = await espalier(...line, "--json");
    assert.equal((JSON.parse(stdout) as { notes: unknown }).notes, [note]);
    assert.is(stderr, `note: ${note}\n`);
  });
}

notes("compile has nothing to say of a scan that is run in blocks", async () => {
  const { code, stdout, stderr } = await espalier(
    "compile",
    "stdlib/gptq.esp",
    "--fn",
    "gptq",
    "--size",
    "N=4",
    "K=256",
    "group=128",
    "--json",
  );
  assert.is(code, 0, stderr);
  assert.equal((JSON.parse(stdout) as { notes: unknown }).notes, []);
  assert.is(stderr, "");
});

notes("a scan in a function that is called is named by that function", async () => {
  // a group as long as the row, which is too long to be kept by a workgroup
  const { code, stderr } = await espalier(
    "compile",
    "examples/gptq-int4-search.esp",
    "--set",
    "group=4096",
    "--size",
    "N=4",
    "K=4096",
    "--json",
  );
  assert.is(code, 0, stderr);
  assert.match(
    stderr,
    /^note: the scan over k in gptq_search \(stdlib\/gptq\.esp\) runs .*: a row takes \d+ bytes of workgroup memory, and the device has \d+\.\n$/,
  );
});

notes("compress says it once, however many layers it is true of", async () => {
  const { code, stdout, stderr } = await espalier(
    "compress",
    file,
    "--model",
    await toyModel(notes),
    "--out",
    join(folder.path, "out"),
    "--device",
    "cpu",
    "--json",
  );
  assert.is(code, 0, stderr);
  assert.is((JSON.parse(stdout) as { tensors: readonly unknown[] }).tensors.length, 8);
  assert.equal(
    stderr.split("\n").filter((line) => line.startsWith("note: ")),
    [`note: ${note}`],
  );
});

notes.run();
