// What the page holds, decoded: records (see records.py), scopes as a tree, and the edges inside each scope.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const SCOPE = 0, PART = 1, NODE = 2, REGION = 3;
const IN = -1, OUT = -2; // the ends of edges that cross the border of a scope

const SCOPES = DATA.scopes.map(([parent, label, kind, key], id) => ({ id, parent, label, kind, key }));
const BOX_OF_NODE = new Map(SCOPES.filter((s) => s.kind === NODE).map((s) => [s.parent + ":" + s.key, s.id]));
const RECORDS = DATA.records.map(([key, op, scope, ins, outs, attrs, names, cost], id) => ({
  id, key, op: DATA.ops[op][0], kind: DATA.ops[op][1], scope, ins, outs, attrs, cost,
  names: names.map((n) => DATA.names[n]),
}));

/** Children of a scope are numbers: 2 * key of a record, or 2 * scope + 1. */
const nodeChild = (key) => 2 * key;
const scopeChild = (scope) => 2 * scope + 1;
const isScopeChild = (child) => (child & 1) === 1;

function pathOf(scope) {
  const known = pathOf.known || (pathOf.known = new Map());
  if (!known.has(scope)) known.set(scope, scope < 0 ? [] : [...pathOf(SCOPES[scope].parent), scope]);
  return known.get(scope);
}

const shortOp = (op) => op.replace(/^.*::/, "").replace(/@\d+$/, "");
const typeText = (type) => DATA.types[type];
const valueName = (value) => DATA.values[value][2] || "value";
const attributesOf = (record) => DATA.attributes[record.attrs].map(([n, t]) => [DATA.names[n], DATA.names[t]]);
const weightsOf = (record) => record.ins.filter((i) => i !== null && i < 0).map((i) => DATA.weights[-1 - i]);
const nodeName = (record) =>
  record.kind === KIND.interface ? record.names[0] : record.outs.length ? valueName(record.outs[0][0]) : record.op;
const KIND = Object.fromEntries(DATA.kinds.map((name, index) => [name, index]));

/** One graph: its records in order, who makes and reads each value, and which records and scopes a scope holds. */
class Graph {
  constructor(index) {
    this.index = index;
    this.facts = DATA.graphs[index];
    this.records = [];
    for (const [first, count] of this.facts.runs) this.records.push(...RECORDS.slice(first, first + count));
    this.byKey = new Map(this.records.map((r) => [r.key, r]));
    this.children = new Map(); // of each scope, in order
    this.within = new Map(); // all records in a scope and in those inside it
    this.heads = new Map(); // of scopes that are nodes with regions: the node
    this._place();
    this._sort();
    this._link();
    this._edges = null;
  }

  _place() {
    const seen = new Set();
    const put = (scope, child) => {
      if (seen.has(child)) return;
      seen.add(child);
      if (!this.children.has(scope)) this.children.set(scope, []);
      this.children.get(scope).push(child);
    };
    const regions = new Set();
    for (const r of this.records) for (const s of pathOf(r.scope)) regions.add(s);
    for (const r of this.records) {
      const box = BOX_OF_NODE.get(r.scope + ":" + r.key);
      r.box = box !== undefined && regions.has(box) ? box : -1;
      const path = pathOf(r.box < 0 ? r.scope : r.box);
      for (let d = 1; d < path.length; d++) put(path[d - 1], scopeChild(path[d]));
      if (r.box < 0) put(r.scope, nodeChild(r.key));
      else this.heads.set(r.box, r);
      for (const s of path) {
        if (!this.within.has(s)) this.within.set(s, []);
        this.within.get(s).push(r);
      }
    }
  }

  /** Children of a scope by where the middle one of their records stands. */
  _sort() {
    const place = new Map(this.records.map((r, i) => [r, i]));
    const middle = (child) => {
      if (!isScopeChild(child)) return place.get(this.byKey.get(child / 2));
      const inside = this.within.get((child - 1) / 2);
      return place.get(inside[inside.length >> 1]);
    };
    for (const [scope, list] of this.children) {
      const at = new Map(list.map((child) => [child, middle(child)]));
      this.children.set(scope, list.sort((a, b) => at.get(a) - at.get(b)));
    }
  }

  _link() {
    this.makers = new Map();
    this.readers = new Map();
    for (const r of this.records) {
      for (const [v] of r.outs) {
        if (!this.makers.has(v)) this.makers.set(v, []);
        this.makers.get(v).push(r);
      }
      r.ins.forEach((v, slot) => {
        if (v === null || v < 0) return;
        if (!this.readers.has(v)) this.readers.set(v, []);
        this.readers.get(v).push([r, slot]);
      });
    }
    // What a node with regions returns is made by the outputs in them.
    for (const [v, list] of this.makers) if (list.length > 1) this.makers.set(v, list.filter((r) => r.box < 0));
  }

  /** The node that a value comes from, as the model has it. */
  makerOf(value) {
    return this.byKey.get(DATA.values[value][0]);
  }

  /** Edges between the children of a scope: {v, from, to}; from may be IN, to may be OUT or, at a node's box, itself. */
  edgesIn(scope) {
    if (!this._edges) this._edges = this._allEdges();
    return this._edges.get(scope) || [];
  }

  _allEdges() {
    const found = new Map(), seen = new Set();
    const add = (scope, v, from, to) => {
      const id = scope + "|" + v + "|" + from + "|" + to;
      if (seen.has(id)) return;
      seen.add(id);
      if (!found.has(scope)) found.set(scope, []);
      found.get(scope).push({ v, from, to });
    };
    const childAt = (path, depth, record) =>
      depth < path.length ? scopeChild(path[depth]) : record.box < 0 ? nodeChild(record.key) : scopeChild(record.box);
    for (const r of this.records) {
      const theirs = pathOf(r.scope);
      for (const v of r.ins) {
        if (v === null || v < 0) continue;
        for (const m of this.makers.get(v) || []) {
          const ours = pathOf(m.scope);
          let d = 0;
          while (d < ours.length && d < theirs.length && ours[d] === theirs[d]) d++;
          const from = childAt(ours, d, m), to = childAt(theirs, d, r);
          if (from !== to) add(ours[d - 1], v, from, to);
          for (let i = d; i < ours.length; i++) add(ours[i], v, childAt(ours, i + 1, m), OUT);
          for (let i = d; i < theirs.length; i++) add(theirs[i], v, IN, childAt(theirs, i + 1, r));
          if (r.box >= 0) add(r.box, v, IN, null); // ends at the border
        }
      }
    }
    return found;
  }

  /** Sums over a scope: nodes, bytes of weights, seconds, and its most frequent operators. */
  sumsOf(scope) {
    const known = this._sums || (this._sums = new Map());
    if (!known.has(scope)) {
      const ops = new Map(), weights = new Map();
      let nodes = 0, seconds = 0, flops = 0;
      for (const r of this.within.get(scope) || []) {
        if (r.kind === KIND.interface) continue;
        nodes++;
        ops.set(r.op, (ops.get(r.op) || 0) + 1);
        if (r.cost) { seconds += r.cost[0]; flops += r.cost[1]; }
        for (const w of weightsOf(r)) weights.set(w.same, w.bytes);
      }
      const bytes = [...weights.values()].reduce((sum, b) => sum + b, 0);
      const sorted = [...ops].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
      known.set(scope, { nodes, seconds, flops, bytes, ops: sorted });
    }
    return known.get(scope);
  }

  /** Seconds of all nodes, those of every branch included. */
  get seconds() {
    return this.sumsOf(0).seconds;
  }
}

const GRAPHS = new Map();
function graphAt(index) {
  if (!GRAPHS.has(index)) GRAPHS.set(index, new Graph(index));
  return GRAPHS.get(index);
}

/** What became of nodes between two graphs: key -> "removed", "added" or "changed"; what is the same is not in it. */
function compareGraphs(before, after) {
  const left = new Map(), right = new Map();
  for (const r of before.records) {
    const other = after.byKey.get(r.key);
    if (!other) left.set(r.key, "removed");
    else if (differences(r, other).length) { left.set(r.key, "changed"); right.set(r.key, "changed"); }
  }
  for (const r of after.records) if (!before.byKey.has(r.key)) right.set(r.key, "added");
  return { left, right };
}

/** Weights are the same by what they hold, whatever they are called. */
function sameOperand(a, b) {
  if (a === b) return true;
  return a !== null && b !== null && a < 0 && b < 0 && DATA.weights[-1 - a].same === DATA.weights[-1 - b].same;
}

/** In words, in what two records of one node differ. */
function differences(a, b) {
  if (a === b) return [];
  const found = [];
  if (a.op !== b.op) found.push("operator");
  if (a.attrs !== b.attrs) found.push("attributes");
  if (a.ins.length !== b.ins.length) found.push("operands");
  else a.ins.forEach((v, i) => { if (!sameOperand(v, b.ins[i])) found.push("operand " + i); });
  if (a.outs.length !== b.outs.length || a.outs.some(([, t], i) => t !== b.outs[i][1])) found.push("types");
  return found;
}
