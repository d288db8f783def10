/** The roofline of what was timed, and the file that says what others take. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { printFormat } from "../../compiler/formats/registry.js";
import { readPeers } from "../../runtime/bench/peers.js";
import { modelPoints, productPoints } from "../../runtime/bench/points.js";
import { rooflineSvg, teraflops, type Roofline } from "../../runtime/bench/roofline.js";
import { shapeOfModel } from "../../runtime/bench/shapes.js";
import { parseFormat } from "../support/format-text.js";

const test = suite("roofline");

const roofline: Roofline = {
  title: "products <b> & more",
  gbs: 1000,
  ceilings: [{ name: "f16", teraflops: 100 }],
  series: [
    { name: "ours", peer: false, points: [{ label: "a", operations: 1e9, bytes: 1e9, us: 1000 }] },
    { name: "theirs", peer: true, points: [{ label: 'b"', operations: 1e12, bytes: 1e9, us: 20_000 }] },
  ],
};

/** The centres of a picture's points. */
const centres = (svg: string): readonly (readonly [number, number])[] =>
  [...svg.matchAll(/<circle cx="([\d.]+)" cy="([\d.]+)"[^>]*><title>/g)].map((found) => [
    Number(found[1]),
    Number(found[2]),
  ]);

test("a point on the roof lies on its line, and one below it below", () => {
  const svg = rooflineSvg(roofline);
  const [x1, y1, x2, y2] = [
    ...(/<line x1="([\d.]+)" y1="([\d.]+)" x2="([\d.]+)" y2="([\d.]+)" class="r"/.exec(svg) ?? []),
  ]
    .slice(1)
    .map(Number);
  const [[ax, ay], [bx, by]] = centres(svg) as readonly [readonly [number, number], readonly [number, number]];
  const roofAt = (x: number): number => y1! + ((x - x1!) / (x2! - x1!)) * (y2! - y1!);
  // 1 operation a byte at 1000 GB/s is 1 TFLOP/s
  assert.is(teraflops(roofline.series[0]!.points[0]!), 1);
  assert.ok(Math.abs(ay - roofAt(ax)) <= 0.3, `${ay} is not ${roofAt(ax)}`);
  // y grows downwards; the ceiling begins at 100 operations a byte, and 50 TFLOP/s are half a decade below it
  assert.ok(bx > x2! && by > y2!);
});

test("texts are escaped, and everything is drawn that is there", () => {
  const svg = rooflineSvg(roofline);
  assert.not.match(svg, /<b>|b"/);
  assert.match(svg, "products &#60;b&#62; &#38; more");
  assert.match(svg, /f16, 100/);
  assert.is(svg.split("<circle").length - 1, 4);
  const nothing = rooflineSvg({ title: "", gbs: 10, ceilings: [], series: [] });
  assert.not.match(nothing, /NaN|Infinity/);
});

test("points of products and of models", () => {
  const row = {
    layer: "o",
    n: 8,
    k: 4,
    batch: 2,
    format: "f32",
    schedule: "loops",
    us: 3,
    bytes: 7,
    gbs: 1,
    speedupOverDense: 1,
  };
  assert.equal(productPoints({ device: "x", roofGBs: 1, rows: [row, { ...row, format: "int4" }] }), [
    { name: "f32", peer: false, points: [{ label: "o, 2 x 8 x 4", operations: 128, bytes: 7, us: 3 }] },
    { name: "int4", peer: false, points: [{ label: "o, 2 x 8 x 4", operations: 128, bytes: 7, us: 3 }] },
  ]);
  const spec = parseFormat("f16");
  const config = shapeOfModel("llama-3.1-8b");
  const [series] = modelPoints(
    {
      device: "x",
      shape: "llama-3.1-8b",
      blocks: 32,
      kernels: [],
      decode: [
        {
          format: printFormat(spec, "short"),
          sequences: 1,
          context: 0,
          tokensPerSecond: 100,
          msPerStep: 10,
          hostMsPerStep: 1,
          dispatchesPerStep: 1,
        },
      ],
      prefill: [{ format: printFormat(spec, "short"), tokens: 512, tokensPerSecond: 5120, ms: 100 }],
    },
    config,
    [spec],
    "f16",
  );
  const [token, prompt] = series!.points;
  // 7.5 billion weights are read for a token, and two bytes are two operations
  assert.ok(token!.bytes > 14.9e9 && token!.bytes < 15.1e9, String(token!.bytes));
  assert.is(token!.operations, token!.bytes);
  assert.ok(prompt!.operations > 400 * token!.operations);
});

test("a peers file is read, and what is wrong with it is named", () => {
  const refused = (value: unknown): string => {
    try {
      readPeers(value, (fault) => {
        throw new Error(fault);
      });
    } catch (error) {
      return (error as Error).message;
    }
    return "nothing";
  };
  const point = { label: "a", operations: 1, bytes: 2, us: 3 };
  const good = { ceilings: [{ name: "c", teraflops: 4 }], peers: [{ name: "p", points: [point] }] };
  assert.is(refused(good), "nothing");
  assert.is(refused({}), "nothing");
  assert.is(refused([]), "the file should be an object");
  assert.is(refused({ peers: 3 }), "peers should be a list of at most 256");
  assert.is(refused({ peers: Array(257).fill({}) }), "peers should be a list of at most 256");
  assert.is(refused({ ceilings: [{ name: "c", teraflops: "4" }] }), "ceilings[0].teraflops should be a number above 0");
  assert.is(refused({ peers: [{ name: 1 }] }), "peers[0].name should be a text of at most 120 letters");
  for (const part of ["operations", "bytes", "us"] as const)
    for (const wrong of [0, -1, Infinity, NaN, null])
      assert.is(
        refused({ peers: [{ name: "p", points: [{ ...point, [part]: wrong }] }] }),
        `peers[0].points[0].${part} should be a number above 0`,
      );
});

test.run();
