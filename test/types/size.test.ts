import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import {
  addSizes,
  constantSize,
  divideSizes,
  divides,
  multiplySizes,
  printSize,
  remainderSizes,
  sameSize,
  sizeSymbols,
  sizeValue,
  substituteSize,
  subtractSizes,
  symbolSize,
  type Size,
} from "../../compiler/types/size.js";
import { bindingOf, sizes, valueOf, type Written } from "./sizes.js";
import { runs } from "../support/runs.js";

const test = suite("sizes");

const [N, K, G] = [symbolSize("N"), symbolSize("K"), symbolSize("G")];

test("equal sizes print alike", () => {
  assert.is(printSize(addSizes(multiplySizes(K, N), multiplySizes(N, K))), "2 * K * N");
  assert.is(printSize(subtractSizes(addSizes(N, constantSize(3)), N)), "3");
  assert.is(printSize(multiplySizes(addSizes(N, constantSize(1)), addSizes(N, constantSize(-1)))), "-1 + N * N");
  assert.is(printSize(constantSize(0)), "0");
  assert.is(printSize(remainderSizes(addSizes(N, K), G)), "((K + N) % G)");
});

test("floor division: multiples come out", () => {
  assert.is(printSize(divideSizes(addSizes(K, multiplySizes(constantSize(3), G)), G)), "3 + (K / G)");
  assert.is(
    printSize(divideSizes(addSizes(multiplySizes(constantSize(4), K), constantSize(7)), constantSize(4))),
    "1 + K",
  );
  assert.is(
    printSize(divideSizes(addSizes(multiplySizes(constantSize(4), K), constantSize(-1)), constantSize(4))),
    "-1 + K",
  );
  assert.is(printSize(divideSizes(subtractSizes(multiplySizes(G, K), constantSize(1)), G)), "-1 + K");
  assert.is(printSize(divideSizes(K, K)), "1");
});

test("what is known to divide", () => {
  const facts = [
    { numerator: K, denominator: G },
    { numerator: G, denominator: constantSize(4) },
  ];
  assert.ok(divides(K, G, facts));
  assert.ok(divides(K, constantSize(4), facts), "through G");
  assert.ok(divides(K, constantSize(2), facts), "through G and 4");
  assert.ok(divides(addSizes(multiplySizes(N, K), multiplySizes(constantSize(3), G)), constantSize(4), facts));
  assert.not.ok(divides(K, constantSize(8), facts));
  assert.not.ok(divides(N, G, facts));
  assert.ok(sameSize(multiplySizes(divideSizes(K, G), G, facts), K));
  assert.not.ok(sameSize(multiplySizes(divideSizes(K, G), G), K));
});

test("facts that go in a circle end", () => {
  const facts = [
    { numerator: K, denominator: G },
    { numerator: G, denominator: K },
  ];
  assert.not.ok(divides(K, N, facts));
});

test("a size has the value of the expression it was made from, whatever its symbols are", () => {
  fc.assert(
    fc.property(sizes, bindingOf, (written, binding) => {
      const value = written.value(binding);
      fc.pre(value !== null);
      assert.is(valueOf(written.size, binding), value, printSize(written.size));
      const bound = substituteSize(written.size, (symbol) => constantSize(binding[symbol] ?? 0));
      assert.is(sizeValue(bound), value);
    }),
    runs(300),
  );
});

test("sizes that print alike have the same value", () => {
  fc.assert(
    fc.property(sizes, sizes, bindingOf, (a: Written, b: Written, binding) => {
      const [x, y] = [a.value(binding), b.value(binding)];
      if (x === null || y === null || !sameSize(a.size, b.size)) return;
      assert.is(x, y);
    }),
    runs(300),
  );
});

test("a sum is the same in any order", () => {
  fc.assert(
    fc.property(sizes, sizes, (a, b) => {
      assert.ok(sameSize(addSizes(a.size, b.size), addSizes(b.size, a.size)));
      assert.ok(sameSize(multiplySizes(a.size, b.size), multiplySizes(b.size, a.size)));
      assert.ok(sameSize(subtractSizes(addSizes(a.size, b.size), b.size), a.size));
    }),
    runs(200),
  );
});

test("symbols inside quotients are found", () => {
  const size: Size = divideSizes(addSizes(K, constantSize(1)), G);
  assert.equal([...sizeSymbols(size)].sort(), ["G", "K"]);
});

test.run();
