/** CodeMirror, put together once: YAML, markers from the server, our colours. Loaded only when a page shows an editor. */
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentOnInput, indentUnit, syntaxHighlighting } from "@codemirror/language";
import { lintGutter, setDiagnostics, type Diagnostic } from "@codemirror/lint";
import { unifiedMergeView } from "@codemirror/merge";
import { EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

export interface Marker {
  line: number;
  column: number;
  severity: "error" | "warning";
  message: string;
}

export interface Handle {
  set(text: string): void;
  mark(markers: Marker[]): void;
  goTo(line: number, column: number): void;
  destroy(): void;
}

const theme = EditorView.theme({
  "&": { height: "100%", fontSize: "12.5px", backgroundColor: "transparent", color: "var(--text)" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.55" },
  ".cm-gutters": { backgroundColor: "var(--sunk)", color: "var(--muted)", border: "0", borderInlineEnd: "1px solid var(--line)" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--accent) 6%, transparent)" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  "&.cm-focused": { outline: "none" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 25%, transparent) !important" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line-strong)", borderRadius: "6px", color: "var(--text)" },
  ".cm-diagnostic": { fontFamily: "var(--sans)", padding: "5px 9px" },
  ".cm-collapsedLines": { color: "var(--muted)", background: "var(--sunk)", paddingInlineStart: "10px" },
  ".cm-collapsedLines:before, .cm-collapsedLines:after": { content: "\"\" !important", margin: "0" },
  ".cm-changedLine, .cm-insertedLine": { backgroundColor: "var(--good-soft) !important" },
  ".cm-deletedChunk": { backgroundColor: "var(--bad-soft) !important" },
  ".cm-changedText": { background: "none !important", textDecoration: "underline 2px var(--good)" },
  ".cm-deletedChunk .cm-deletedText": { background: "none !important", textDecoration: "line-through 1px var(--bad)" },
});

const colours = HighlightStyle.define([
  { tag: tags.propertyName, color: "var(--accent)" },
  { tag: tags.definition(tags.propertyName), color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--good)" },
  { tag: [tags.number, tags.bool, tags.null, tags.keyword], color: "var(--warn)" },
  { tag: [tags.comment, tags.meta], color: "var(--muted)" },
]);

function base(label: string): Extension[] {
  return [
    lineNumbers(), history(), drawSelection(), indentOnInput(), bracketMatching(), highlightActiveLine(), indentUnit.of("  "), EditorState.tabSize.of(2),
    yaml(), syntaxHighlighting(colours), lintGutter(), theme,
    keymap.of([...defaultKeymap, ...historyKeymap, indentWithTab]),
    // Escape, then Tab leaves the editor: the keyboard is never caught.
    EditorView.contentAttributes.of({ "aria-label": label, spellcheck: "false" }),
  ];
}

export function create(parent: HTMLElement, text: string, label: string, change: (text: string) => void): Handle {
  const view = new EditorView({
    parent,
    state: EditorState.create({
      doc: text,
      extensions: [...base(label), EditorView.updateListener.of((update) => update.docChanged && change(update.state.doc.toString()))],
    }),
  });
  function offset(line: number, column: number): number {
    const doc = view.state.doc;
    const row = doc.line(Math.max(1, Math.min(line || 1, doc.lines)));
    return Math.min(row.to, row.from + Math.max(0, (column || 1) - 1));
  }
  return {
    set(next) {
      if (next !== view.state.doc.toString()) view.dispatch({ changes: { from: 0, to: view.state.doc.length, insert: next } });
    },
    mark(markers) {
      const list = markers.map((marker): Diagnostic => {
        const from = offset(marker.line, marker.column);
        return { from, to: Math.max(from, view.state.doc.lineAt(from).to), severity: marker.severity, message: marker.message };
      });
      view.dispatch(setDiagnostics(view.state, list.sort((a, b) => a.from - b.from)));
    },
    goTo(line, column) {
      const at = offset(line, column);
      view.dispatch({ selection: { anchor: at }, effects: EditorView.scrollIntoView(at, { y: "center" }) });
      view.focus();
    },
    destroy: () => view.destroy(),
  };
}

/** What would change, line by line; read only. */
export function diff(parent: HTMLElement, before: string, after: string, label: string): { destroy(): void } {
  return new EditorView({
    parent,
    state: EditorState.create({
      doc: after,
      extensions: [
        lineNumbers(), yaml(), syntaxHighlighting(colours), theme, EditorState.readOnly.of(true), EditorView.editable.of(false),
        EditorView.contentAttributes.of({ "aria-label": label, tabindex: "0" }),
        unifiedMergeView({ original: before, mergeControls: false, collapseUnchanged: { margin: 3, minSize: 6 } }),
      ],
    }),
  });
}
