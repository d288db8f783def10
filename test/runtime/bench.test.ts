/** `bench --model-shape`: the model that is made on the device, and what is reported of it. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec } from "../../compiler/formats/registry.js";
import { benchModel } from "../../runtime/bench/model.js";
import { shapeOfModel } from "../../runtime/bench/shapes.js";
import { repeatedWeights, weightsOnDevice } from "../../runtime/bench/weights.js";
import { parseFormat } from "../../runtime/cli/format.js";
import { openDevice } from "../../runtime/device/device.js";
import { standardLibrary } from "../../runtime/library.js";
import { createExecutor } from "../../runtime/run/run.js";

const test = suite("bench");
const device = await openDevice({ kind: "cpu" });
test.after(() => device.close());

test("weights made on the device are those made on the host, in every section of their format", async () => {
  const executor = await createExecutor(device, { poison: true });
  const shape = { rows: 200, columns: 256 };
  for (const text of ["f32", "bf16", "int4(128)", "nm(2, 4) of int4(64)", "int8(32)"]) {
    const spec = parseFormat(text);
    const tensor = await weightsOnDevice(executor, spec, shape, 3);
    const bytes = await executor.read(tensor);
    const made = formatOfSpec(spec).decode(spec, shape, new Uint32Array(bytes.buffer));
    const host = repeatedWeights(spec, shape.rows, shape.columns, 3);
    const wanted = Float32Array.from(made, (_, at) => (host.values[at % host.values.length] ?? NaN) / 32);
    assert.equal(made, wanted, text);
    assert.ok(
      made.some((value) => value !== 0),
      text,
    );
    executor.release(tensor);
  }
  executor.close();
});

test("a whole model of random weights decodes and takes prompts in its format", async () => {
  let reported = 0;
  const report = await benchModel(
    device,
    {
      shape: "classics-3.7m",
      choices: {},
      functions: standardLibrary(),
      config: shapeOfModel("classics-3.7m", 1),
      formats: [parseFormat("nm(2, 4) of int4(128)")],
      activations: "auto",
      sequences: [2],
      contexts: [16],
      prompts: [8],
      profile: false,
      steps: 2,
      warmUpMs: 0,
    },
    (done) => (reported = done),
  );
  assert.is(reported, 2);
  assert.equal([report.shape, report.blocks, report.kernels], ["classics-3.7m", 1, []]);
  assert.equal(
    report.decode.map((row) => [row.format, row.sequences, row.context]),
    [["nm(2, 4) of int4(128)", 2, 16]],
  );
  for (const row of report.decode) {
    assert.ok(row.tokensPerSecond > 0 && row.dispatchesPerStep > 8);
    assert.ok(row.hostMsPerStep < row.msPerStep);
  }
  assert.ok(report.prefill.every((row) => row.tokens === 8 && row.tokensPerSecond > 0));
  assert.is(device.memory.allocated, 0, "all memory is given back");
});

test.run();
