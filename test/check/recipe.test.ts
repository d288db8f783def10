import { readdirSync, readFileSync } from "node:fs";
import { suite } from "uvu";
import * as assert from "uvu/assert";
import { check } from "../../compiler/check/check.js";
import { printGraph } from "../../compiler/graph/print.js";
import { verify } from "../../compiler/graph/verify.js";
import type { Recipe, RecipeStep } from "../../compiler/recipe/recipe.js";
import { printRecipe } from "../../compiler/recipe/print.js";
import { verifyRecipe } from "../../compiler/recipe/verify.js";
import { golden } from "../support/golden.js";
import { projectFile } from "../support/project.js";
import { checkText, checked, codes, messages } from "./support.js";

const test = suite("recipes");

const library = `
fn squares(x: E[M, P]) -> f32[P] { return s where s[p] = sum[m] f32(x[m, p])^2 }
fn wanda(w: f32[N, K], x2: f32[K]) -> f32[N, K] { return s where s[n, k] = abs(w[n, k]) * sqrt(x2[k]) }
fn scales(w: f32[N, K], group: size) -> f32[N, K / group] where K % group == 0 { return s where s[n, g] = max[j in 0 .. group] abs(w[n, g * group + j]) / 7.0 for g in 0 .. K / group }
`;

function recipeOf(body: string, options: Parameters<typeof checked>[1] = {}): Recipe {
  const recipe = checked(
    `${library}recipe r(model: llama, text: tokens, group = 32, damp = 0.5, deep = true) {\n${body}\n}`,
    options,
  ).recipes.get("r");
  if (recipe === undefined) throw new Error("no recipe");
  return recipe;
}

function failing(body: string): readonly string[] {
  return codes(`${library}recipe r(model: llama, text: tokens, group = 32, damp = 0.5, deep = true) {\n${body}\n}`);
}

function inBlocks(recipe: Recipe): readonly RecipeStep[] {
  return recipe.steps.flatMap((step) => (step.kind === "blocks" ? step.body : []));
}

const wandaLoop = `for block in model.blocks {
  let x2 = observe block on text by squares
  for w in block.linears except "k_proj" {
    let keep = top 2 of 4 along k in wanda(w, x2[w])
    let sparse = w where keep
    store w as pack sparse as nm(2, 4) of int4(group) with scale scales(sparse, group)
  }
}`;

test("a statistic has one input x [T, K] whatever the function calls its sizes", () => {
  const [observe] = inBlocks(recipeOf(wandaLoop));
  assert.ok(observe?.kind === "observe");
  assert.equal(
    printGraph(observe.graph)
      .trim()
      .split("\n")
      .map((line) => line.trim()),
    [
      "graph squares[T, K; E](%0 x: E[T, K])",
      "%1 s: f32[K] = map p: sum m in 0..T: f32(%0[m, p]) ^ 2.0",
      "return %1 s",
    ],
  );
});

test("a statistic may compare with what the layer receives in the model as it was given", () => {
  const drift =
    "fn drift(now: E[M, P], before: E[M, P]) -> f32[P, P] { return s where s[i, j] = sum[m] (f32(before[m, i]) - f32(now[m, i])) * f32(now[m, j]) }";
  const recipe = checked(
    `${drift} recipe r(model: llama, text: tokens) { for block in model.blocks { let d = observe block on text by drift  for w in block.linears { let v[n, k] = w[n, k] + d[w][k, k]  store w as v } } }`,
  ).recipes.get("r");
  const [observe] = inBlocks(recipe!);
  assert.ok(observe?.kind === "observe");
  assert.equal(
    observe.graph.inputs.map(({ name }) => name),
    ["x", "dense"],
  );
  assert.match(printGraph(observe.graph), /drift\[T, K; E\]\(%0 x: E\[T, K\], %1 dense: E\[T, K\]\)/);
  assert.equal(verifyRecipe(recipe!), []);
  for (const parameters of [
    "now: E[M, P], before: f32[M, P]",
    "now: E[M, P], before: E[P, M]",
    "now: E[M, P], before: E[M, P], more: E[M, P]",
    "now: E[M, P], before: f32",
  ]) {
    const source = `fn drift(${parameters}) -> f32[P] { return s where s[i] = sum[m] f32(now[m, i]) } recipe r(model: llama, text: tokens) { for block in model.blocks { let d = observe block on text by drift  for w in block.linears { let v[n, k] = w[n, k] + d[w][k]  store w as v } } }`;
    assert.equal(codes(source), ["E605"], parameters);
  }
});

test("a treatment takes what it uses; what N and K must satisfy waits for them", () => {
  const [, linears] = inBlocks(recipeOf(wandaLoop));
  assert.ok(linears?.kind === "linears");
  const [treatment] = linears.treatments;
  assert.equal(treatment?.inputs, [
    { name: "w", kind: "weight" },
    { name: "x2", kind: "statistic", observe: 0 },
  ]);
  assert.match(
    printGraph(
      treatment?.graph ?? {
        name: "",
        span: null,
        values: [],
        inputs: [],
        outputs: [],
        eqns: [],
        parameters: { sizes: [], dtypes: [], formats: [] },
        constraints: [],
      },
    ),
    /where K % 4 == 0\n\s*where K % 32 == 0/,
  );
  assert.ok(treatment?.graph.constraints.every((constraint) => constraint.span !== null));
  assert.is(treatment?.stores, "weight");
});

test("branches on the layer's name make a treatment for each way", () => {
  const recipe = recipeOf(`for w in model.linears {
    let half[n, k] = 0.5 * w[n, k]
    if w matches "*.down_proj" { store w as pack w as f16 } else {
      if w matches "q_proj" { store w as half }
    }
  }`);
  const [linears] = recipe.steps;
  assert.ok(linears?.kind === "linears");
  assert.equal(
    linears.treatments.map((treatment) => [
      treatment.conditions.map(({ pattern, negate }) => `${negate ? "not " : ""}${pattern.glob}`),
      treatment.stores,
    ]),
    [
      [["*.down_proj"], "weight"],
      [["not *.down_proj", "q_proj"], "weight"],
      [["not *.down_proj", "not q_proj"], null],
    ],
  );
  assert.is(recipe.needsText, false);
});

test("contradictory ways are left out", () => {
  const [linears] = recipeOf(
    `for w in model.linears { var v = w  if w matches "a" { v[n, k] = 0 }  if not w matches "a" { store w as pack v as f16 } else { store w as v } }`.replace(
      "{ v[n, k] = 0 }",
      "{ let _z[n, k] = w[n, k] }",
    ),
  ).steps;
  assert.ok(linears?.kind === "linears");
  assert.is(linears.treatments.length, 2);
});

test("what a branch declares is seen in it alone", () => {
  const loop = (body: string): string => `recipe r(model: llama, p = true) { for w in model.linears { ${body} } }`;
  const either = (condition: string): string =>
    loop(`if ${condition} { let q = pack w as f16 } else { let q = pack w as bf16 } store w as q`);
  for (const condition of ['w matches "q_proj"', "p", "w[0, 0] > 1.0"])
    assert.equal(new Set(codes(either(condition))), new Set(["E201"]));
  const inner = 'let q = pack w as f16 if w matches "q_proj" { let q = pack w as bf16 store w as q }';
  assert.equal(codes(loop(`${inner} else { store w as q }`)), []);
  assert.equal(codes(loop('if p { let q = w store w as q } if w matches "k_proj" { let q = w print q[0, 0] }')), []);
  // nor is a format left open by what a run finds
  const { diagnostics } = checkText(
    `${loop("let g = select(w[0, 0] > 1.0, 64, 32) store w as pack w as int8(g) with scale parts(w, 64)")}
    fn parts(w: f32[N, K], group: size) -> f32[N, K / group] where K % group == 0 {
      return s where s[n, g] = max[j in 0 .. group] w[n, g * group + j] for g in 0 .. K / group
    }`,
  );
  assert.equal(
    diagnostics.map(({ code, help }) => [code, help]),
    [["E415", "what a run computes chooses by branches: `if ... { store w as ... } else { ... }`"]],
  );
  // what was declared before is changed for what follows
  const changed = "var y = w if p { y[n, k] = 0.0 for n in 0 .. 1, k in 0 .. 1 } store w as y";
  assert.equal(codes(loop(changed)), []);
  const [treatment] = checked(loop(changed))
    .recipes.get("r")!
    .steps.flatMap((step) => (step.kind === "linears" ? step.treatments : []));
  assert.is(treatment?.graph.eqns.length, 1);
});

test("a budget that cannot be met is told with the least possible", () => {
  const helps = (condition: string): readonly (string | null)[] =>
    checkText(`recipe r(model: llama, bits = 2.5, group = 64) { expect ${condition} save "x" }`).diagnostics.map(
      ({ help }) => help,
    );
  assert.equal(helps("bits >= 3.0 + 16.0 / group"), ["let `bits` be at least 3.25"]);
  assert.equal(helps("3.25 < bits"), ["let `bits` be above 3.25"]);
  assert.equal(helps("bits <= 2.0"), ["let `bits` be at most 2"]);
  assert.equal(helps("2.0 > bits"), ["let `bits` be below 2"]);
  assert.equal(helps("bits - 1.0 > 2.0"), ["set its parameters so that it holds"]);
});

test("branches on parameters are decided", () => {
  const body =
    "for w in model.linears { if deep and group > 16 { store w as pack w as int4(group) with scale scales(w, group) } else { store w as pack w as f16 } }";
  const formatOf = (recipe: Recipe): string | null => {
    const [step] = recipe.steps;
    const graph = step?.kind === "linears" ? step.treatments[0]?.graph : undefined;
    const format = graph?.values[graph.outputs[0]?.value ?? -1]?.type.format ?? null;
    return format !== null && "name" in format ? format.name : null;
  };
  assert.is(formatOf(recipeOf(body)), "int4");
  assert.is(formatOf(recipeOf(body, { set: { deep: false } })), "f16");
  assert.is(formatOf(recipeOf(body, { set: { group: "8" } })), "f16");
});

test("the original weight, windows and tokens are inputs", () => {
  const [linears] = recipeOf(
    "for w in model.linears { let v[n, k] = (w[n, k] + w.dense[n, k]) / tokens(text) * windows(text)  store w as v }",
  ).steps;
  assert.ok(linears?.kind === "linears");
  assert.equal(
    linears.treatments[0]?.inputs.map((input) => input.kind),
    ["weight", "original", "tokens", "windows"],
  );
});

test("settings: numbers, text, and what is wrong with them", () => {
  assert.equal(recipeOf('save "a"', { set: { damp: "0.25", group: 64 } }).parameters, [
    { name: "group", value: 64, fallback: 32 },
    { name: "damp", value: 0.25, fallback: 0.5 },
    { name: "deep", value: true, fallback: true },
  ]);
  const source = 'recipe r(model: llama, group = 32, deep = true) { save "a" }';
  const bad: readonly Readonly<Record<string, number | boolean | string>>[] = [
    { grop: 1 },
    { group: "many" },
    { group: true },
    { deep: 1 },
    { model: "x" },
    { group: Infinity },
  ];
  for (const set of bad) assert.equal(codes(source, { set }), ["E210"], JSON.stringify(set));
  const chosen =
    'recipe r(model: llama, layers: string = "o_proj") { for w in model.linears matching layers { store w as w } }';
  const globs = (set: Readonly<Record<string, string>>): unknown =>
    checked(chosen, { set })
      .recipes.get("r")
      ?.steps.map((step) => step.kind === "linears" && step.matching[0]?.glob);
  assert.equal(globs({}), ["o_proj"]);
  assert.equal(globs({ layers: "*.3.*" }), ["*.3.*"]);
  for (const layers of ["", " ", 3, true]) assert.equal(codes(chosen, { set: { layers } }), ["E210"], String(layers));
  for (const wrong of ['layers = ""', 'layers: size = "o_proj"', "layers = 3", "other = 3"])
    assert.is(codes(chosen.replace('layers: string = "o_proj"', wrong)).length, 1, wrong);
  const [found] = checkText(source, { set: { grop: 1 } }).diagnostics;
  assert.is(found?.help, "did you mean `group`?");
  assert.equal(found?.notes, ["the parameters are group, deep"]);
});

test("a parameter that is no integer cannot be a size", () => {
  assert.equal(
    codes(
      `${library}recipe r(model: llama, group = 32) { for w in model.linears { store w as pack w as int4(group) with scale scales(w, group) } }`,
      { set: { group: 32.5 } },
    )[0],
    "E415",
  );
});

test("expect", () => {
  const recipe = recipeOf(
    "expect perplexity(model, text) < 1 + damp * perplexity(model.dense, text) and perplexity(model, text) >= 2 * 3",
  );
  assert.match(
    printRecipe(recipe),
    /expect perplexity\(model\) < \(1 \+ \(0\.5 \* perplexity\(model\.dense\)\)\) and perplexity\(model\) >= 6/,
  );
  assert.is(recipe.needsText, true);
  assert.ok(recipe.steps[0]?.kind === "expect" && recipe.steps[0].text.startsWith("perplexity(model, text) < 1"));
});

test("a name used by one treatment is not unused", () => {
  const { diagnostics } = checkText(
    `recipe r(model: llama) { for w in model.linears { let h[n, k] = 2 * w[n, k]  let g[n, k] = w[n, k]  if w matches "a" { store w as h } else { store w as pack w as f16 } } }`,
  );
  assert.equal(
    diagnostics.map((found) => found.message),
    ["`g` is never used"],
  );
});

const wrong: Readonly<Record<string, readonly string[]>> = {
  "for b in model.blocs { }": ["E207"],
  "for b in modl.blocks { }": ["E201"],
  "for block in model.blocks { for w in block.layers { } }": ["E207"],
  "for block in model.blocks { for w in model.linears { store w as w } }": ["E602"],
  "for w in model.linears { }": ["E604"],
  "for w in model.linears { store model as w }": ["E604"],
  "for w in model.linears { store w as w  store w as w }": ["E604"],
  "for w in model.linears { let s[n] = sum[k] w[n, k]  store w as s }": ["E604"],
  "for w in model.linears { store w as pack w as nm(2, 4) of f16 }": ["E502"],
  "store model as model": ["E602"],
  "let x2 = observe model on text by squares": ["E605"],
  "for block in model.blocks { let x = observe block on text by wanda }": ["E605"],
  "for block in model.blocks { let x = observe block on text by squars }": ["E202"],
  "for block in model.blocks { let x = observe block on model by squares }": ["E605"],
  "for block in model.blocks { let x2 = observe block on text by squares  for w in block.linears { store w as wanda(w, x2) } }":
    ["E305"],
  "for block in model.blocks { let x2 = observe block on text by squares  for w in block.linears { store w as wanda(w, x2[block]) } }":
    ["E305"],
  "expect group < 3": ["E607"],
  "expect perplexity(model) < 3": ["E607"],
  "expect model < 3": ["E305"],
  "return model": ["E602"],
  "scan k in 0 .. 3 { }": ["E602"],
  'save "../up"': ["E605"],
  'for w in model.linears matching "" { store w as w }': ["E605"],
  "for w in model.linears { store w as pack w as int4(30) with scale w }": ["E501"],
};
for (const [body, expected] of Object.entries(wrong))
  test(`wrong: ${body}`, () => assert.equal(failing(body), expected));

test("parameters of recipes", () => {
  assert.equal(codes('recipe r(model: llama, a) { save "x" }'), ["E603"]);
  assert.equal(codes('recipe r(model: llama, a = 1 + 1) { save "x" }'), ["E603"]);
  assert.equal(codes('recipe r(model: llama, a = 1, a = 2) { save "x" }'), ["E203"]);
  assert.equal(messages('recipe r(model: llama, a: bool = 1) { save "x" }'), [
    "`a` is declared as bool, and its default is a number",
  ]);
});

const folders = ["stdlib", "examples"] as const;
const read = (path: string): string | null => {
  try {
    return readFileSync(projectFile(path), "utf8");
  } catch {
    return null;
  }
};

for (const folder of folders) {
  for (const name of readdirSync(projectFile(folder)).filter((file) => file.endsWith(".esp"))) {
    test(`${folder}/${name} is right, without a warning`, () => {
      const { value, diagnostics } = check(`${folder}/${name}`, { read });
      assert.equal(
        diagnostics.map((found) => `${found.code} ${found.message}`),
        [],
      );
      for (const [function_, graph] of value?.functions ?? []) assert.equal(verify(graph), [], function_);
      for (const recipe of value?.recipes.values() ?? []) assert.equal(verifyRecipe(recipe), []);
    });
  }
}

test("golden: a recipe as steps and graphs", () => {
  const { value } = check("examples/mixed.esp", { read });
  golden("check/mixed.txt", [...(value?.recipes.values() ?? [])].map(printRecipe).join("\n"));
});

test.run();
