/** What is said of a name, function or member that is not there. */
import { counted } from "../words.js";
import { factorizationOps, reduceOps, type ReduceOp } from "../graph/ops.js";
import { binaryOps, unaryOps } from "../types/scalar-ops.js";
import type { Expr, Ident } from "../syntax/ast.js";
import { dtypes } from "../types/dtype.js";
import { elementText, indexNames } from "./index-names.js";
import { typeOf } from "./builder.js";
import { fail, sourceOf, type Frame, type Place } from "./frame.js";
import type { Span } from "../diagnostic.js";
import { functionHabits, memberHabits, nameHabits } from "./habits.js";
import { namesIn } from "./names.js";
import { endedAt, peek, visibleNames, type Scope } from "./scope.js";
import { suggestion } from "./suggestion.js";
import { suggest } from "../suggest.js";
import { formatOf } from "../formats/registry.js";

/** E201: a name that nothing declares. */
export function failName({ name, span }: Ident, { frame, scope }: Pick<Place, "frame" | "scope">): null {
  const ended = endedAt(scope, name);
  if (ended !== null)
    return fail(frame, "E201", `there is no \`${name}\` here`, span, "not declared", {
      labels: [{ span: ended, message: "seen to the end of its block" }],
      help: "go on inside the block, or declare it before",
    });
  const module = frame.file.elsewhere().get(name);
  const recipe = [...frame.file.recipes.values()].find((each) => each.params.some((param) => param.name.name === name));
  const help = frame.file.functions.has(name)
    ? `\`${name}\` is a function: call it`
    : formatOf(name) !== null
      ? packHelp(name)
      : frame.layer !== null && (name === "N" || name === "K")
        ? `the sizes of a layer's weight are \`${frame.layer.name}.rows\` and \`${frame.layer.name}.columns\``
        : recipe !== undefined && !recipe.params.some((param) => peek(scope, param.name.name) !== null)
          ? `it is a parameter of the recipe: give it to the function as an argument, \`fn f(..., ${name}: f32)\``
          : (nameHabits.get(name) ??
            (module === undefined
              ? suggestion(name, visibleNames(scope), "the names here are")
              : `the module ${module} declares it: write \`use ${module}\` at the top of the file`));
  return fail(frame, "E201", `there is no \`${name}\` here`, span, "not declared", { help });
}

function packHelp(format: string): string {
  if ((dtypes as readonly string[]).includes(format))
    return `\`${format}(x)\` converts an element, and \`pack w as ${format}\` stores a tensor`;
  return `\`${format}\` is a format, in which a tensor is stored: \`pack w as ${formatOf(format)?.example ?? format}\``;
}

/** The label of an index that nothing binds. */
export const unboundIndex = "an index that nothing binds";

/** E201: a name that stands for an index and that nothing binds. */
export function failIndex({ name, span }: Ident, { frame, scope }: Place): null {
  const near = suggest(
    name,
    visibleNames(scope).filter((other) => peek(scope, other)?.binding.kind === "index"),
  );
  const help =
    near !== null
      ? `did you mean \`${near}\`?`
      : inIndexNotation(scope)
        ? reducedBefore(name, span, frame)
          ? `a reduction reaches over products only: write \`sum[${name}] (a - b)\``
          : definedName(span, frame) !== null
            ? `name it on the left, \`let ${definedName(span, frame) ?? "y"}[${openIndices(name, span, { frame, scope }).join(", ")}] = ...\`, or reduce over it: \`sum[${name}] ...\``
            : `name it on the left, \`y[..., ${name}] = ...\`, or reduce over it: \`sum[${name}] ...\``
        : reducedBefore(name, span, frame)
          ? `a reduction reaches over products only: write \`sum[${name}] (a - b)\``
          : `elements are defined by name, \`let ${definedName(span, frame) ?? "y"}[${openIndices(name, span, { frame, scope }).join(", ")}] = ...\`, or reduced: \`sum[${name}] ...\``;
  return fail(frame, "E201", `there is no \`${name}\` here`, span, unboundIndex, { help });
}

/** The name of a `let` without indices whose value a place is in, if that is on one line. */
function definedName(at: Span, frame: Frame): string | null {
  return /^\s*let\s+(\w+)\s*=/.exec(lineBefore(at, frame))?.[1] ?? null;
}

/** What stands on the line of a place before it. */
function lineBefore({ start }: Span, { file: { source } }: Frame): string {
  return source.slice(source.lastIndexOf("\n", start) + 1, start);
}

/** The indices of a line that nothing binds, among them `name`, in order. */
function openIndices(
  name: string,
  { start }: Span,
  { frame, scope }: Pick<Place, "frame" | "scope">,
): readonly string[] {
  const { source } = frame.file;
  const end = source.indexOf("\n", start);
  const line = source.slice(source.lastIndexOf("\n", start) + 1, end < 0 ? source.length : end);
  const brackets = [...line.matchAll(/(\w+)\[([^\]]*)\]/g)].map(([, before = "", inner = ""]) => ({
    reduces: isReduction(before),
    names: inner.match(/[A-Za-z_]\w*/g) ?? [],
  }));
  const reduced = new Set(brackets.filter(({ reduces }) => reduces).flatMap(({ names }) => names));
  const used = brackets.filter(({ reduces }) => !reduces).flatMap(({ names }) => names);
  const open = used.filter((each) => each === name || (!reduced.has(each) && peek(scope, each) === null));
  return [...new Set(open)];
}

/** Whether a reduction over the index ends before a place, on its line. */
function reducedBefore(name: string, span: Span, frame: Frame): boolean {
  const { source } = frame.file;
  const line = source.slice(source.lastIndexOf("\n", span.start) + 1, span.start);
  return new RegExp(`\\b(?:${Object.keys(reduceOps).join("|")})\\[[^\\]]*\\b${name}\\b`).test(line);
}

/** E202: a tensor that is called like a function. */
export function failTensorCall(expr: Extract<Expr, { kind: "call" }>, place: Place): null {
  const { name, span } = expr.callee;
  const at = expr.args.map((argument) => sourceOf(argument.value.span, place)).join(", ");
  return fail(place.frame, "E202", `\`${name}\` is a tensor, not a function`, span, "a tensor", {
    help: `index it: \`${name}[${at}]\``,
  });
}

/** Whether an index is bound here: in a definition, an update, a reduction or a `scan`. */
export function inIndexNotation(scope: Scope): boolean {
  for (let at: Scope | null = scope; at !== null; at = at.parent)
    for (const entry of at.entries.values()) if (entry.binding.kind === "index") return true;
  return false;
}

/** E202 or E602: a function that is not there. */
export function failFunction(name: string, span: Expr["span"], { frame }: Pick<Place, "frame">): null {
  if (name === "perplexity" || name === "windows" || name === "tokens")
    return fail(
      frame,
      "E602",
      name === "perplexity" ? "`perplexity` is for `expect`" : `\`${name}\` is for recipes`,
      span,
      name === "perplexity" ? "only in `expect`" : "only inside `for w in ...linears`",
    );
  const own = [
    ...frame.file.functions.keys(),
    ...Object.keys(unaryOps),
    ...Object.keys(binaryOps),
    ...Object.keys(factorizationOps),
    ...dtypes,
    "select",
  ];
  const elsewhere = frame.file.elsewhere();
  const near = suggest(name, [...own, ...elsewhere.keys()]);
  const module = near === null || own.includes(near) ? undefined : elsewhere.get(near);
  const help =
    functionHabits.get(name) ??
    (formatOf(name) === null ? undefined : packHelp(name)) ??
    moduleHelp(name, frame) ??
    (module === undefined
      ? suggestion(name, own, "the functions are")
      : `did you mean \`${near}\`, of the module ${module}? Write \`use ${module}\` at the top of the file`);
  return fail(frame, "E202", `there is no function \`${name}\``, span, "not declared", { help });
}

/** What a module has, for its name where a function is called. */
function moduleHelp(name: string, { file }: Frame): string | undefined {
  const own = [...file.functions]
    .filter(([, declared]) => declared.file.endsWith(`/${name}.esp`))
    .map(([each]) => each);
  const others = [...file.elsewhere()].filter(([, module]) => module === name).map(([each]) => each);
  const found = [...own, ...others];
  if (found.length === 0) return undefined;
  const more = found.length > 6 ? ", ..." : "";
  return `\`${name}\` is a module, and its functions are called by their own names: ${found.slice(0, 6).join(", ")}${more}`;
}

/** Whether a name is that of a reduction. */
export function isReduction(name: string): name is ReduceOp {
  return Object.hasOwn(reduceOps, name);
}

/** E202: a reduction that is called like a function, `mean(w)`. */
export function failReductionCall(expr: Extract<Expr, { kind: "call" }>, place: Place): null {
  const { frame } = place;
  const name = expr.callee.name;
  return fail(
    frame,
    "E202",
    `\`${name}\` is no function: it reduces over an index that is named`,
    expr.span,
    "called",
    {
      help: `write \`${reductionText(name, expr.args[0]?.value ?? null, place)}\``,
    },
  );
}

/** `sum[k] w[n, k]` for `sum(w[n])`. */
function reductionText(name: string, operand: Expr | null, place: Place): string {
  if (operand?.kind === "binary") {
    const free = [...new Set(namesIn(operand).map((each) => each.name))].filter(
      (each) => peek(place.scope, each) === null,
    );
    const text = sourceOf(operand.span, place);
    if (free.length === 0 || text === "...") return `${name}[k] ...`;
    return `${name}[${free.join(", ")}] ${["*", "/", "^"].includes(operand.op) ? text : `(${text})`}`;
  }
  const base = operand?.kind === "index" ? operand.base : operand;
  const binding = base?.kind === "name" ? (peek(place.scope, base.name)?.binding ?? null) : null;
  const builder = place.frame.builder;
  const layer = binding?.kind !== "layer" ? null : place.frame.layer?.of === "vector" ? ["k"] : ["n", "k"];
  const all = binding?.kind === "tensor" ? indexNames(typeOf(builder, binding.value).shape) : layer;
  if (all === null || all.length === 0 || base?.kind !== "name") return `${name}[k] ...`;
  const given = operand?.kind === "index" ? operand.at.map((at) => (at.kind === "name" ? at.name : "...")) : [];
  const open = all.slice(given.length);
  if (open.length === 0) return `${name}[k] ...`;
  return `${name}[${open.join(", ")}] ${base.name}[${[...given, ...open].join(", ")}]`;
}

/** E305: a member of a tensor, `w.T`; they have none. */
export function failMember(expr: Extract<Expr, { kind: "member" }>, place: Place): null {
  const { frame, scope } = place;
  const binding = expr.base.kind === "name" ? (peek(scope, expr.base.name)?.binding ?? null) : null;
  if (binding === null && expr.base.kind === "name")
    return failName({ name: expr.base.name, span: expr.base.span }, place);
  if (binding?.kind === "unknown") return null;
  const tensor = binding === null || binding.kind === "tensor" || binding.kind === "layer";
  return fail(
    frame,
    "E305",
    tensor ? `a tensor has no \`.${expr.field.name}\`` : `\`.${expr.field.name}\` is not a value to compute with`,
    expr.field.span,
    "no such member",
    { help: tensor ? (memberHabits.get(expr.field.name) ?? null) : null },
  );
}

/** E306: a whole tensor where an element is expected. */
export function failWhole(name: Ident, place: Place): null {
  const { frame, scope } = place;
  const binding = peek(scope, name.name)?.binding;
  const shape = binding?.kind === "tensor" ? typeOf(frame.builder, binding.value).shape : null;
  const element = elementText(name.name, binding, place);
  const help =
    inIndexNotation(scope) || /^\s*let\s+\w+\[/.test(lineBefore(name.span, frame))
      ? `index it: \`${element}\``
      : `operators work on elements: write \`let ${definedName(name.span, frame) ?? "y"}${element.slice(name.name.length)} = ...\` with \`${element}\` for \`${name.name}\``;
  return fail(
    frame,
    "E306",
    `\`${name.name}\` is a whole tensor, and an element is expected`,
    name.span,
    shape === null ? "a tensor" : `has ${counted(shape.length, "axis", "axes")}`,
    { help },
  );
}

/** E305: a statistic without the layer it is of. */
export function failStatistic({ name, span }: Ident, { frame }: Place): null {
  return fail(frame, "E305", `\`${name}\` has a statistic for each layer`, span, "of which layer?", {
    help: `write \`${name}[${frame.layer?.name ?? "w"}]\``,
  });
}

/** E606: what is measured, where not all of it is known. */
export function failMeasured({ name, span }: Ident, { frame }: Place): null {
  return fail(frame, "E606", `\`${name}\` is measured when the recipe runs`, span, "not known here", {
    help: `take it in a loop over layers that comes after the loop that measures it: there \`${name}[w]\` is that of a layer, and \`${name}\` those of all`,
  });
}
