// SPDX-License-Identifier: GPL-2.0-or-later
// Two documents beside each other, or one below the other where there is no room, with the
// profiles that set each line. It lives in a shadow root: there CodeMirror adopts its styles as
// sheets instead of writing <style>, so the page needs no exception in its content policy.

import { Chunk, MergeView, presentableDiff, unifiedMergeView } from "@codemirror/merge";
import { HighlightStyle, syntaxHighlighting } from "@codemirror/language";
import { xmlLanguage } from "@codemirror/lang-xml";
import { EditorState, RangeSet, Text } from "@codemirror/state";
import { Decoration, EditorView, GutterMarker, WidgetType, gutter, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

import { el } from "./dom.js";
import { Places, bookkeeping, changesByLine, filled, slid } from "./lines.js";

/** How hard to look for the smallest difference: a VM of 200 devices is shown in half a second. */
const LIMITS = { scanLimit: 500, timeout: 300 };
const DIFF = { ...LIMITS, override: (before, after) => slid(presentableDiff(before, after, LIMITS), before, after) };

const colours = HighlightStyle.define([
  { tag: tags.tagName, color: "var(--xml-tag)" },
  { tag: tags.attributeName, color: "var(--xml-name)" },
  { tag: tags.attributeValue, color: "var(--xml-value)" },
  { tag: tags.comment, color: "var(--quiet)", fontStyle: "italic" },
  { tag: [tags.angleBracket, tags.definitionOperator], color: "var(--quiet)" },
]);

const theme = EditorView.theme({
  "&": { color: "var(--text)", backgroundColor: "var(--paper)", fontSize: "13px" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-2px" },
  ".cm-scroller": { fontFamily: "var(--mono)", lineHeight: "1.5" },
  ".cm-content": { padding: "4px 0" },
  ".cm-gutters": { color: "var(--quiet)", backgroundColor: "var(--paper)", border: "none" },
  ".cm-lineNumbers .cm-gutterElement": { minWidth: "2.6em", padding: "0 6px 0 4px" },
  ".cm-gutters.cm-gutters-after": { borderLeft: "1px solid var(--edge)" },
  ".vp-who": { width: "10.5em", fontFamily: "var(--sans)", fontSize: "12px" },
  ".vp-who .cm-gutterElement": { padding: "0 8px", overflow: "hidden", lineHeight: "19.5px" },
  ".vp-label": {
    display: "block",
    overflow: "hidden",
    textOverflow: "ellipsis",
    whiteSpace: "nowrap",
    color: "var(--label)",
  },
  ".vp-quiet": { color: "var(--quiet)" },
  ".vp-inline": {
    fontFamily: "var(--sans)",
    fontSize: "12px",
    color: "var(--label)",
    border: "1px solid var(--edge)",
    borderRadius: "3px",
    padding: "0 4px",
    marginLeft: "6px",
    whiteSpace: "nowrap",
  },
  "&.cm-merge-a .cm-changedLine, .cm-deletedChunk": { backgroundColor: "var(--gone)" },
  "&.cm-merge-b .cm-changedLine, .cm-changedLine, .cm-inlineChangedLine": { backgroundColor: "var(--came)" },
  "&.cm-merge-a .cm-changedText, .cm-deletedChunk .cm-deletedText": { background: "var(--gone-strong)" },
  "&.cm-merge-b .cm-changedText, .cm-changedText": { background: "var(--came-strong)" },
  "&.cm-merge-a .cm-changedLineGutter, .cm-deletedLineGutter": { background: "var(--gone-bar)" },
  "&.cm-merge-b .cm-changedLineGutter, .cm-changedLineGutter": { background: "var(--came-bar)" },
  "&.cm-merge-a .vp-alone .cm-changedText, &.cm-merge-b .vp-alone .cm-changedText, .vp-alone .cm-changedText": {
    background: "none",
  },
  ".cm-deletedChunk": { paddingLeft: "6px", color: "var(--text)" },
  ".cm-collapsedLines": {
    color: "var(--quiet)",
    background: "var(--fold)",
    fontFamily: "var(--sans)",
    padding: "3px 8px",
  },
  ".cm-collapsedLines:before, .cm-collapsedLines:after": { content: '""', margin: "0" },
});

const BOOKKEEPING = { list: "the VM's list of profiles", record: "what profiles did, so that it can be taken back" };

/** Who set a line, in words, and all about it for the pointer. */
function told(changes) {
  if (typeof changes === "string") return { names: changes, all: BOOKKEEPING[changes], quiet: true };
  const names = [...new Set(changes.flatMap((one) => one.origins.map((origin) => origin.profile)))];
  const lines = changes.flatMap((one) =>
    one.origins.map((origin) => `${origin.profile} ${origin.version}: ${origin.action} (${origin.file}:${origin.line})`),
  );
  return { names: names.join(", "), all: [...new Set(lines)].join("\n") };
}

class Who extends GutterMarker {
  constructor(changes) {
    super();
    this.told = told(changes);
  }

  eq(other) {
    return this.told.all === other.told.all;
  }

  toDOM() {
    return el("span", { class: this.told.quiet ? "vp-label vp-quiet" : "vp-label", title: this.told.all }, this.told.names);
  }
}

class WhoInline extends WidgetType {
  constructor(changes, word) {
    super();
    this.told = told(changes);
    this.word = word;
  }

  eq(other) {
    return this.told.all === other.told.all && this.word === other.word;
  }

  toDOM() {
    return el("span", { class: "vp-inline", title: this.told.all }, this.word + this.told.names);
  }
}

/** The lines, from 1, that chunks of one side have. */
function linesOf(chunks, text, from, to) {
  const lines = [];
  for (const chunk of chunks) {
    if (chunk[from] >= chunk[to]) continue;
    const last = text.lineAt(Math.min(chunk[to] - 1, text.length)).number;
    for (let line = text.lineAt(chunk[from]).number; line <= last; line++) lines.push(line);
  }
  return lines;
}

function common(label) {
  return [
    lineNumbers(),
    xmlLanguage,
    syntaxHighlighting(colours),
    theme,
    EditorView.lineWrapping,
    EditorState.readOnly.of(true),
    EditorView.editable.of(false),
    EditorView.contentAttributes.of({ tabindex: "0", "aria-label": label, "aria-readonly": "true" }),
  ];
}

function whoGutter(labels) {
  return gutter({
    class: "vp-who",
    side: "after",
    lineMarker(view, block) {
      const changes = labels.get(view.state.doc.lineAt(block.from).number);
      return changes ? new Who(changes) : null;
    },
  });
}

/** Marks lines that have nothing beside them: all of such a line is new or gone. */
function alone(lines, text) {
  const whole = Decoration.line({ class: "vp-alone" });
  return EditorView.decorations.of(RangeSet.of(lines.map((line) => whole.range(text.line(line).from))));
}

/** What to say of the lines that differ: the changes on them, or which bookkeeping they are. */
function labelled(lines, known, scanned) {
  const found = filled(lines, known, scanned);
  const books = bookkeeping(scanned);
  for (const line of lines) {
    if (!found.has(line) && books.has(line)) found.set(line, books.get(line));
  }
  return found;
}

function inlineLabels(chunks, texts, labels) {
  const found = [];
  for (const [line, changes] of labels.after) {
    if (typeof changes === "string") continue; // no room for what is no news
    const at = texts.after.line(line).to;
    found.push(Decoration.widget({ widget: new WhoInline(changes, ""), side: 1 }).range(at));
  }
  for (const chunk of chunks) {
    // what only went has no line of its own here: its label stands on the next one
    if (chunk.fromB < chunk.endB && chunk.fromB !== chunk.toB) continue;
    const gone = linesOf([chunk], texts.before, "fromA", "toA")
      .map((line) => labels.before.get(line) ?? [])
      .filter((one) => typeof one !== "string")
      .flat();
    if (!gone.length) continue;
    const at = Math.min(chunk.fromB, texts.after.length);
    found.push(Decoration.widget({ widget: new WhoInline(gone, "removed by "), side: -1 }).range(at));
  }
  return EditorView.decorations.of(RangeSet.of(found, true));
}

/** The difference of two documents in an element of the page. */
export class DiffView {
  /** @param {HTMLElement} host gets a shadow root */
  constructor(host) {
    this.root = host.attachShadow({ mode: "open" });
    this.place = el("div");
    this.root.append(this.place);
    this.narrow = matchMedia("(max-width: 700px)");
    this.narrow.addEventListener("change", () => this.draw());
    this.shown = null;
  }

  /**
   * @param {string} before
   * @param {string} after
   * @param {Object[]} changes of the result
   * @param {boolean} all also what is the same
   */
  show(before, after, changes, all) {
    this.shown = { before, after, changes, all };
    this.draw();
  }

  draw() {
    this.clear();
    if (!this.shown) return;
    const { before, after, changes, all } = this.shown;
    const places = { before: new Places(before), after: new Places(after) };
    const known = changesByLine(changes, places.before, places.after);
    const texts = { before: Text.of(before.split("\n")), after: Text.of(after.split("\n")) };
    const chunks = Chunk.build(texts.before, texts.after, DIFF);
    const labels = {
      before: labelled(linesOf(chunks, texts.before, "fromA", "toA"), known.before, places.before.scanned),
      after: labelled(linesOf(chunks, texts.after, "fromB", "toB"), known.after, places.after.scanned),
    };
    const gone = chunks.filter((one) => one.fromB === one.toB);
    const came = chunks.filter((one) => one.fromA === one.toA);
    const wholly = {
      before: alone(linesOf(gone, texts.before, "fromA", "toA"), texts.before),
      after: alone(linesOf(came, texts.after, "fromB", "toB"), texts.after),
    };
    const collapseUnchanged = all ? undefined : { margin: 3, minSize: 6 };
    if (this.narrow.matches) {
      this.view = new EditorView({
        doc: texts.after,
        root: this.root,
        parent: this.place,
        extensions: [
          ...common("The result, with what was before"),
          inlineLabels(chunks, texts, labels),
          wholly.after,
          unifiedMergeView({ original: texts.before, mergeControls: false, collapseUnchanged, diffConfig: DIFF }),
        ],
      });
    } else {
      this.view = new MergeView({
        a: {
          doc: texts.before,
          extensions: [...common("Before"), wholly.before, labels.before.size ? whoGutter(labels.before) : []],
        },
        b: { doc: texts.after, extensions: [...common("After"), wholly.after, whoGutter(labels.after)] },
        root: this.root,
        parent: this.place,
        collapseUnchanged,
        diffConfig: DIFF,
      });
    }
  }

  clear() {
    if (this.view) this.view.destroy();
    this.view = null;
    this.place.replaceChildren();
  }
}
