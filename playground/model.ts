/** A model in the page: opened, compressed by the recipe in the editor, and talked to before and after. */
import { showErrors, showFigures } from "./errors.js";
import { byId, element, table, wordsOf } from "./page.js";
import {
  compress,
  generate,
  mapDirectory,
  openModel,
  openSession,
  pickedDirectory,
  type Machine,
  type Model,
  type Recipe,
} from "../web.js";

/** The files of the small model that a page needs, beside its texts. */
const files = ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/** What the model is compressed by. */
export interface ChosenRecipe {
  readonly recipe: Recipe;
  readonly source: string;
}

/** Wires the part of the page about a model. `machine` opens the device; `chosen` is the recipe, or what is wrong. */
export function createModelPart(machine: () => Promise<Machine>, chosen: () => ChosenRecipe | string): void {
  const [load, speak, stop, compressing, download] = ["load", "speak", "stop", "compress", "download"].map((id) =>
    byId(id, HTMLButtonElement),
  ) as [HTMLButtonElement, HTMLButtonElement, HTMLButtonElement, HTMLButtonElement, HTMLButtonElement];
  const [note, progressNote] = [byId("model-note", HTMLParagraphElement), byId("compress-note", HTMLSpanElement)];
  const progress = byId("progress", HTMLProgressElement);
  let given: Model | null = null;
  let made: { readonly model: Model; readonly files: ReadonlyMap<string, Uint8Array> } | null = null;
  let text: string | null = null;
  let stopped = false;

  /** Runs one thing at a time, and says what went wrong. */
  async function busy(where: HTMLElement, work: () => Promise<void>): Promise<void> {
    // a button that is disabled loses the focus, and who goes by keyboard the place
    const focused = document.activeElement;
    for (const button of [load, speak, compressing]) button.disabled = true;
    where.classList.remove("bad");
    try {
      await work();
    } catch (error) {
      const help = typeof error === "object" && error !== null && "help" in error ? error.help : null;
      where.textContent = typeof help === "string" ? `${wordsOf(error)} (${help})` : wordsOf(error);
      where.classList.add("bad");
    } finally {
      load.disabled = false;
      for (const button of [speak, compressing]) button.disabled = given === null;
      stop.disabled = true;
      progress.hidden = true;
      if (document.activeElement === document.body && focused instanceof HTMLElement) focused.focus();
    }
  }

  /** Takes away what was compressed, and what was told of it. */
  function forgetMade(): void {
    made = null;
    download.hidden = true;
    for (const id of ["report", "figures", "compressed"]) byId(id, HTMLElement).replaceChildren();
    byId("compressed", HTMLElement).dataset["ids"] = "";
  }

  async function take(model: Model): Promise<void> {
    const parameters = model.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);
    const bytes = model.tensors.reduce((sum, one) => sum + one.bytes, 0);
    await given?.close();
    given = model;
    forgetMade();
    for (const id of ["plots", "given", "compress-note"]) byId(id, HTMLElement).replaceChildren();
    const warnings = model.warnings.map((line) => ` Note: ${line}.`).join("");
    note.textContent = `${model.directory}: ${model.config.layers} blocks, ${(parameters / 1e6).toFixed(1)} million parameters, ${(bytes / 2 ** 20).toFixed(2)} MiB.${warnings}`;
  }

  load.addEventListener("click", () =>
    busy(note, async () => {
      note.textContent = "Loading…";
      const fetched = await Promise.all(
        files.map(async (name) => {
          const answer = await fetch(`model/${name}`);
          if (!answer.ok) throw new Error(`model/${name} was not found: ${answer.status}`);
          return [name, new Uint8Array(await answer.arrayBuffer())] as const;
        }),
      );
      text = await (await fetch("model/calibration.txt")).text();
      await take(await openModel(mapDirectory("classics-3.7m", new Map(fetched))));
    }),
  );

  const directory = byId("directory", HTMLInputElement);
  directory.addEventListener("change", () =>
    busy(note, async () => {
      note.textContent = "Opening…";
      const picked = [...(directory.files ?? [])];
      // the same directory can be chosen again, once what was wrong with it is put right
      directory.value = "";
      await take(await openModel(pickedDirectory(picked)));
      text = null;
    }),
  );

  async function say(model: Model, where: HTMLElement): Promise<void> {
    const { caller } = await machine();
    const prompt = byId("prompt", HTMLInputElement).value;
    const tokenizer = await model.tokenizer();
    const ids = await tokenizer.encode(prompt, { prefix: true });
    const stream = tokenizer.stream();
    for (const id of ids) stream.push(id);
    where.replaceChildren(element("i", prompt));
    where.dataset["ids"] = "";
    const session = await openSession(caller, model, { dtype: caller.target.f16 ? "f16" : "f32" });
    try {
      const found = await generate(session, ids, {
        maxNewTokens: Number(byId("tokens", HTMLInputElement).value) || 1,
        temperature: 0,
        eosTokens: model.generation.eosTokens,
        onToken(id) {
          where.append(stream.push(id));
          return !stopped;
        },
      });
      where.append(stream.end());
      where.dataset["ids"] = found.ids.join(" ");
    } finally {
      session.release();
    }
  }

  speak.addEventListener("click", () =>
    busy(note, async () => {
      stopped = false;
      stop.disabled = false;
      if (given !== null) await say(given, byId("given", HTMLParagraphElement));
      if (made !== null && !stopped) await say(made.model, byId("compressed", HTMLParagraphElement));
    }),
  );
  stop.addEventListener("click", () => (stopped = true));

  compressing.addEventListener("click", () =>
    busy(progressNote, async () => {
      const picked = chosen();
      if (typeof picked === "string") throw new Error(picked);
      if (given === null) return;
      progressNote.textContent = "Beginning…";
      text ??= await (await fetch("model/calibration.txt")).text();
      const tokenizer = await given.tokenizer();
      const ids = [...(await tokenizer.encode(text, { prefix: false }))];
      const { caller } = await machine();
      progress.hidden = false;
      progress.value = 0;
      const errors = showErrors(given);
      forgetMade();
      const output = "compressed";
      const { report, models } = await compress(caller, given, picked.recipe, {
        output,
        source: picked.source,
        text: {
          ids,
          bos: tokenizer.bos,
          windows: Number(byId("windows", HTMLInputElement).value),
          window: Number(byId("window", HTMLInputElement).value),
        },
        onProgress({ stage, subject, share, secondsLeft }) {
          progress.value = share;
          const left = secondsLeft === null ? "" : `, ${Math.ceil(secondsLeft)} s left`;
          progressNote.textContent = `${Math.floor(100 * share)} %: ${stage} ${subject}${left}`;
        },
        onLayer: errors.add,
      });
      const written = models.get(output) ?? [...models.values()][0];
      if (written === undefined) throw new Error("The recipe has written no model.");
      made = { files: written, model: await openModel(mapDirectory(output, written)) };
      download.hidden = false;
      const size = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(2)} MiB`;
      progressNote.textContent = `${size(report.bytesBefore)} → ${size(report.bytesAfter)} in ${report.seconds.toFixed(1)} s on ${caller.target.name}.`;
      showFigures(report, caller.target.name);
      byId("report", HTMLDivElement).replaceChildren(
        ...(report.printed.length === 0
          ? []
          : [
              table(
                ["layer", "printed", "value"],
                report.printed.map(({ layer, text, value }) => [layer, text, value === null ? "not finite" : value]),
              ),
            ]),
        table(
          ["tensor", "pattern", "format", "bits a weight", "weight error", "layer error"],
          report.tensors.map((one) => [
            one.name,
            one.pattern,
            one.format,
            one.bitsPerWeight,
            Number(one.relativeError.toFixed(4)),
            one.layerError === null ? "" : Number(one.layerError.toFixed(4)),
          ]),
        ),
      );
    }),
  );

  download.addEventListener("click", () => {
    for (const [name, bytes] of made?.files ?? []) {
      const link = Object.assign(element("a"), {
        href: URL.createObjectURL(new Blob([new Uint8Array(bytes)])),
        download: name,
      });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    }
  });
}
