// From scopes to boxes: what each box says, how large it is, and the layout of a scope with the open ones inside it.
"use strict";

const FONT = "system-ui, sans-serif";
const ROW = 15, HEAD = 22, PAD = 9, INSIDE = 16, TITLE = 26;
const MOST_ROWS = 3;
const FEW_BOXES = 20, MOST_BOXES = 52; // at first: fewer say little, more than these nothing

const pencil = document.createElement("canvas").getContext("2d");
const widths = new Map();
function textWidth(text, font) {
  const id = font + text;
  if (!widths.has(id)) {
    pencil.font = font;
    widths.set(id, pencil.measureText(text).width);
  }
  return widths.get(id);
}
const BOLD = "600 12.5px " + FONT, SMALL = "11px " + FONT;

function shortened(text, most) {
  return text.length <= most ? text : text.slice(0, most - 1) + "…";
}

/** The end of a long name: names of branches begin alike. */
function endOf(text, most) {
  return text.length <= most ? text : "…" + text.slice(1 - most);
}

const UNITS = [[1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];
function scaled(number, unit) {
  if (!number) return "0 " + unit;
  const [factor, prefix] = UNITS.find(([f]) => Math.abs(number) >= f * 0.9995) || UNITS[UNITS.length - 1];
  return +(number / factor).toPrecision(3) + " " + prefix + unit;
}
const percent = (part) => (part >= 0.0995 ? Math.round(part * 100) : +(part * 100).toPrecision(2)) + " %";
const plural = (count, word) => count.toLocaleString("en") + " " + word + (count === 1 ? "" : "s");

/** A shape as people write it: 1×3×224; the element type only where it is not the usual one. */
function shortType(type) {
  const match = /^([a-z]\w*)\[(.*)\]$/.exec(type);
  if (!match) return type;
  const shape = match[2].split(/,(?![^(]*\))/).join("×");
  return match[1] + (shape ? " " + shape : "");
}

function weightRow(weight) {
  const name = /[:]|^(val|const|value)_?\d*$|Constant|_output_/.test(weight.name) ? "" : weight.name.split(/[./]/).pop();
  const said = weight.text && weight.text.length <= 16 ? "= " + weight.text : weight.dtype + " " + weight.shape.join("×");
  return { text: shortened(name, 20), more: said };
}

/** What stands in the box of a node: a title, then rows of its attributes and weights. */
function nodeRows(record) {
  const rows = [];
  const attributes = attributesOf(record).filter(([, text]) => text.length <= 24);
  if (attributes.length) rows.push({ text: shortened(attributes.map(([n, t]) => n + " " + t).join("  "), 34), more: "" });
  const weights = weightsOf(record);
  for (const weight of weights.slice(0, MOST_ROWS)) rows.push(weightRow(weight));
  if (weights.length > MOST_ROWS) rows.push({ text: "+ " + plural(weights.length - MOST_ROWS, "weight"), more: "" });
  return rows;
}

function rowsOf(graph, child) {
  if (!isScopeChild(child)) {
    const record = graph.byKey.get(child / 2);
    if (record.kind === KIND.interface) {
      const type = (record.outs[0] && typeText(record.outs[0][1])) || typeOfValue(graph, record.ins[0]);
      return { title: endOf(record.names[0], 28), rows: type ? [{ text: shortType(type), more: "" }] : [] };
    }
    return { title: shortOp(record.op), rows: nodeRows(record) };
  }
  const scope = SCOPES[(child - 1) / 2], sums = graph.sumsOf(scope.id);
  const facts = plural(sums.nodes, "node") + (sums.bytes >= 1000 ? " · " + scaled(sums.bytes, "B") : "");
  const ops = sums.ops.slice(0, 3).map(([op, count]) => shortOp(op) + (count > 1 ? " " + count : ""));
  const rows = [{ text: facts, more: "" }, { text: shortened(ops.join(", "), 44), more: "" }];
  return { title: shortOp(scope.label), rows };
}

function typeOfValue(graph, value) {
  if (value === undefined || value === null) return "";
  if (value < 0) return DATA.weights[-1 - value].dtype + "[" + DATA.weights[-1 - value].shape.join(",") + "]";
  const maker = graph.makerOf(value);
  const out = maker && maker.outs.find(([v]) => v === value);
  return out ? typeText(out[1]) : "";
}

function closedBox(graph, child) {
  const { title, rows } = rowsOf(graph, child);
  const mark = isScopeChild(child) ? 18 : 0;
  let w = textWidth(title, BOLD) + mark;
  for (const row of rows) w = Math.max(w, textWidth(row.text, SMALL) + (row.more ? textWidth(row.more, SMALL) + 12 : 0));
  return {
    child, title, rows, w: Math.ceil(Math.max(w + 2 * PAD + 4, 54)), h: HEAD + rows.length * ROW + (rows.length ? 5 : 2),
    tops: null, bottoms: null, inner: null,
  };
}

/** Lays out a graph with some scopes open; keeps what is inside a scope as long as nothing in there opens or closes. */
class Arrangement {
  constructor(graph, open) {
    this.graph = graph;
    this.open = open;
    this._known = new Map();
  }

  /** Forget a scope and those around it. */
  changed(scope) {
    for (const s of pathOf(scope)) this._known.delete(s);
  }

  get root() {
    return this.inside(0);
  }

  inside(scope) {
    if (!this._known.has(scope)) this._known.set(scope, this._made(scope));
    return this._known.get(scope);
  }

  _made(scope) {
    const children = this.graph.children.get(scope) || [];
    const boxes = children.map((child) => this._box(child));
    const place = new Map(children.map((child, i) => [child, i]));
    const at = (end) => (end === IN || end === OUT || end === null ? end : place.get(end));
    const edges = this.graph.edgesIn(scope).map(({ v, from, to }) => ({ v, from: at(from), to: at(to) }));
    const found = layered(boxes, edges);
    boxes.forEach((box, i) => {
      box.x = found.x[i];
      box.y = found.y[i];
      box.layer = found.layer[i];
    });
    return { scope, boxes, segments: found.segments, w: found.w, h: found.h, tops: found.tops, bottoms: found.bottoms };
  }

  _box(child) {
    const scope = isScopeChild(child) ? (child - 1) / 2 : -1;
    if (scope < 0 || !this.open.has(scope)) return closedBox(this.graph, child);
    const inner = this.inside(scope);
    const title = shortOp(SCOPES[scope].label);
    const w = Math.max(inner.w + 2 * INSIDE, textWidth(title, BOLD) + 60), dx = (w - inner.w) / 2;
    const moved = (ports) => new Map([...ports].map(([v, x]) => [v, x + dx]));
    const h = inner.h + TITLE + 2 * INSIDE;
    return { child, title, rows: [], w, h, tops: moved(inner.tops), bottoms: moved(inner.bottoms), inner, dx, dy: TITLE + INSIDE };
  }

  /** The box of a record, or of the closed scope that it is in, with its place: {box, x, y}. */
  find(record) {
    const path = pathOf(record.box >= 0 ? record.box : record.scope).slice(1);
    let layout = this.root, x = 0, y = 0;
    for (const scope of path) {
      const box = layout.boxes.find((b) => b.child === scopeChild(scope));
      if (!box) return null;
      if (!box.inner || scope === record.box) return { box, x: x + box.x, y: y + box.y };
      x += box.x + box.dx;
      y += box.y + box.dy;
      layout = box.inner;
    }
    const box = layout.boxes.find((b) => b.child === nodeChild(record.key));
    return box ? { box, x: x + box.x, y: y + box.y } : null;
  }

  /** The box of a scope, open or closed, as far as those around it are open. */
  findScope(scope) {
    let layout = this.root, x = 0, y = 0;
    for (const s of pathOf(scope).slice(1)) {
      const box = layout.boxes.find((b) => b.child === scopeChild(s));
      if (!box) return null;
      if (s === scope || !box.inner) return { box, x: x + box.x, y: y + box.y };
      x += box.x + box.dx;
      y += box.y + box.dy;
      layout = box.inner;
    }
    return null;
  }
}

/** Scopes to open at first: from the outside in, in their order, as long as not too many boxes are seen. */
function initiallyOpen(graph) {
  const open = new Set([0]);
  let seen = (graph.children.get(0) || []).length;
  const waiting = (graph.children.get(0) || []).filter(isScopeChild);
  while (waiting.length) {
    const scope = (waiting.shift() - 1) / 2;
    const inside = graph.children.get(scope) || [];
    const tooMany = seen < FEW_BOXES ? 3 * MOST_BOXES : MOST_BOXES;
    if (seen + inside.length - 1 > tooMany) continue;
    seen += inside.length - 1;
    open.add(scope);
    waiting.push(...inside.filter(isScopeChild));
  }
  return open;
}
