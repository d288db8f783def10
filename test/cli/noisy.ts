/** A child of stdout.test.ts: native code and a library print on stdout, before, between and after the result. */
import koffi from "koffi";
import { createOutput } from "../../runtime/cli/output.js";
import { claimStdout } from "../../runtime/cli/stdout.js";

const system = koffi.load(null);
const puts = system.func("int puts(const char *text)") as (text: string) => number;
const write = system.func("long write(int descriptor, const char *text, size_t length)") as (
  descriptor: number,
  text: string,
  length: number,
) => number;

const output = createOutput(true, await claimStdout());
puts("buffered by C");
write(1, "native\n", 7);
console.log("from JavaScript");
output.note("a note");
output.stream("no text with --json");
output.result({ answer: 42 }, () => "");
puts("buffered until the end");
