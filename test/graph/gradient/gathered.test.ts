/** What gradients of the layer become, additions solved and joined: read it after a change. */
import { suite } from "uvu";
import { lowerConcrete } from "../../../compiler/compile.js";
import { printGraph } from "../../../compiler/graph/print.js";
import type { Target } from "../../../compiler/target.js";
import { standardLibrary } from "../../../runtime/library.js";
import { golden } from "../../support/golden.js";
import { bound, gradientOf } from "../../support/gradients.js";
import { targets } from "../../support/targets.js";

const test = suite("gradients gathered");

const gpu: Target = { ...targets["a GPU with subgroups of 32"], name: "matrices", f16: true, matrices: true };

const shown: Readonly<
  Record<string, { readonly by: readonly string[]; readonly sizes: Readonly<Record<string, number>> }>
> = {
  rope: { by: ["x"], sizes: { B: 2, T: 3, heads: 4, head: 8 } },
  attention: { by: ["q", "keys", "values"], sizes: { B: 2, T: 9, A: 4, G: 2, H: 16, C: 24 } },
  add_linear: { by: ["x", "h", "w"], sizes: { B: 2, T: 9, K: 24, N: 16 } },
};

for (const [name, { by, sizes }] of Object.entries(shown))
  test(name, () => {
    const graph = standardLibrary().get(name)!;
    const gradient = gradientOf(graph, graph.outputs[0]?.name ?? "", by);
    golden(`gradients/${name}.txt`, printGraph(lowerConcrete(bound(gradient, sizes, { E: "f16" }), gpu).fused));
  });

test.run();
