/** The editor: CodeMirror, coloured by the tokens of the language, underlined where the checker has something to say. */
import { indentWithTab } from "@codemirror/commands";
import { lintGutter, setDiagnostics, type Diagnostic as Finding } from "@codemirror/lint";
import { EditorState, RangeSetBuilder } from "@codemirror/state";
import { Decoration, EditorView, keymap, ViewPlugin, type DecorationSet, type ViewUpdate } from "@codemirror/view";
import { basicSetup } from "codemirror";
import type { Diagnostic } from "../compiler/diagnostic.js";
import { createHighlighter } from "../compiler/language-service/highlight.js";

const highlight = createHighlighter();

/** What is coloured alike. */
const kinds: readonly (readonly [scope: RegExp, kind: string])[] = [
  [/^comment/, "comment"],
  [/^string/, "text"],
  [/^constant/, "number"],
  [/^keyword\.operator\.espalier/, "operator"],
  [/^keyword|^storage\.type\.espalier/, "word"],
  [/^storage|^support\.type/, "type"],
];

/** Colours by the TextMate grammar, as in other editors. */
function marksOf(text: string): DecorationSet {
  const builder = new RangeSetBuilder<Decoration>();
  for (const { start, end, scope } of highlight(text)) {
    const kind = kinds.find(([pattern]) => pattern.test(scope))?.[1];
    if (kind !== undefined) builder.add(start, end, Decoration.mark({ class: `tok-${kind}` }));
  }
  return builder.finish();
}

const colours = ViewPlugin.define(
  (view) => {
    const plugin = {
      marks: marksOf(view.state.doc.toString()),
      update(update: ViewUpdate): void {
        if (update.docChanged) plugin.marks = marksOf(update.state.doc.toString());
      },
    };
    return plugin;
  },
  { decorations: ({ marks }) => marks },
);

const theme = EditorView.theme({
  "&": { backgroundColor: "transparent", color: "inherit" },
  "&.cm-focused": { outline: "2px solid var(--accent)" },
  ".cm-scroller": { fontFamily: "var(--mono)", fontSize: "14px" },
  ".cm-content": { caretColor: "var(--ink)" },
  ".cm-gutters": { backgroundColor: "transparent", color: "var(--faint)", border: "none" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent) 8%, transparent)" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": {
    backgroundColor: "color-mix(in srgb, var(--accent) 25%, transparent) !important",
  },
  ".cm-tooltip, .cm-panels": { backgroundColor: "var(--raised)", color: "var(--ink)", borderColor: "var(--line)" },
  ".cm-diagnostic": { whiteSpace: "pre-wrap", maxWidth: "34rem" },
  ".tok-word": { color: "var(--word)", fontWeight: "600" },
  ".tok-number": { color: "var(--number)" },
  ".tok-text, .tok-type": { color: "var(--text)" },
  ".tok-comment": { color: "var(--faint)" },
});

export interface Editor {
  text(): string;
  /** Replaces the text, which is then changed as if it had been typed. */
  set(text: string): void;
  /** Underlines findings of the file. */
  show(diagnostics: readonly Diagnostic[], file: string): void;
  /** Puts the cursor at an offset. */
  goTo(offset: number): void;
}

/** Makes an editor in `parent`; `changed` is called a moment after the text has changed. */
export function createEditor(parent: HTMLElement, text: string, changed: () => void): Editor {
  let timer = 0;
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text,
      extensions: [
        basicSetup,
        lintGutter(),
        // Escape and then Tab leaves the editor, as CodeMirror has it
        keymap.of([indentWithTab]),
        EditorView.contentAttributes.of({ "aria-label": "source" }),
        EditorView.lineWrapping,
        colours,
        theme,
        EditorView.updateListener.of(({ docChanged }) => {
          if (!docChanged) return;
          clearTimeout(timer);
          timer = window.setTimeout(changed, 150);
        }),
      ],
    }),
  });
  return {
    text: () => view.state.doc.toString(),
    set: (next) => view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } }),
    show(diagnostics, file) {
      const { length } = view.state.doc;
      const findings = diagnostics.flatMap(({ severity, code, message, labels, help }): Finding[] => {
        const at = labels[0];
        if (at === undefined || at.span.file !== file) return [];
        const from = Math.min(at.span.start, length);
        const lines = [`${code}: ${message}`, ...(help === null ? [] : [`help: ${help}`])];
        return [
          {
            from,
            to: Math.max(from, Math.min(at.span.end, length)),
            severity: severity === "note" ? "info" : severity,
            message: lines.join("\n"),
          },
        ];
      });
      view.dispatch(setDiagnostics(view.state, findings));
    },
    goTo(offset) {
      const at = Math.min(offset, view.state.doc.length);
      view.dispatch({ selection: { anchor: at }, scrollIntoView: true });
      view.focus();
    },
  };
}
