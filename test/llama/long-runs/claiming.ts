/**
 * A child of saved-state.test.ts: opens a state at a given time, says whether it has it, and keeps it until it is asked
 * to stop.
 */
import { openState } from "../../../runtime/llama/long-runs/saved-state.js";

const [path = "", time = "0"] = process.argv.slice(2);
while (Date.now() < Number(time)) await new Promise(setImmediate);
const got = await openState(path, {}, { resume: false, note: () => undefined }).then(
  () => "mine",
  (error: unknown) => String(error),
);
console.log(got);
setInterval(() => undefined, 1000);
