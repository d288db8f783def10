/** The playground: an editor, the stages of what is in it, its results on numbers, and a model that it compresses. */
import { createEditor } from "./editor.js";
import { createModelPart } from "./model.js";
import { offerArguments, runOnNumbers } from "./numbers.js";
import { byId, element, offer, wordsOf } from "./page.js";
import { compileShown, offerSizes, showStages } from "./stages.js";
import {
  check,
  createTextHost,
  format,
  hasErrors,
  openMachine,
  parse,
  position,
  type Diagnostic,
  type Machine,
  type Stages,
  type SymbolicGraph,
} from "../web.js";

/** Texts of the examples by name, which the bundler writes in. */
declare const exampleTexts: { readonly [name: string]: string };

const file = "playground.esp";
const first = `/// The squared distance of each of N points to each of M others.
fn distances(a: f32[N, D], b: f32[M, D]) -> f32[N, M] {
  return d where d[n, m] = sum[k] (a[n, k] - b[m, k])^2
}
`;
const examples = new Map([["a first function", first], ...Object.entries(exampleTexts)]);

start();

/** Wires the page. */
function start(): void {
  const select = byId("example", HTMLSelectElement);
  const functions = byId("function", HTMLSelectElement);
  const device = byId("device", HTMLParagraphElement);
  let checked: ReturnType<typeof check> = { value: null, diagnostics: [] };
  let stages: Stages | null = null;
  /** What the stages are compiled for: the device, once there is one. */
  let target: Machine["caller"]["target"] | null = null;

  /** Opened at most once. */
  let opening: Promise<Machine> | null = null;
  const machine = (): Promise<Machine> => (opening ??= openMachine());

  offer(select, [...examples.keys()]);
  const editor = createEditor(byId("editor", HTMLDivElement), first, checkNow);
  select.addEventListener("change", () => editor.set(examples.get(select.value) ?? ""));
  byId("format", HTMLButtonElement).addEventListener("click", () => {
    const { value, diagnostics } = parse(editor.text(), file);
    if (value !== null && !hasErrors(diagnostics)) editor.set(format(value));
  });
  functions.addEventListener("change", showFunction);

  function checkNow(): void {
    const source = editor.text();
    checked = check(file, createTextHost(new Map([[file, source]])));
    const { value, diagnostics } = checked;
    editor.show(diagnostics, file);
    showFindings(source, diagnostics);
    const known = value === null ? [] : value.declared.length > 0 ? value.declared : [...value.functions.keys()];
    offer(functions, known);
    showFunction();
  }

  function showFindings(source: string, diagnostics: readonly Diagnostic[]): void {
    const errors = diagnostics.filter(({ severity }) => severity === "error").length;
    byId("found", HTMLParagraphElement).textContent =
      diagnostics.length === 0
        ? "Nothing to report."
        : errors === 0
          ? `${diagnostics.length} to note.`
          : `${errors} ${errors === 1 ? "error" : "errors"}.`;
    byId("findings", HTMLOListElement).replaceChildren(
      ...diagnostics.slice(0, 20).map(({ code, severity, message, labels, notes, help }) => {
        const span = labels[0]?.span;
        const at = span?.file === file ? `line ${position(source, span.start).line}: ` : "";
        const button = Object.assign(element("button", `${at}${code}: ${message}`, severity), { type: "button" });
        for (const line of [...notes, ...(help === null ? [] : [`help: ${help}`])])
          button.append(element("small", line));
        button.addEventListener("click", () => editor.goTo(span?.file === file ? span.start : 0));
        const item = element("li");
        item.append(button);
        return item;
      }),
    );
  }

  function graphShown(): SymbolicGraph | null {
    return checked.value?.functions.get(functions.value) ?? null;
  }

  function showFunction(): void {
    const graph = graphShown();
    const note = byId("stages-note", HTMLParagraphElement);
    if (graph === null) {
      stages = null;
      forgetResults();
      if (checked.value === null) note.textContent = "The source has errors: the stages are those of before.";
      else {
        note.textContent = "There is no function here.";
        for (const id of ["sizes", "stages", "arguments"]) byId(id, HTMLElement).replaceChildren();
      }
      byId("run", HTMLButtonElement).disabled = true;
      return;
    }
    offerSizes(graph, compileNow);
    compileNow();
  }

  function compileNow(): void {
    const graph = graphShown();
    if (graph === null) return;
    forgetResults();
    const note = byId("stages-note", HTMLParagraphElement);
    const run = byId("run", HTMLButtonElement);
    try {
      const made = compileShown(graph, target);
      stages = typeof made === "string" ? null : made;
      if (typeof made === "string") note.textContent = made;
      else {
        note.textContent = made.notes.join(" ");
        showStages(editor.text(), file, graph, made);
        offerArguments(made);
      }
    } catch (error) {
      stages = null;
      note.textContent = wordsOf(error);
    }
    run.disabled = stages === null;
  }

  /** Takes away what a run gave: it was of another function, other sizes or other numbers. */
  function forgetResults(): void {
    byId("results", HTMLDivElement).replaceChildren();
    const note = byId("run-note", HTMLSpanElement);
    note.textContent = "";
    note.classList.remove("bad");
  }
  byId("arguments", HTMLDivElement).addEventListener("input", forgetResults);

  byId("run", HTMLButtonElement).addEventListener("click", async () => {
    const open = await machine().catch(() => null);
    const asked = stages;
    if (asked === null) return;
    forgetResults();
    const note = byId("run-note", HTMLSpanElement);
    try {
      const { note: said, panels } = await runOnNumbers(asked, open?.caller.executor ?? null);
      // edited meanwhile
      if (stages !== asked) return;
      byId("results", HTMLDivElement).replaceChildren(...panels);
      note.textContent = said;
    } catch (error) {
      note.textContent = wordsOf(error);
      note.classList.add("bad");
    }
  });

  createModelPart(machine, () => {
    const { value, diagnostics } = checked;
    if (value === null) return `The source above has errors: ${diagnostics[0]?.message ?? ""}`;
    const [recipe] = value.recipes.values();
    return recipe === undefined
      ? "The source above has no recipe: pick an example, wanda-2of4-int4 for one."
      : { recipe, source: editor.text() };
  });

  checkNow();
  document.body.dataset["ready"] = String(Math.round(performance.now()));
  machine().then(
    ({ caller }) => {
      target = caller.target;
      device.textContent = `Computing on ${target.name}.`;
      compileNow();
    },
    (error: unknown) => {
      device.textContent = `${wordsOf(error)} Editing, checking and compiling work all the same.`;
      device.classList.add("bad");
      for (const id of ["load", "directory"]) byId(id, HTMLElement).setAttribute("disabled", "");
      byId("model-note", HTMLParagraphElement).textContent = "A model needs WebGPU.";
    },
  );
}
