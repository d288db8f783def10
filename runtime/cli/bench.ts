import type { Command } from "commander";
import { bench } from "../bench/bench.js";
import { benchShapes } from "../bench/shapes.js";
import { openDevice } from "../device/device.js";
import { standardLibrary } from "../library.js";
import { action, withDevice, type DeviceOptions } from "./context.js";
import { UsageError } from "./failure.js";
import { table } from "./output.js";

interface BenchOptions extends DeviceOptions {
  readonly shapes: string;
  readonly batch: string;
}

/** `espalier bench`: products of a model's linear layers, each format against dense. */
export function addBench(program: Command): void {
  withDevice(program.command("bench").description("time the products of a model's linear layers, each checked before")
    .option("--shapes <name>", `model: ${Object.keys(benchShapes).join(", ")}`, "llama-3.1-8b")
    .option("--batch <list>", "tokens, such as 1,16", "1,16"))
    .action(action(async (output, options: BenchOptions) => {
      const layers = benchShapes[options.shapes];
      if (layers === undefined) throw new UsageError(`--shapes is one of ${Object.keys(benchShapes).join(", ")}, not "${options.shapes}"`);
      const batches = options.batch.split(",").map(Number);
      if (batches.some((batch) => !Number.isSafeInteger(batch) || batch < 1 || batch > 4096)) throw new UsageError(`--batch is a list of whole numbers from 1 to 4096, not "${options.batch}"`);
      if (options.device !== "auto" && options.device !== "gpu" && options.device !== "cpu") throw new UsageError(`--device is auto, gpu or cpu, not "${options.device}"`);
      const device = await openDevice({ kind: options.device, log: output.note });
      try {
        const progress = output.progress("timing");
        const report = await bench(device, standardLibrary().get("linear")!, layers, batches, (done, total) => progress.update(done, total));
        progress.end();
        output.result(report, () => [
          `${report.device}: reads ${report.roofGBs.toFixed(0)} GB/s`,
          table(["layer", "n", "k", "batch", "format", "schedule", "us", "GB/s", "of roof", "over dense"], report.rows.map((row) => [
            row.layer, row.n, row.k, row.batch, row.format, row.schedule, row.us.toFixed(1), row.gbs.toFixed(0), `${((100 * row.gbs) / report.roofGBs).toFixed(0)}%`, row.speedupOverDense.toFixed(2),
          ])),
        ].join("\n"));
      } finally {
        device.close();
      }
    }));
}
