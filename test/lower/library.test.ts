/**
 * The standard library's functions of the model at awkward sizes, computed in three ways; and on devices with few
 * resources.
 */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { workgroupMemory } from "../../compiler/kernel/verify.js";
import { invocations } from "../../compiler/kernel/walk.js";
import type { Target } from "../../compiler/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf, type Simulated } from "../support/agreement.js";
import { openMachine, type Machine } from "../support/device-stages.js";
import { simulated, simulatedHalf } from "../support/simulated.js";
import { targets } from "../support/targets.js";
import { libraryCase, parametersOf, stagesOf, type Bound } from "./support.js";

const test = suite<{ machine: Machine }>("the standard library");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

/** The fewest resources a device may have. */
const least: Simulated = { target: targets.baseline, subgroupSize: 1 };
const devices: readonly Simulated[] = [
  least,
  ...simulated.filter(({ target }) => ["subgroups of 8", "cpu", "subgroups"].includes(target.name)),
];

interface Called {
  readonly name: string;
  readonly bound: Bound;
  readonly given?: Readonly<Record<string, ArrayLike<number>>>;
}

const sparse = "nm(2, 4) of int4(32)";
const blockSizes = { D: 32, C: 11, M: 64, heads: 4, groups: 2, head: 8 };
const allSparse = Object.fromEntries([..."QRSOPUW"].map((name) => [name, sparse]));

const calls: readonly Called[] = [
  // scores and mixtures: batch axes, and a bound for each token
  ...[1, 5, 9].map(
    (T): Called => ({
      name: "attention",
      bound: { sizes: { B: 2, T, A: 4, H: 8, C: 13, G: 2 } },
      given: { positions: [0, 13 - T] },
    }),
  ),
  { name: "attention", bound: { sizes: { B: 1, T: 17, A: 3, H: 5, C: 19, G: 3 } }, given: { positions: [2] } },
  // tokens past the end of the cache see all of it
  { name: "attention", bound: { sizes: { B: 1, T: 4, A: 2, H: 4, C: 6, G: 1 } }, given: { positions: [4] } },
  {
    name: "embed",
    bound: { sizes: { B: 2, T: 3, V: 6, D: 32 }, formats: { F: "int8(16)" } },
    given: { ids: [0, 5, 6, -1, 3, 100], first: [0] },
  },
  {
    name: "embed_more",
    bound: { sizes: { B: 1, T: 4, V: 5, D: 7 }, formats: { F: "f16" } },
    given: { ids: [4, 5, 9, 10], first: [5] },
  },
  { name: "rope", bound: { sizes: { B: 2, T: 3, heads: 3, head: 6 } } },
  ...[1, 3, 9].map(
    (T): Called => ({
      name: "gated",
      bound: { sizes: { B: 1, T, D: 64, M: 17 }, formats: { P: sparse, U: "int4(8, asymmetric)" } },
    }),
  ),
  ...[1, 7].map(
    (T): Called => ({ name: "add_linear", bound: { sizes: { B: 2, T, N: 9, K: 64 }, formats: { F: sparse } } }),
  ),
  {
    name: "logits",
    bound: { sizes: { B: 3, T: 4, V: 33, D: 32 }, formats: { F: "bf16" } },
    given: { pick: [0, 3, 1], eps: [0.001] },
  },
  {
    name: "token_loss",
    bound: { sizes: { B: 2, T: 6, V: 33, D: 32, tokens: 4 }, formats: { F: "f16" } },
    given: { targets: [1, 2, 3, 4, 5, 6, 32, 0, 9, 8, 7, 6], start: [2], eps: [0.001] },
  },
  {
    name: "span_logits",
    bound: { sizes: { B: 2, T: 6, V: 33, D: 32, tokens: 4 }, formats: { F: "f16" } },
    given: { start: [2], eps: [0.001] },
  },
  {
    name: "divergence",
    bound: { sizes: { B: 2, T: 3, V: 33 } },
    given: { targets: [1, 2, 3, 32, 0, 9] },
  },
  { name: "gram", bound: { sizes: { T: 9, K: 17 } } },
  { name: "squared_error", bound: { sizes: { N: 5, K: 64 }, formats: { F: "nm(4, 8) of f16", O: "bf16" } } },
  ...[1, 5].map(
    (T): Called => ({
      name: "block",
      bound: { sizes: { B: 2, T, ...blockSizes }, formats: allSparse },
      given: { positions: [0, 6], eps: [0.001] },
    }),
  ),
  // pages of both texts, one that is not there, and places of padding that are in none
  {
    name: "block_paged",
    bound: { sizes: { B: 2, T: 5, ...blockSizes, POOL: 7, PAGE: 4, L: 4, S: 3 }, formats: allSparse },
    given: { positions: [0, 6], eps: [0.001], pages: [0, 5, 2, -1, 6, 6, 6, 6, 3, -1, 1, 9], places: [2, 0] },
  },
  {
    name: "block_in_pages",
    bound: { sizes: { B: 2, T: 5, ...blockSizes, POOL: 7, PAGE: 4, L: 4 }, formats: allSparse },
    given: { positions: [0, 6], eps: [0.001], pages: [3, -1, 1, 9, 0, 5, 2, -1] },
  },
  {
    name: "follow_rows",
    bound: { sizes: { B: 4, V: 5 } },
    given: { ids: [3, -1, 2, 0], positions: [7, 0, 2, 4], next: [1, 2, 3, 4], places: [0, 3, 2, 1], nobody: [3] },
  },
  { name: "take_rows", bound: { sizes: { N: 4, T: 1, D: 8, B: 3 } }, given: { rows: [2, 0, 2] } },
  {
    name: "count_said",
    bound: { sizes: { B: 3, V: 5, S: 3 } },
    given: { places: [2, 0, 1], next: [4, 0, 4] },
  },
  {
    name: "move_row",
    bound: { sizes: { N: 4 } },
    given: { ids: [3, -1, 2, 0], positions: [7, 0, 2, 4], from: [3], to: [1] },
  },
];

for (const { name, bound, given } of calls) {
  const sizes = Object.entries(bound.sizes)
    .map(([size, value]) => `${size}=${value}`)
    .join(" ");
  test(`${name} ${sizes}`, async ({ machine }) => {
    const made = libraryCase(name, bound, "chain", given);
    const expected = expectedOf(made);
    for (const device of devices) agreeSimulated(made, expected, device);
    agreeSimulated(made, expected, least, { fuse: false });
    // a block takes the driver long to compile; for one token the test of siblings does it
    if (name !== "block" || bound.sizes["T"] !== 1) await agreeOnDevice(made, expected, machine);
  });
}

for (const { name, bound, given } of calls.filter(({ name }) => parametersOf(name).dtypes.length > 0)) {
  const sizes = Object.entries(bound.sizes)
    .map(([size, value]) => `${size}=${value}`)
    .join(" ");
  test(`${name} ${sizes} in f16`, () => {
    const made = libraryCase(name, { ...bound, dtype: "f16" }, "half", given);
    agreeSimulated(made, expectedOf(made), simulatedHalf);
  });
}

test("a whole block of a large model keeps to the limits of small devices", () => {
  const tight: readonly Target[] = [
    targets.baseline,
    { ...targets.baseline, name: "less workgroup memory", maxWorkgroupMemory: 8192, maxInvocations: 128 },
    {
      ...targets["a GPU with subgroups of 32"],
      name: "8 buffers",
      maxStorageBuffers: 8,
      maxWorkgroupMemory: 16384,
      maxInvocations: 256,
    },
    { ...targets["a CPU driver"], name: "cpu with 8 buffers", maxStorageBuffers: 8, maxWorkgroupMemory: 16384 },
  ];
  const formats = Object.fromEntries([..."QRSOPUW"].map((each) => [each, "nm(2, 4) of int4(128)"]));
  for (const target of tight) {
    for (const T of [1, 16, 256]) {
      const stages = stagesOf(
        "block",
        { sizes: { B: 1, T, D: 4096, C: 512, M: 14336, heads: 32, groups: 8, head: 128 }, formats },
        target,
      );
      for (const kernel of stages.kernels.flat()) {
        assert.ok(
          kernel.buffers.length <= target.maxStorageBuffers &&
            workgroupMemory(kernel) <= target.maxWorkgroupMemory &&
            invocations(kernel) <= target.maxInvocations,
          `${kernel.name} on ${target.name}`,
        );
        // none of its products is left to a plain loop nest, where the device has what WebGPU promises
        if (target.maxWorkgroupMemory >= targets.baseline.maxWorkgroupMemory && /_(?:h|y)$/.test(kernel.name))
          assert.is.not(kernel.origin.schedule, "loops", `${kernel.name} on ${target.name}, ${T} tokens`);
      }
    }
  }
});

test.run();
