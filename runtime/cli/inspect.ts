import type { Command } from "commander";
import { inspect } from "../model/inspect.js";
import { action, withJson } from "./context.js";
import { bytesText, table } from "./output.js";

/** `espalier inspect`: the tensors of a model directory or a safetensors file. */
export function addInspect(program: Command): void {
  withJson(program.command("inspect").description("tensors: name, shape, dtype, pattern, format, bits a weight, bytes").argument("<path>", "model directory or safetensors file"))
    .action(action(async (output, path: string, _options: { readonly json?: boolean }) => {
      const progress = output.progress("reading");
      const report = await inspect(path, (done, all) => progress.update(done, all));
      progress.end();
      output.result(report, () => [
        table(["name", "shape", "dtype", "pattern", "format", "bits/weight", "bytes", "zeros"], report.tensors.map((tensor) => [
          tensor.name, tensor.shape.join("x"), tensor.dtype, tensor.pattern, tensor.format, tensor.bitsPerWeight.toFixed(3), tensor.bytes, tensor.zeros ?? "-",
        ])),
        `${report.parameters} parameters, ${bytesText(report.bytes)}, ${report.bitsPerWeight.toFixed(3)} bits a weight`,
      ].join("\n"));
    }));
}
