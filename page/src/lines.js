// SPDX-License-Identifier: GPL-2.0-or-later
// Which line of a document a change is on. DOMParser finds elements by XPath but knows no
// lines; the scanner knows the lines of all tags in the same order, the document's.

/**
 * The elements of a well-formed document in document order, with their lines, from 1.
 *
 * @param {string} text
 * @returns {{name: string, from: number, to: number, first: number, opened: number, last: number,
 *   attributes: Map<string, number>}[]} offsets `from` and `to`; lines of `<`, of the start
 *   tag's `>` and of the end tag; the line of each attribute's name
 */
export function scan(text) {
  const breaks = [];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) breaks.push(at);
  const lineAt = (offset) => {
    let low = 0;
    let high = breaks.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (breaks[middle] < offset) low = middle + 1;
      else high = middle;
    }
    return low + 1;
  };
  const after = (mark, at) => {
    const found = text.indexOf(mark, at);
    return found < 0 ? text.length : found + mark.length;
  };
  const found = [];
  const open = [];
  const attribute = /\s+([^\s=/>]+)\s*=\s*(?:"[^"]*"|'[^']*')/y;
  for (let at = text.indexOf("<"); at >= 0; at = text.indexOf("<", at)) {
    if (text.startsWith("<!--", at)) at = after("-->", at + 4);
    else if (text.startsWith("<![CDATA[", at)) at = after("]]>", at);
    else if (text.startsWith("<?", at)) at = after("?>", at);
    else if (text.startsWith("<!", at)) at = after(">", at);
    else if (text.startsWith("</", at)) {
      at = after(">", at);
      const closed = open.pop();
      if (closed) Object.assign(closed, { to: at, last: lineAt(at - 1) });
    } else {
      const name = /[^\s/>]*/y;
      name.lastIndex = at + 1;
      const attributes = new Map();
      const one = { name: name.exec(text)[0], from: at, to: at, first: lineAt(at), attributes };
      attribute.lastIndex = name.lastIndex;
      let end = name.lastIndex;
      for (let match; (match = attribute.exec(text)); end = attribute.lastIndex) {
        attributes.set(match[1], lineAt(match.index + match[0].indexOf(match[1])));
      }
      at = after(">", end);
      one.opened = one.last = lineAt(at - 1);
      one.to = at;
      found.push(one);
      if (text[at - 2] !== "/") open.push(one);
    }
  }
  return found;
}

// The page's policy lets no text become markup but here, where it becomes XML that is only asked.
const read = globalThis.trustedTypes?.createPolicy("documents", { createHTML: (text) => text });

/** A document that paths can be looked up in. */
export class Places {
  /** @param {string} text well-formed */
  constructor(text) {
    this.scanned = scan(text);
    this.document = new DOMParser().parseFromString(read ? read.createHTML(text) : text, "application/xml");
    const all = this.document.getElementsByTagName("*");
    this.number = new Map(Array.from(all, (one, at) => [one, at]));
    this.prefixes = new Map();
    for (const one of all) {
      for (const { name, value } of one.attributes) {
        if (name.startsWith("xmlns:")) this.prefixes.set(name.slice(6), value);
      }
    }
  }

  /**
   * Where a path leads, or null.
   *
   * @param {string} path an absolute XPath of an element or attribute
   * @returns {{element: Object, attribute: string|null}|null} `element` as `scan` has it
   */
  at(path) {
    let node;
    try {
      const named = (prefix) => this.prefixes.get(prefix) ?? null;
      node = this.document.evaluate(path, this.document, named, XPathResult.FIRST_ORDERED_NODE_TYPE)
        .singleNodeValue;
    } catch {
      return null; // a prefix that this document does not have
    }
    const owner = node && (node.nodeType === Node.ATTRIBUTE_NODE ? node.ownerElement : node);
    const element = this.scanned[this.number.get(owner)];
    return element ? { element, attribute: owner === node ? null : node.name } : null;
  }
}

/**
 * The changes on each line of the two documents.
 *
 * @param {Object[]} changes of a result
 * @param {Places} before the input
 * @param {Places} after the output
 * @returns {{before: Map<number, Object[]>, after: Map<number, Object[]>}} line -> changes
 */
export function changesByLine(changes, before, after) {
  const found = { before: new Map(), after: new Map() };
  const put = (side, line, change) => {
    const there = side.get(line);
    if (!there) side.set(line, [change]);
    else if (!there.includes(change)) there.push(change);
  };
  const putAt = (side, place, change) => {
    if (!place) return;
    const { element, attribute } = place;
    if (attribute !== null) return put(side, element.attributes.get(attribute) ?? element.first, change);
    const last = change.before === null && change.after === null ? element.first : element.last;
    for (let line = element.first; line <= last; line++) put(side, line, change);
  };
  for (const change of changes) {
    if (change.op !== "add") putAt(found.before, before.at(change.path), change);
    if (change.op !== "remove") putAt(found.after, after.at(change.path), change);
    else {
      const owner = change.path.lastIndexOf("/@"); // the element may stay without it
      if (owner > change.path.lastIndexOf("]")) putAt(found.after, after.at(change.path.slice(0, owner)), change);
    }
  }
  return found;
}

/**
 * Labels for lines that differ and that no change is on, as end tags are: what is inside.
 *
 * @param {number[]} lines that differ
 * @param {Map<number, Object[]>} known line -> changes
 * @param {Object[]} scanned elements
 * @returns {Map<number, Object[]>} `known` with those lines
 */
export function filled(lines, known, scanned) {
  const all = new Map(known);
  for (const line of lines) {
    if (all.has(line)) continue;
    const here = scanned.filter((one) => one.last === line || (one.first <= line && line <= one.opened));
    const inside = here.flatMap((one) => {
      const within = [];
      for (let at = one.first; at <= one.last; at++) within.push(...(known.get(at) ?? []));
      return within;
    });
    if (inside.length) all.set(line, [...new Set(inside)]);
  }
  return all;
}

/**
 * The lines of a document that are bookkeeping: no change is about them.
 *
 * @param {Object[]} scanned elements
 * @returns {Map<number, string>} line -> "list" or "record"
 */
export function bookkeeping(scanned) {
  const found = new Map();
  const metadata = scanned.find((one) => one.name === "metadata");
  if (!metadata) return found;
  for (const line of [metadata.first, metadata.last]) found.set(line, "list");
  for (const one of scanned) {
    const word = { virtuned: "list", record: "record" }[one.name.split(":").pop()];
    if (!word || one.from < metadata.from || one.to > metadata.to) continue;
    for (let line = one.first; line <= one.last; line++) found.set(line, word);
  }
  return found;
}

/**
 * A document without the record of what profiles did, which no reader wants line by line.
 *
 * @param {string} text
 * @returns {string}
 */
export function withoutRecord(text) {
  const record = scan(text).find((one) => /^([\w.-]+:)?record$/.test(one.name) && isRecord(text, one));
  if (!record) return text;
  const start = text.lastIndexOf("\n", record.from);
  const alone = start >= 0 && text.slice(start, record.from).trim() === "";
  return text.slice(0, alone ? start : record.from) + text.slice(record.to);
}

function isRecord(text, one) {
  return text.slice(one.from, text.indexOf(">", one.from)).includes("/virtuned/record/");
}

/**
 * Differences moved to where a reader sees them. Of a text in which the same character stands before
 * what was put in and at its end, each place is as right as the other: of ` cache='none'` put in
 * after `type='raw'`, the quote before it is as good as its own. So each is moved to begin with
 * white space or a tag, where it can, and one of whole lines with a line.
 *
 * @param {{fromA: number, toA: number, fromB: number, toB: number}[]} changes in order
 * @param {string} before
 * @param {string} after
 * @returns {Object[]} the same, as objects of the same kind
 */
export function slid(changes, before, after) {
  let end = { a: 0, b: 0 };
  return changes.map((change, at) => {
    const next = changes[at + 1] ?? { fromA: before.length, fromB: after.length };
    const room = Math.min(change.fromA - end.a, change.fromB - end.b);
    const more = Math.min(next.fromA - change.toA, next.fromB - change.toB);
    const by = shift(change, before, after, room, more);
    const { fromA, toA, fromB, toB } = change;
    const moved = by ? new change.constructor(fromA + by, toA + by, fromB + by, toB + by) : change;
    end = { a: moved.toA, b: moved.toB };
    return moved;
  });
}

/** By how much: negative towards the start. */
function shift(change, before, after, room, more) {
  const { fromA, toA, fromB, toB } = change;
  if (fromA !== toA && fromB !== toB) return 0; // nothing is the same on both sides of a replacement
  const [text, from, to] = fromA === toA ? [after, fromB, toB] : [before, fromA, toA];
  const lines = text.slice(from, to).includes("\n");
  const good = lines
    ? (start) => start === 0 || text[start - 1] === "\n"
    : (start) => text[start] === "<" || (/\s/.test(text[start] ?? "") && !/\s/.test(text[start - 1] ?? "x"));
  if (good(from)) return 0;
  for (let by = 1; by <= room && text[from - by] === text[to - by]; by++) if (good(from - by)) return -by;
  for (let by = 1; by <= more && text[from + by - 1] === text[to + by - 1]; by++) if (good(from + by)) return by;
  return 0;
}
