/** What the language says of packing in blocks is what packing on the host makes. */
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { formatOfSpec, formats, shapeOf } from "../../compiler/formats/registry.js";
import { normal, result, tensor } from "./support.js";

const test = suite("stdlib: blocks");

/** The formats that a recipe may pack and that find their scales themselves. */
const packed = formats
  .filter(
    (format) =>
      format.packsOnHost &&
      format.readOnly !== true &&
      format.pattern({ name: format.name, args: {}, of: null }) === null,
  )
  .map(({ name }) => name);

for (const name of packed)
  test(name, () => {
    const shape = [6, 512] as const;
    const spec = { name, args: {}, of: null };
    const held = (values: Float32Array): Float32Array =>
      formatOfSpec(spec).decode(spec, shapeOf(shape), formatOfSpec(spec).encode(spec, shapeOf(shape), values, null));
    const random = Float32Array.from(normal([...shape], 5).data);
    // a row of zeros, one of a value each, one of mostly zeros, one of values that are all positive
    const some = random.map((value, at) => {
      const row = Math.floor(at / shape[1]);
      if (row === 1) return 0;
      if (row === 2) return -0.75;
      if (row === 3) return at % 4 < 2 ? value : 0;
      return row === 4 ? Math.abs(value) + 0.5 : 0.02 * value;
    });
    const expected = held(some);
    const { group = 0, many = 0 } = formatOfSpec(spec).block ?? {};
    const sizes = { group, ...(many === 1 ? {} : { many }) };
    const found = result(`rounded_to_${name}`, { w: tensor([...shape], some) }, { sizes });
    const others = expected.filter((value, at) => Math.abs(value - found[at]!) > 1e-6 * Math.abs(value)).length;
    // sums are rounded otherwise there, which decides where two candidates are as good
    assert.ok(others <= expected.length / 64, `${others} of ${expected.length} are others`);
    const error = (values: ArrayLike<number>): number => Math.hypot(...some.map((value, at) => value - values[at]!));
    assert.ok(Math.abs(error(found) / error(expected) - 1) < 1e-3, `${error(found)} and ${error(expected)}`);
  });

test("all that are packed so are there", () => assert.equal(packed.length, 5));

test.run();
