import type { Command } from "commander";
import { formatBytes } from "../device/device.js";
import { inspect } from "../model/inspect.js";
import { action, warn, withJson, type JsonOptions } from "./context.js";
import { table } from "./table.js";

const mebibyte = 2 ** 20;

/** `espalier inspect`: the tensors of a model directory or a safetensors file. */
export function addInspect(program: Command): void {
  withJson(
    program
      .command("inspect")
      .description("list the tensors of a model or of any safetensors file: shape, type, pattern, format, size")
      .argument("<path>", "model directory, safetensors or GGUF file"),
  ).action(
    action(async (output, path: string, _options: JsonOptions) => {
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
          `${report.parameters} parameters, ${formatBytes(report.bytes)}, ${report.bitsPerWeight.toFixed(3)} bits a weight`,
        ].join("\n"),
      );
    }),
  );
}
