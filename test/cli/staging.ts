/**
 * A child of interrupt.test.ts: as `compress` does, it writes to a path until it is asked to stop; it is never done.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { onInterrupt } from "../../runtime/cli/interrupt.js";
import { discardStaged, stageDirectory } from "../../runtime/model/output.js";

const [path = "", model = ""] = process.argv.slice(2);
const { staging } = await stageDirectory(path, { model, force: false });
writeFileSync(join(staging, "model.safetensors"), "half a model");
onInterrupt(() => discardStaged(path), console.error);
console.log("writing");
setInterval(() => undefined, 1000);
