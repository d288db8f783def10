import { bench } from "../bench/bench.js";
import { benchShapes } from "../bench/shapes.js";
import { InternalError } from "../../compiler/diagnostic.js";
import { standardLibrary } from "../library.js";
import { openDevice } from "../device/device.js";
import { chosenDevice, type DeviceOptions } from "./options.js";
import type { Output } from "./output.js";
import { table } from "./table.js";

interface BenchOptions extends DeviceOptions {
  readonly shapes: string;
  readonly batch: readonly number[];
}

/** `espalier bench`: products of a model's linear layers, each format against dense. */
export async function run(output: Output, options: BenchOptions): Promise<number | void> {
  const layers = benchShapes[options.shapes];
  const linear = standardLibrary().get("linear");
  if (layers === undefined || linear === undefined)
    throw new InternalError("bench has no layers or no product to time");
  const device = await openDevice({ ...chosenDevice(options.device), log: output.note });
  try {
    const progress = output.progress("timing");
    const report = await bench(device, linear, layers, options.batch, (done, total) => progress.update(done, total));
    progress.end();
    output.result(report, () =>
      [
        `${output.paint.bold(report.device)} reads ${report.roofGBs.toFixed(0)} GB/s`,
        table(
          ["layer", "n", "k", "batch", "format", "schedule", "us", "GB/s", "% of roof", "over dense"],
          report.rows.map((row) => [
            row.layer,
            row.n,
            row.k,
            row.batch,
            row.format,
            row.schedule,
            { number: row.us, digits: 1 },
            { number: row.gbs, digits: 0 },
            { number: (100 * row.gbs) / report.roofGBs, digits: 0 },
            { number: row.speedupOverDense, digits: 2 },
          ]),
          output.paint,
        ),
      ].join("\n"),
    );
  } finally {
    device.close();
  }
}
