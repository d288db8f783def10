/** Products whose results are stored, since what reads them is no follower of theirs. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import type { Cut } from "../../compiler/lower/schedules/choices.js";
import type { Simulated } from "../support/agreement.js";
import { simulated } from "../support/simulated.js";
import {
  follows,
  inputs,
  kernels,
  large,
  main,
  matvecCut,
  own,
  product,
  program,
  ranges,
  readers,
  turned,
  type Choice,
} from "./followers.js";

const test = suite("products whose results are stored");

/** Kernels of a program with a product of few tokens that is computed by itself. */
function apart(source: string, choice: Partial<Choice> = {}): void {
  for (const schedule of choice.schedule === undefined ? (["matvec", "dot"] as const) : [choice.schedule]) {
    const found = kernels(source, { ...choice, schedule, sizes: { T: 3, ...choice.sizes } });
    assert.ok(found.includes(`y ${schedule}`), `${found.join()}\n${source}`);
  }
}

const rotated = program({ reader: "rotation", schedule: "matvec" });
const result = readers.rotation.result;

test("a result that is asked for, or that others read, is stored", () => {
  apart(
    main(`Y[B, T, heads * head], ${result}`, `${product}\n${readers.rotation.body.replace("z where", "y, z where")}`),
  );
  apart(
    main(
      `${result}, f32[T, B]`,
      `${product}\nlet z[b, t, a, h] = E(${turned}) ${ranges}
  let u[t, b] = f32(y[b, t, 3]) + f32(y[b, t, 5]) for t in 0 .. T, b in 0 .. B\nreturn z, u`,
    ),
  );
});

test("elements elsewhere than half a head away, or not all of them, are loaded", () => {
  const beside = (place: string): string => {
    const from = "a * head + (h + head / 2) % head";
    assert.ok(rotated.includes(from));
    return rotated.replace(from, place);
  };
  for (const place of [
    "a * head + (h + 1) % head",
    "a * head + (h + head / 4) % head",
    "a * head + head - 1 - h",
    "(a * head + h + head / 2) % (heads * head)",
    "a * head",
    "(heads - 1 - a) * head + h",
    "h * heads + a",
    // by the token, and by what is known only when it runs
    "a * head + (h + t) % head",
    "(a * head + h + t) % (heads * head)",
    "a * head + (h + positions[b]) % head",
    // beyond the end there is nothing, which is 0
    "a * head + h + head / 2",
  ])
    apart(beside(place));
  const each = (token: string): string => rotated.replaceAll(/\by\[b, t, a/g, `y[b, ${token}, a`);
  for (const token of ["T - 1 - t", "0", "max(t - 1, 0)", "t - 1"]) apart(each(token));
  apart(
    each("t")
      .replace(ranges, `for t in 0 .. T - 1, a in 0 .. heads, h in 0 .. head`)
      .replace(result, "E[B, T - 1, heads, head]"),
  );
  apart(
    rotated
      .replace(ranges, `for t in 0 .. T, a in 0 .. heads - 1, h in 0 .. head`)
      .replace(result, "E[B, T, heads - 1, head]"),
  );
  const many = `return z where z[b, t, s, a, h] = E(${turned} + f32(s)) for s in 0 .. 2, a in 0 .. heads, h in 0 .. head`;
  apart(main("E[B, T, 2, heads, head]", `${product}\n${many}`));
  const swapped = rotated.replace(own, own.replace("b, t", "t, b"));
  apart(swapped.replace("> E[B, T, heads, head] {", "> E[B, T, heads, head] where B == T {"), {
    sizes: { B: 2, T: 2 },
  });
});

test("what sums itself, or writes to places that the product says, reads what is stored", () => {
  for (const sum of ["(sum[j in 0 .. 3] angle[b, t, (h + j) % head])", "(sum[j in 0 .. 3] f32(y[b, t, j]))"])
    apart(rotated.replace("- 2.0", `- ${sum}`));
  const into = readers["a write to a cache"];
  for (const place of [`2 * t + select(${own} > 0.0, 1, 0)`, "(max[j in 0 .. 2] positions[(b + j) % B]) + t"])
    apart(main(into.result, `${product}\n${into.body.replace("positions[b] + t", place)}`));
});

test("what the product reads is as it was", () => {
  const given = inputs.replace("bias", "var bias").replace("x: E", "var x: E");
  const biased = product.replace("w[n, k])", "w[n, k] + bias[n])");
  const statements = (between: string, reader: string): string =>
    main(result, `${biased}\n${between}\n${reader}`, given);
  const change = "bias[n] = f32(n) * angle[0, 0, 0] for n in 0 .. heads * head";
  apart(statements(change, readers.rotation.body));
  // changed by the reader itself
  const turnedBias = `bias[a * head + h] = ${turned.replaceAll("[b, t,", "[0, 0,")} ${ranges}\nreturn s where s[b] = bias[0] for b in 0 .. B`;
  apart(main("f32[B]", `${biased}\n${turnedBias}`, given), { sizes: { T: 1 } });
  // after the reader, or elsewhere: as they come
  const after = main(`${result}`, `${biased}\nlet z[b, t, a, h] = E(${turned}) ${ranges}\n${change}\nreturn z`, given);
  for (const schedule of ["matvec", "dot"] as const)
    assert.ok(kernels(after, { schedule, sizes: { T: 3 } }).some((each) => each.startsWith("y_z")));
});

test("products of a batch of weights, or of integers, are stored", () => {
  const batched = rotated
    .replace("w: f32[heads * head, K] as F", "w: f32[B, heads * head, K] as F")
    .replace("w[n", "w[b, n");
  apart(batched, { schedule: "matvec", sizes: { B: 2 } });
  const integers = rotated.replace("Y(sum[k] f32(x[b, t, k]) * w[n, k])", "i32(sum[k] f32(x[b, t, k]) * w[n, k])");
  apart(integers);
});

test("where dispatches cost nothing, or buffers or workgroup memory are few, it stays as it is", () => {
  apart(rotated, { options: { merge: false } });
  const cpu = simulated.find(({ target }) => target.kind === "cpu")!;
  apart(rotated, { schedule: "matvec", device: { ...cpu, target: { ...cpu.target, f16: true } } });
  const few = (most: number): Simulated => ({ ...large, target: { ...large.target, maxStorageBuffers: most } });
  assert.ok(follows({ reader: "rotation", schedule: "matvec", device: few(4) }));
  apart(rotated, { schedule: "matvec", device: few(3) });
  const small: Simulated = { ...large, target: { ...large.target, maxWorkgroupMemory: 128 } };
  const cut: Cut = { ...matvecCut, teams: 16, rows: 2 };
  assert.ok(follows({ reader: "rotation", schedule: "matvec", device: small, options: { schedule: cut } }));
  apart(rotated, { schedule: "matvec", device: small, options: { schedule: cut } });
});

test.run();
