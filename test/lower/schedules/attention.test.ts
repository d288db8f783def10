/** Attention as one reduction, by its own schedules and by those of all reductions, at awkward sizes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { lowerConcrete, tunables } from "../../../compiler/compile.js";
import type { Target } from "../../../compiler/target.js";
import { openDevice } from "../../../runtime/device/device.js";
import { createPipelines } from "../../../runtime/run/pipelines.js";
import { targetOf } from "../../../runtime/run/target.js";
import { agreeOnDevice, agreeSimulated, expectedOf, schedulesOf, type Simulated } from "../../support/agreement.js";
import { openMachine, type Machine } from "../../support/device-stages.js";
import { targets } from "../../support/targets.js";
import { programCase } from "../language.js";
import { compiled } from "../../wgsl/support.js";
import { libraryCase, stagesOf } from "../support.js";

const test = suite<{ machine: Machine }>("attention");

test.before(async (context) => {
  context.machine = await openMachine();
});
test.after(({ machine }) => machine.close());

const gpu = targets["a GPU with subgroups of 32"];
const half: Target = { ...gpu, name: "f16", f16: true };
const matrices: Target = { ...half, name: "matrices", matrices: true };
const cpu: Simulated = { target: targets["a CPU driver"], subgroupSize: 4 };
const devices: readonly Simulated[] = [
  cpu,
  { target: targets.baseline, subgroupSize: 1 },
  { target: gpu, subgroupSize: 32 },
];

const sizes: readonly (readonly [Readonly<Record<string, number>>, readonly number[]])[] = [
  // one token, with all and with one of the keys
  [{ B: 2, T: 1, A: 4, H: 8, C: 13, G: 2 }, [0, 12]],
  // three heads a group, and rows that no power of two divides
  [{ B: 1, T: 2, A: 6, H: 12, C: 70, G: 2 }, [66]],
  // tokens past the end of the cache see all of it
  [{ B: 1, T: 5, A: 3, H: 16, C: 19, G: 3 }, [16]],
  // more queries than a tile of any schedule, of several groups
  [{ B: 2, T: 23, A: 4, H: 16, C: 40, G: 2 }, [17, 0]],
  // rows by half a subgroup in f16, and by a whole one in f32
  [{ B: 1, T: 1, A: 4, H: 128, C: 80, G: 1 }, [77]],
  // keys of several workgroups, and fewer than that has been made for
  [{ B: 2, T: 1, A: 2, H: 16, C: 600, G: 1 }, [599, 70]],
];

/** Rows of a load by two and more lanes, with fewer values than those and with several for each; two keys of a step and more. */
const bySubgroups = [
  { subgroups: 1, queries: 2, loads: 1 },
  { subgroups: 3, queries: 2, loads: 4 },
  { subgroups: 2, queries: 1, loads: 4 },
  { subgroups: 2, queries: 3, loads: 2 },
  { subgroups: 4, queries: 4, loads: 4 },
];

for (const [bound, positions] of sizes) {
  const given = Object.entries(bound).map(([name, size]) => `${name}=${size}`);
  test(given.join(" "), async ({ machine }) => {
    const made = libraryCase("attention", { sizes: bound }, "chain", { positions });
    const expected = expectedOf(made);
    for (const device of devices) {
      const stages = agreeSimulated(made, expected, device);
      assert.is(schedulesOf(stages)[0], "attention", device.target.name);
    }
    await agreeOnDevice(made, expected, machine);
  });

  test(`${given.join(" ")} by subgroups`, async ({ machine }) => {
    for (const [dtype, target] of [
      ["f32", gpu],
      ["f16", half],
    ] as const) {
      const made = libraryCase("attention", { sizes: bound, dtype }, dtype === "f16" ? "half" : "chain", { positions });
      const expected = expectedOf(made);
      const lanes = bound.H! / (dtype === "f16" && bound.H! % 8 === 0 ? 8 : 4);
      for (const [at, shape] of bySubgroups.entries()) {
        const cut = { kind: "attention", by: "subgroup", ...shape, parts: 1 + 2 * (at % 2) } as const;
        const stages = agreeSimulated(made, expected, { target, subgroupSize: 32 }, { schedule: cut });
        const queries = shape.queries === 3 ? 4 : shape.queries;
        const applies = lanes % queries === 0 && (lanes & (lanes - 1)) === 0;
        assert.is(stages.kernels[0]![0]!.workgroupSize[0] === 32 * shape.subgroups, applies, JSON.stringify(cut));
        // a driver's own subgroups, where they have one size
        const own = { ...machine.target, kind: "gpu" } as const;
        if (dtype === "f32") await agreeOnDevice(made, expected, { ...machine, target: own }, { schedule: cut });
      }
    }
  });

  test(`${given.join(" ")} in f16`, () => {
    const made = libraryCase("attention", { sizes: bound, dtype: "f16" }, "half", { positions });
    const expected = expectedOf(made);
    for (const target of [half, matrices]) {
      const stages = agreeSimulated(made, expected, { target, subgroupSize: 32 }, { schedule: "attention" });
      assert.is(schedulesOf(stages)[0], "attention", target.name);
    }
  });
}

test("parts whose number is no power of two, merged by lanes whose number is one", () => {
  const made = libraryCase("attention", { sizes: { B: 1, T: 1, A: 2, H: 64, C: 400, G: 1 } }, "chain", {
    positions: [390],
  });
  const expected = expectedOf(made);
  // a device of one size of subgroups, and one of many, where lanes are halved
  for (const subgroups of [gpu.subgroups, { min: 8, max: 32 }])
    for (const [parts, ahead] of [
      [3, 0],
      [5, 1],
      [7, 0],
    ] as const) {
      const cut = { kind: "attention", by: "workgroup", lanes: 256, queries: 1, tile: 64, ahead, parts } as const;
      agreeSimulated(made, expected, { target: { ...gpu, subgroups }, subgroupSize: 32 }, { schedule: cut });
    }
});

const ends = Array.from({ length: 11 }, (_, at) => (at * 7) % 19);
const product = "sum[i] q[t, a, i] * k[c, a / 2, i]";
const programs: { readonly [what: string]: readonly [ranges: string, score: string] } = {
  "a window of keys": ["c in max(t - 3, 0) .. t + 1", product],
  "ends that are data, some of them 0": ["c in 0 .. min(ends[t], C)", product],
  "starts that are data": ["c in min(ends[t], C) .. C", `0.5 * (${product})`],
  "a score that has the key's place": ["c in 0 .. t + 1", `(${product}) - 0.1 * f32(t - c)`],
  // the logarithm of 0 is -infinity: some keys count for nothing, and for the first token all
  "a mask of -infinity": ["c in 0 .. C", `(${product}) + log(select((c + t) % 3 == 1 and t > 0, 1.0, 0.0))`],
};

for (const [what, [range, score]] of Object.entries(programs)) {
  test(what, async ({ machine }) => {
    const source = `fn main(q: f32[T, A, H], k: f32[C, A / 2, H], v: f32[C, A / 2, H], ends: i32[T]) -> f32[T, A, H] where A % 2 == 0, C >= T {
  return y where y[t, a, h] = softmax_mean[${range}](${score}, v[c, a / 2, h])
}`;
    const made = programCase(source, { T: 11, A: 4, H: 8, C: 19 }, "chain", { ends });
    const expected = expectedOf(made);
    for (const device of devices) {
      const [own] = schedulesOf(agreeSimulated(made, expected, device));
      // between the keys of two queries may be some that neither has
      assert.is(own === "attention", what !== "a window of keys", device.target.name);
      for (const schedule of ["rows", "loops"] as const)
        assert.equal(schedulesOf(agreeSimulated(made, expected, device, { schedule })), [schedule]);
    }
    await agreeOnDevice(made, expected, machine);
  });
}

/** Attention over keys and values in pages, which a table finds; what a page is not there for counts as zeros. */
const paged = (dtype: string): string => {
  const q = dtype === "f16" ? "f32(q[b, t, a, i])" : "q[b, t, a, i]";
  const load = (of: string, last: string): string => {
    const element = `${of}[pages[b, c / S], c % S, a / (A / G), ${last}]`;
    return dtype === "f16" ? `f32(${element})` : element;
  };
  return `fn main(q: ${dtype}[B, T, A, H], keys: ${dtype}[P, S, G, H], values: ${dtype}[P, S, G, H], pages: i32[B, L], positions: i32[B]) -> f32[B, T, A, H] where A % G == 0 {
  return y where y[b, t, a, h] = softmax_mean[c in 0 .. min(positions[b] + t + 1, L * S)](0.3 * (sum[i] ${q} * ${load("keys", "i")}), ${load("values", "h")})
}`;
};

test("keys and values in pages that a table finds", async ({ machine }) => {
  const sizes = { B: 2, T: 2, A: 4, G: 2, H: 16, P: 7, S: 4, L: 5 };
  // a page that is two texts', pages out of range in both directions, and pages that no token reaches
  const given = { pages: [3, 0, 7, 5, -1, 6, -1, 2, 3, 1], positions: [17, 9] };
  const made = programCase(paged("f32"), sizes, "chain", given);
  const expected = expectedOf(made);
  for (const device of devices) {
    assert.equal(schedulesOf(agreeSimulated(made, expected, device)), ["attention"], device.target.name);
    agreeSimulated(made, expected, device, { schedule: "loops" });
  }
  assert.equal(schedulesOf(await agreeOnDevice(made, expected, machine)), ["attention"]);
  const cut = { kind: "attention", by: "subgroup", subgroups: 4, queries: 4, loads: 4, parts: 1 } as const;
  const own = { ...machine, target: { ...machine.target, kind: "gpu" } as const };
  const stages = await agreeOnDevice(made, expected, own, { schedule: cut });
  const size = machine.target.subgroups?.max ?? 0;
  if (size >= 4 && size === machine.target.subgroups?.min) assert.is(stages.kernels[0]![0]!.workgroupSize[0], 4 * size);
});

test("keys and values in pages, in f16 and by matrices, by every cut", () => {
  for (const [target, sizes] of [
    [half, { B: 1, T: 1, A: 4, G: 1, H: 32, P: 20, S: 16, L: 40 }],
    [matrices, { B: 1, T: 17, A: 2, G: 1, H: 16, P: 4, S: 16, L: 4 }],
  ] as const) {
    const pages = Array.from({ length: sizes.L }, (_, at) => (at === 1 ? 99 : (at * 3) % sizes.P));
    const made = programCase(paged("f16"), sizes, "half", { pages, positions: [sizes.S * sizes.L - 20] }, true);
    const expected = expectedOf(made);
    const stages = agreeSimulated(made, expected, { target, subgroupSize: 32 });
    assert.is(schedulesOf(stages)[0], "attention", target.name);
    for (const { key, cuts } of tunables(stages, target)) {
      assert.match(key.text, /in pages$/);
      const ways = new Set(cuts.flatMap((cut) => (cut.kind === "attention" ? cut.by : [])));
      assert.equal([...ways].sort(), ["subgroup", "workgroup"]);
      for (const cut of cuts) agreeSimulated(made, expected, { target, subgroupSize: 32 }, { schedule: cut });
    }
  }
});

test("a device takes every cut of heads of 128, in pages", async () => {
  const device = await openDevice({ backend: "null" });
  const pipelines = createPipelines(device);
  const { maxInvocations, maxWorkgroupMemory, maxStorageBuffers, maxBinding } = targetOf(device);
  const target: Target = { ...half, maxInvocations, maxWorkgroupMemory, maxStorageBuffers, maxBinding };
  const sizes = { B: 1, T: 1, A: 32, G: 8, H: 128, P: 600, S: 16, L: 600 };
  const { graph } = programCase(paged("f16"), sizes, "half", {}, true);
  const [found] = tunables(lowerConcrete(graph, target), target);
  assert.ok(found!.cuts.length > 5, `${found!.cuts.length} cuts`);
  for (const cut of found!.cuts)
    for (const kernel of lowerConcrete(graph, target, { schedule: cut }).kernels.flat())
      await compiled(pipelines, kernel);
  device.close();
});

test("keys and values side by side in the rows of one tensor", () => {
  const source = `fn main(q: f32[T, A, H], kv: f32[C, 2 * H]) -> f32[T, A, H] {
  return y where y[t, a, h] = softmax_mean[c in 0 .. C](sum[i in 0 .. H] q[t, a, i] * kv[c, i], kv[c, h + H]) for h in 0 .. H
}`;
  const made = programCase(source, { T: 1, A: 4, H: 32, C: 40 }, "chain");
  const expected = expectedOf(made);
  for (const device of devices)
    assert.equal(schedulesOf(agreeSimulated(made, expected, device)), ["attention"], device.target.name);
});

test("text that was written into pages is read as if it stood in a row", () => {
  const write = `fn main(var keys: f32[P, S, H], k: f32[T, H], pages: i32[L], position: i32[B]) {
  keys[pages[(position[0] + t) / S], (position[0] + t) % S, h] = k[t, h]
}`;
  const sizes = { P: 5, S: 4, H: 8, T: 6, L: 3, B: 1 };
  const given = { pages: [4, 1, 3], position: [5], keys: new Float32Array(160) };
  const made = programCase(write, sizes, "exact", given);
  const expected = expectedOf(made);
  for (const device of devices) agreeSimulated(made, expected, device);
  const [found] = [...expected.outputs.values()];
  const k = made.inputs.get("k")!.data;
  for (let t = 0; t < 6; t++) {
    const page = given.pages[Math.floor((5 + t) / 4)]!;
    for (let h = 0; h < 8; h++) assert.is(found!.data[(page * 4 + ((5 + t) % 4)) * 8 + h], k[t * 8 + h]);
  }
});

test("means of several indices, of few and of many elements, and within other expressions", async ({ machine }) => {
  const source = `fn main(s: f32[N, K], x: f32[N, K], n: i32[N]) -> f32[N], f32[N], f32[N] {
  let plain[r] = softmax_mean[j](100.0 * s[r, j], x[r, j])
  let part[r] = 2.0 - softmax_mean[j in 0 .. min(n[r], K)](s[r, j], x[r, j]) * 3.0
  let both[r] = softmax_mean[i in 0 .. 3, j in 0 .. i](s[i, j], x[r, j])
  return plain, part, both
}`;
  for (const K of [5, 300]) {
    const made = programCase(source, { N: 4, K }, "chain", { n: [0, 1, 5, 200] });
    const expected = expectedOf(made);
    for (const device of devices) {
      agreeSimulated(made, expected, device);
      agreeSimulated(made, expected, device, { schedule: "loops" });
    }
    await agreeOnDevice(made, expected, machine);
  }
});

test("workgroups of a token are whole rounds of a large GPU, or nearly", () => {
  const cutFor = (B: number, C: number) => {
    const bound = { sizes: { B, T: 1, A: 32, H: 128, C, G: 8 }, dtype: "f16" } as const;
    const target = { ...half, maxBinding: 2 ** 40 };
    const [cut] = tunables(stagesOf("attention", bound, target), target)[0]!.cuts;
    assert.ok(cut?.kind === "attention" && cut.by === "subgroup");
    return cut;
  };
  const text = 131136;
  for (const [B, C, subgroups, parts] of [
    [1, 512, 16, 1],
    [64, 512, 4, 1],
    // 128 workgroups for 132 processors: one more part would take a second round
    [1, text, 16, 16],
    [4, text, 16, 4],
    [16, text, 16, 1],
    [64, text, 4, 1],
  ] as const) {
    const cut = cutFor(B, C);
    assert.equal([cut.subgroups, cut.parts], [subgroups, parts], `${B} texts of ${C}`);
  }
  // what a part takes, in rounds that are full
  for (let B = 1; B <= 40; B++) {
    const { subgroups, parts } = cutFor(B, text);
    const filled = (8 * B * parts * subgroups) / (132 * 16);
    assert.ok(Math.ceil(filled) / filled < 1.15, `${B} texts: ${filled} rounds`);
  }
});

test("a prompt of 32,768 tokens keeps no scores", () => {
  const bound = { B: 1, T: 512, A: 32, H: 128, C: 32768, G: 8 };
  for (const target of [gpu, { ...matrices, maxBinding: 2 ** 31 - 4 }]) {
    const { program } = stagesOf(
      "attention",
      { sizes: bound, dtype: target.f16 ? "f16" : "f32" },
      { ...target, maxBinding: 2 ** 31 - 4 },
    );
    const between = program.buffers
      .filter(({ role }) => role === "temporary")
      .reduce((sum, { bytes }) => sum + bytes, 0);
    assert.ok(between <= 2 ** 25, `${between} bytes between`);
  }
});

test.run();
