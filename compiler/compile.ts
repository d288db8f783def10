import { CompileError, InternalError, type Diagnostic } from "./diagnostic.js";
import type { ConcreteGraph, SymbolicGraph } from "./graph/graph.js";
import { splitLowRank } from "./graph/passes/low-rank.js";
import { insertCopies } from "./graph/passes/copies.js";
import { expandTop } from "./graph/passes/expand.js";
import { fuse } from "./graph/passes/fuse.js";
import { stagedPacks, type StagedPacks } from "./graph/analysis/staged-packs.js";
import { scatterToGather } from "./graph/passes/scatter-to-gather.js";
import { inlineRows } from "./graph/passes/inline.js";
import { simplify } from "./graph/passes/simplify.js";
import { specialize } from "./graph/passes/specialize.js";
import { shortenSums } from "./graph/passes/shorten-sums.js";
import { sortPlaces } from "./graph/passes/sort-places.js";
import { splitSums } from "./graph/passes/split-sums.js";
import { unpackForTiles } from "./graph/passes/unpack.js";
import { printGraph } from "./graph/print.js";
import { widenScales } from "./graph/passes/scales.js";
import { assignStorage, type StorageMap } from "./graph/storage.js";
import { verify } from "./graph/verify.js";
import type { Kernel } from "./kernel/kernel.js";
import { printKernel } from "./kernel/print.js";
import { verifyKernel } from "./kernel/verify.js";
import { kernelsOf, type Lowered } from "./lower/lowered.js";
import type { ScanOptions } from "./lower/scan/blocking.js";
import { cutScans } from "./lower/scan/cut.js";
import { attentionCandidates } from "./lower/schedules/attention.js";
import type { Cut, ScheduleChoices } from "./lower/schedules/choices.js";
import { productCandidates, type ForcedSchedule, type Wanted } from "./lower/schedules/choose.js";
import type { ScheduleKey } from "./lower/schedules/key.js";
import { matvecKeepsLeft } from "./lower/schedules/matvec.js";
import { dotSides, isDot } from "./lower/product/dot-sides.js";
import { lowerSteps } from "./lower/steps.js";
import { matrixOrders, orderedStorage, readAsMatrices } from "./lower/schedules/orders.js";
import { rowMajor, type Orders } from "./lower/toolkit/order.js";
import { followProducts } from "./lower/follow.js";
import { addWhereRead } from "./lower/read-sums.js";
import { shareBodies } from "./lower/shared-bodies.js";
import { mergeSiblings } from "./lower/siblings.js";
import { createLowering, type Lowering } from "./lower/toolkit/lowering.js";
import { unbindable } from "./plan/limits.js";
import { plan } from "./plan/plan.js";
import type { Program } from "./plan/program.js";
import type { Target } from "./target.js";
import type { Dtype } from "./types/dtype.js";
import type { FormatSpec } from "./types/type.js";

export { CompileError } from "./diagnostic.js";
export { written, type ChosenCut, type Cut, type ScheduleChoices } from "./lower/schedules/choices.js";
export { activationGroup, mostDotTokens } from "./lower/product/dot-sides.js";

/**
 * What the parameters of a function are for one compilation, by name. A format of null: dense elements of the tensor's
 * dtype.
 */
export interface CompileBinding {
  readonly sizes?: Readonly<Record<string, number>>;
  readonly dtypes?: Readonly<Record<string, Dtype>>;
  readonly formats?: Readonly<Record<string, FormatSpec | null>>;
}

export interface CompileOptions {
  /** Take this schedule wherever it applies, or this cut for products: for tests and experiments. */
  readonly schedule?: ForcedSchedule | null;
  /**
   * Cuts for products and attentions, by their keys, instead of those that are taken by themselves: what was found to be
   * fast on a device. What is none of the candidates of a key is left.
   */
  readonly choices?: ScheduleChoices;
  /** Whether to join eqns; on by default. */
  readonly fuse?: boolean;
  /**
   * Whether packed inputs may be wanted in another order of rows (`order` of a Program's inputs), which who runs it must
   * give them then; off by default.
   */
  readonly interleave?: boolean;
  /** Whether long sums for few elements are taken in parts, on a GPU; on by default. */
  readonly parts?: boolean;
  /**
   * Whether independent kernels become one dispatch, and sums of parts are added up by who reads them; on by
   * default on a GPU, where a dispatch costs time of its own.
   */
  readonly merge?: boolean;
  /** How scans are cut: for tests and experiments. */
  readonly scan?: ScanOptions;
}

/** Every stage of one compilation, for printing and for tests. */
export interface Stages {
  /** Sizes, dtypes and formats bound; nothing rewritten. */
  readonly concrete: ConcreteGraph;
  /** What is lowered: simplified, fused, copies inserted before updates in place. */
  readonly fused: ConcreteGraph;
  readonly storage: StorageMap;
  readonly orders: Orders;
  /** What is packed by those who read it. */
  readonly packs: StagedPacks;
  /** What each eqn of `fused` becomes. */
  readonly lowered: readonly Lowered[];
  /** Kernels of each eqn of `fused`, those that are repeated once. */
  readonly kernels: readonly (readonly Kernel[])[];
  /** For people: what is slower than it could be, and why. */
  readonly notes: readonly string[];
  readonly program: Program;
}

/** The Program of a function. Throws CompileError where the bindings do not fit the function. */
export function compileFunction(
  graph: SymbolicGraph,
  binding: CompileBinding,
  target: Target,
  options: CompileOptions = {},
): Program {
  const stages = compileStages(graph, binding, target, options);
  if ("diagnostics" in stages) throw new CompileError(stages.diagnostics);
  return stages.program;
}

/** The pipeline, top to bottom. Each stage is verified after the pass that made it. */
export function compileStages(
  graph: SymbolicGraph,
  binding: CompileBinding,
  target: Target,
  options: CompileOptions = {},
): Stages | { readonly diagnostics: readonly Diagnostic[] } {
  const bound = specialize(
    graph,
    {
      sizes: new Map(Object.entries(binding.sizes ?? {})),
      dtypes: new Map(Object.entries(binding.dtypes ?? {})),
      formats: new Map(Object.entries(binding.formats ?? {})),
    },
    { f16: target.f16 },
  );
  if (!("graph" in bound)) return { diagnostics: bound };
  try {
    return lowerConcrete(bound.graph, target, options);
  } catch (error) {
    if (error instanceof CompileError) return { diagnostics: error.diagnostics };
    throw error;
  }
}

/** The pipeline from a concrete graph on. Throws CompileError where the device cannot hold a tensor. */
export function lowerConcrete(concrete: ConcreteGraph, target: Target, options: CompileOptions = {}): Stages {
  const passes: readonly { readonly name: string; readonly run: (graph: ConcreteGraph) => ConcreteGraph }[] = [
    { name: "specialize", run: (graph) => graph },
    { name: "split low rank", run: splitLowRank },
    { name: "widen scales", run: widenScales },
    { name: "expand top", run: expandTop },
    { name: "gather additions", run: scatterToGather },
    { name: "sort places", run: sortPlaces },
    { name: "shorten sums", run: shortenSums },
    { name: "simplify", run: simplify },
    ...(options.fuse === false
      ? []
      : [
          {
            name: "fuse",
            run: (graph: ConcreteGraph) =>
              fuse(graph, {
                inlineReductions: inlineRows(graph, (product) => matvecKeepsLeft(product, target)),
                maxTensors: target.maxStorageBuffers - 2,
              }),
          },
        ]),
    { name: "simplify", run: simplify },
    ...(options.parts === false
      ? []
      : [{ name: "split sums", run: (graph: ConcreteGraph) => splitSums(graph, target) }]),
    {
      name: "unpack for tiles",
      run: (graph) => unpackForTiles(graph, target, (product) => dotSides(product, target) !== null),
    },
  ];
  const joined = passes.reduce((graph, { name, run }) => verified(run(graph), name), concrete);
  // what runs in blocks keeps its body whole, and so is found before copies are made
  const scans = cutScans(joined, target, options.scan ?? {});
  const fused = verified(
    insertCopies(joined, ({ out }) => typeof scans.get(out) !== "string"),
    "insert copies",
  );
  const inRows = assignStorage(fused);
  const tooLarge = unbindable(fused, inRows, target);
  if (tooLarge.length > 0) throw new CompileError(tooLarge);
  const wanted = { schedule: options.schedule ?? null, choices: options.choices ?? {} };
  const {
    storage,
    orders,
    packs,
    lowered: each,
  } = withOrders(fused, inRows, target, options, wanted, (storage, orders) => {
    const lower = (packs: StagedPacks): readonly Lowered[] => {
      const lowering = createLowering(fused, storage, target, [], packs, orders);
      const instead = new Set([...packs.values()].flatMap((pack) => pack.instead));
      return fused.eqns.map((eqn) =>
        instead.has(eqn.out) ? { steps: [], scratch: [], notes: [] } : lowerSteps(lowering, eqn, { ...wanted, scans }),
      );
    };
    return withStagedPacks(fused, storage, target, options, lower);
  });
  const lowered =
    (options.merge ?? target.kind === "gpu")
      ? fewer(createLowering(fused, storage, target, [], packs, orders), each)
      : each;
  const kernels = lowered.map((each) => kernelsOf(each.steps));
  for (const kernel of new Set(kernels.flat())) {
    const faults = verifyKernel(kernel, target);
    if (faults.length > 0) throw new InternalError(`after lowering: ${faults.join("; ")}\n${printKernel(kernel)}`);
  }
  return {
    concrete,
    fused,
    storage,
    orders,
    packs,
    lowered,
    kernels,
    notes: lowered.flatMap((each) => each.notes),
    program: plan(fused, storage, lowered, orders.rows),
  };
}

/** What is lowered with fewer dispatches: kernels that do what the next one would, and several as one. */
function fewer(lowering: Lowering, each: readonly Lowered[]): readonly Lowered[] {
  const { graph, storage, target } = lowering;
  const added = addWhereRead(lowering, followProducts(lowering, each));
  return shareBodies(mergeSiblings(added, target, givenIn(storage)), new Set(graph.inputs.map(({ name }) => name)));
}

/** Tensors whose memory the caller gives. */
function givenIn(storage: StorageMap): ReadonlySet<string> {
  return new Set(storage.flatMap((each) => (each?.role === "input" ? [each.name] : [])));
}

/**
 * The steps with packs computed where they are read, or, where a reader has come to another schedule than was thought,
 * by themselves.
 */
function withStagedPacks(
  graph: ConcreteGraph,
  storage: StorageMap,
  target: Target,
  options: CompileOptions,
  lower: (packs: StagedPacks) => readonly Lowered[],
): { readonly packs: StagedPacks; readonly lowered: readonly Lowered[] } {
  const none: StagedPacks = new Map();
  const plain = () => ({ packs: none, lowered: lower(none) });
  const { schedule } = options;
  const kind = schedule === null || typeof schedule !== "object" ? (schedule ?? "dot") : schedule.kind;
  if (options.fuse === false || target.kind !== "gpu" || kind !== "dot") return plain();
  const packs = stagedPacks(graph, storage, (eqn) => isDot(graph, eqn, target));
  if (packs.size === 0) return plain();
  const lowered = lower(packs);
  const missing = new Set([...packs.values()].flatMap(({ instead }) => instead.map((id) => storage[id]?.name)));
  const readsMissing = lowered.some(({ steps }) =>
    kernelsOf(steps).some(({ buffers }) => buffers.some(({ tensor }) => missing.has(tensor))),
  );
  return readsMissing ? plain() : { packs, lowered };
}

/**
 * What is lowered with activations in the orders of the products that read them, or, where a reader has come to another
 * schedule than was thought, in row-major order.
 */
function withOrders<T extends { readonly lowered: readonly Lowered[] }>(
  graph: ConcreteGraph,
  storage: StorageMap,
  target: Target,
  options: CompileOptions,
  wanted: Wanted,
  lower: (storage: StorageMap, orders: Orders) => T,
): T & { readonly storage: StorageMap; readonly orders: Orders } {
  const plain = () => ({ ...lower(storage, rowMajor), storage, orders: rowMajor });
  if (options.fuse === false || !target.matrices || target.alike === true) return plain();
  const lowering = (orders: Orders) => createLowering(graph, storage, target, [], new Map(), orders);
  const orders = matrixOrders(graph, lowering, wanted, options.interleave === true);
  if (orders.matrices.size === 0) return plain();
  const enlarged = orderedStorage(storage, orders);
  const made = lower(enlarged, orders);
  const ordered = new Set([...orders.matrices.keys()].flatMap((id) => enlarged[id]?.name ?? []));
  const kernels = made.lowered.flatMap((each) => kernelsOf(each.steps));
  return readAsMatrices(kernels, ordered) ? { ...made, storage: enlarged, orders } : plain();
}

/** What has a choice of cuts: its key, and its candidates, of which the first is taken by itself. */
export interface Tunable {
  readonly key: ScheduleKey;
  readonly cuts: readonly Cut[];
}

/** The products and attentions of a compilation that have a choice, in order, each key once. */
export function tunables({ fused, storage, orders, packs }: Stages, target: Target): readonly Tunable[] {
  // in the order of the cut that is taken no other fits: activations may be put into any, or stay in rows
  const matrices = new Map([...orders.matrices.keys()].map((id) => [id, "any"] as const));
  const lowering = createLowering(fused, storage, target, [], packs, { matrices, rows: new Map() });
  const instead = new Set([...packs.values()].flatMap((pack) => pack.instead));
  const found = new Map<string, Tunable>();
  for (const eqn of fused.eqns) {
    if (instead.has(eqn.out)) continue;
    const each = attentionCandidates(lowering, eqn) ?? productCandidates(lowering, eqn);
    if (each !== null && !found.has(each.key.text)) found.set(each.key.text, each);
  }
  return [...found.values()];
}

/** The graph, which a pass has made; throws an InternalError that names the pass where it is not well-formed. */
function verified(graph: ConcreteGraph, pass: string): ConcreteGraph {
  const faults = verify(graph);
  if (faults.length > 0) throw new InternalError(`after ${pass}: ${faults.join("; ")}\n${printGraph(graph)}`);
  return graph;
}
