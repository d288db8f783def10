/** A file that is edited: what is kept between answers changes none of them. */
import fc from "fast-check";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { runs } from "../support/runs.js";
import { createHost } from "../../runtime/library.js";
import { main, open } from "./support.js";

const test = suite("edits");

/** Functions that call each other, a constant, a head that others depend on, and a recipe that uses what they give. */
const source = `use statistics, prune, quantize

const half = 0.5

/// The double.
fn twice(x: f32[N]) -> f32[N] {
  return y where y[n] = 2.0 * x[n]
}

fn norm(x: f32[N, K]) -> f32[N] {
  return total where total[n] = sum[k] x[n, k]^2
}

// twice as much, and half of it
fn through(x: f32[N, K], scale: f32 = half) -> f32[N] {
  let sums = norm(x)
  let more = twice(sums)
  return y where y[n] = scale * more[n]
}

fn kept(w: f32[N, K], x2: f32[K]) -> bool[N, K] is 2:4 along K where K % 4 == 0 {
  let score[n, k] = abs(w[n, k]) * sqrt(x2[k])
  return mask_2of4(score)
}

recipe small(model: llama, text: tokens, group = 128) {
  for block in model.blocks {
    let x2 = observe block on text by feature_squares
    for w in block.linears {
      let keep = kept(w, x2[w])
      let sparse = w where keep
      store w as pack sparse as nm(2, 4) of int4(group) with scale int4_search(sparse, group)
    }
  }
}
`;

/** What is put in place of something: words of the file, and what breaks one. */
const pieces = [
  "",
  "}",
  "{",
  "x",
  "norm",
  "(",
  " = ",
  "\n",
  "fn other(x: f32[N]) -> f32[N] {\n  return x\n}\n",
  "// ",
].concat(["[n]", "[k]", "1", "kept", "f32[N, K]", "  let unused = 1.0\n", "use solve\n", "twice(x)", "half"]);

type Edit = (text: string) => string;

/** An edit of a line, of a word, or at any place; the last takes back what came before. */
const edit: fc.Arbitrary<Edit | "undo"> = fc
  .record({
    kind: fc.constantFrom("line", "double", "word", "insert", "undo"),
    at: fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }),
    piece: fc.constantFrom(...pieces),
  })
  .map(({ kind, at, piece }): Edit | "undo" => {
    if (kind === "undo") return "undo";
    return (text) => {
      const lines = text.split("\n");
      const line = Math.floor(at * lines.length);
      if (kind === "line") return lines.toSpliced(line, 1).join("\n");
      if (kind === "double") return lines.toSpliced(line, 0, lines[line] ?? "").join("\n");
      const words = [...text.matchAll(/\w+/g)];
      const word = words[Math.floor(at * words.length)];
      const [start, end] =
        kind === "word" && word !== undefined
          ? [word.index, word.index + word[0].length]
          : Array.from({ length: 2 }, () => Math.floor(at * text.length));
      return text.slice(0, start) + piece + text.slice(end);
    };
  });

test("after every edit, diagnostics, types and names are those of a file that was never another", () => {
  assert.equal(open(source).service.diagnostics(main), []);
  const host = createHost();
  let [wrong, right] = [0, 0];
  fc.assert(
    fc.property(fc.array(edit, { minLength: 2, maxLength: 6 }), (edits) => {
      const opened = open(source, {}, host);
      opened.service.diagnostics(main);
      const texts = [source];
      for (const each of edits) {
        const next = each === "undo" ? (texts.at(-2) ?? source) : each(texts.at(-1) ?? source);
        texts.push(next);
        opened.edit(next);
        const fresh = open(next, {}, host).service;
        const found = opened.service.diagnostics(main);
        if (found.length > 0) wrong++;
        else right++;
        // as texts: a comparison of what is deep takes long where it fails
        assert.is(JSON.stringify(found), JSON.stringify(fresh.diagnostics(main)), next);
        const outline = (of: typeof fresh): string =>
          of
            .outline(main)
            .map(({ name, kind, span }) => `${kind} ${name} ${span.start}`)
            .join();
        assert.is(outline(opened.service), outline(fresh), next);
        for (const name of ["more", "score", "sparse", "total"]) {
          const place = next.indexOf(name);
          const hover = (of: typeof fresh): string => JSON.stringify(of.hover(main, place));
          if (place >= 0) assert.is(hover(opened.service), hover(fresh), `${name}\n${next}`);
        }
      }
    }),
    runs(6),
  );
  // both kinds of files came by
  assert.ok(wrong > 5 && right > 1, `${wrong} with findings, ${right} without`);
});

test.run();
