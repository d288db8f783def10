import { counted } from "../../compiler/words.js";
import { formatBytes } from "../device/error.js";
import { describeActivations } from "../model/activation-counts.js";
import { inspect, type Inspection } from "../model/inspect.js";
import { givenModel, warn } from "./given.js";
import type { JsonOptions } from "./options.js";
import type { Output } from "./output.js";
import { table } from "./table.js";

const mebibyte = 2 ** 20;

/** `espalier inspect`: the tensors of a model directory or a safetensors file. */
export async function run(output: Output, given: string, _options: JsonOptions): Promise<number | void> {
  const path = await givenModel(given, output);
  const progress = output.progress("reading");
  const report = await inspect(path, (done, all) =>
    progress.update(Math.ceil(done / mebibyte), Math.ceil(all / mebibyte), "MiB"),
  );
  progress.end();
  for (const warning of report.warnings) warn(output, warning);
  output.result(report, () =>
    [
      table(
        ["name", "shape", "dtype", "pattern", "format", "bits/weight", "bytes", "zeros"],
        report.tensors.map((tensor) => [
          tensor.name,
          tensor.shape.join("x"),
          tensor.dtype,
          tensor.pattern,
          tensor.format,
          { number: tensor.bitsPerWeight, digits: 3 },
          tensor.bytes,
          tensor.zeros ?? "-",
        ]),
        output.paint,
      ),
      ...report.activations.map(describeActivations),
      ...describeFindings(report.quantization),
      `${report.parameters} parameters, ${formatBytes(report.bytes)}, ${report.bitsPerWeight.toFixed(3)} bits a weight`,
    ].join("\n"),
  );
}

/** Most names that are listed. */
const mostNames = 4;

/** How another tool has stored the layers, a line for each way. */
function describeFindings(found: Inspection["quantization"]): readonly string[] {
  if (found === null) return [];
  const { method, layers, dense } = found;
  const names = dense.length > mostNames ? [...dense.slice(0, mostNames), `${dense.length - mostNames} more`] : dense;
  return [
    ...layers.map(
      ({ container, what, count }) => `${method}, ${container} (${what}): ${counted(count, "linear layer")}`,
    ),
    ...(dense.length === 0 ? [] : [`stored as they are: ${names.join(", ")}`]),
  ];
}
