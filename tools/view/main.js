// What is shown, what is selected, and what clicks and keys do about it.
"use strict";

class Page {
  constructor() {
    this.mode = DATA.mode; // one, pair or steps
    this.index = DATA.graphs.length - 1; // the graph at the right
    this.beside = this.mode !== "one";
    this.selected = null; // {pane, child} or {rewrite}
    this.hits = new Set();
    const host = {
      select: (pane, child) => this.select(pane, child),
      toggle: (pane, scope) => this.toggle(scope, pane),
      moved: () => {},
    };
    this.right = new Pane(byId("right"), host);
    this.left = new Pane(byId("left"), host);
    this.panel = new Panel(byId("panel"), {
      choose: (record) => this.choose(record),
      chooseScope: (scope) => this.chooseScope(scope),
      chooseRewrite: (rewrite) => this.chooseRewrite(rewrite),
      toggleScope: (scope) => this.toggle(scope),
      openAll: (scope, open) => this.openAll(scope, open),
      search: (op) => this.search.ask(shortOp(op)),
    });
    this.search = new Search(byId("find"), byId("results"), {
      graph: () => this.right.graph,
      found: (records) => this.found(records),
      choose: (record) => this.choose(record, this.right),
    });
    this.stepper = new Stepper(byId("steps"), { step: (i) => this.step(i), chooseRewrite: (w) => this.chooseRewrite(w) });
  }

  begin() {
    readInk();
    byId("steps").hidden = byId("walk").hidden = this.mode !== "steps";
    byId("differences").hidden = this.mode !== "pair";
    byId("legend").append(...DATA.kinds.filter((k) => k !== "interface").map((k) => el("span", {}, el("i", { class: "kind", style: "background:var(--kind-" + k + ")" }), k)));
    const wanted = readAddress();
    if (this.mode === "steps") this.index = Math.min(wanted.step ?? firstOfInterest(), DATA.graphs.length - 1);
    if (wanted.beside !== undefined) this.beside = wanted.beside && this.mode !== "one";
    this.open = initiallyOpen(graphAt(this.index));
    this._load();
    listen(this);
    for (const pane of this.panes) pane.start();
    if (this.mode === "steps" && this.index > 0) this._lookAtChanges();
    followAddress(this, wanted);
    document.documentElement.dataset.ready = "yes";
  }

  get panes() {
    return this.left.element.hidden ? [this.right] : [this.left, this.right];
  }

  /** Show the graphs that are wanted now. */
  _load() {
    const graph = graphAt(this.index), two = this.beside && this.index > 0;
    this.left.element.hidden = !two;
    this.right.show(graph, this.open);
    this.compared = this.index > 0 ? compareGraphs(graphAt(this.index - 1), graph) : { left: new Map(), right: new Map() };
    this.right.marks.status = this.compared.right;
    this.right.marks.scopes = countsByScope(graph, this.compared.right);
    if (two) {
      const other = graphAt(this.index - 1);
      this.left.show(other, this.open);
      this.left.marks.status = this.compared.left;
      this.left.marks.scopes = countsByScope(other, this.compared.left);
    }
    const name = (i) => (this.mode === "steps" ? String(i).padStart(2, "0") + " " : "") + DATA.graphs[i].title;
    this.left.caption.textContent = two ? name(this.index - 1) : "";
    this.right.caption.textContent = two ? name(this.index) : "";
    byId("beside").checked = this.beside;
    byId("where").textContent = name(this.index);
    byId("facts").textContent = plural(graph.facts.nodes, "node") + " · " + scaled(graph.facts.weights, "B") +
      (graph.facts.sums ? " · " + scaled(graph.facts.sums[0], "s") + " estimated on " + DATA.target : "");
    if (this.mode === "steps") this.stepper.show(this.index, this.selected && this.selected.rewrite);
    this.resized();
    this._marked();
  }

  resized() {
    for (const pane of this.panes) pane.resize();
  }

  // Selecting

  select(pane, child, quiet) {
    this.selected = child === null ? null : { pane, child };
    this._marked();
    if (!quiet) writeAddress(this);
  }

  /** Nothing selected, nothing found. */
  nothing() {
    this.hits = new Set();
    this.select(this.right, null);
  }

  /** Marks and the panel, after the selection or the graphs have changed. */
  _marked() {
    const chosen = this.selected;
    for (const pane of this.panes) {
      const marks = pane.marks;
      marks.selected = null;
      marks.values = new Set();
      marks.made = new Set();
      marks.hits = this.hits;
      if (chosen && chosen.child !== undefined) this._markOne(pane, chosen.child);
      pane.changed();
    }
    this._tell();
  }

  _markOne(pane, child) {
    const { graph, marks } = pane;
    if (!isScopeChild(child)) {
      const record = graph.byKey.get(child / 2);
      if (!record) return;
      marks.selected = child;
      marks.made = new Set(record.outs.map(([v]) => v));
      marks.values = new Set([...record.ins.filter((v) => v !== null && v >= 0), ...marks.made]);
    } else {
      const scope = (child - 1) / 2;
      if (!graph.within.has(scope)) return;
      marks.selected = child;
      for (const { v, from, to } of graph.edgesIn(SCOPES[scope].parent)) {
        if (from === child) marks.made.add(v);
        if (from === child || to === child) marks.values.add(v);
      }
    }
  }

  _tell() {
    const chosen = this.selected;
    if (this.mode === "steps") this.stepper.show(this.index, chosen && chosen.rewrite);
    if (!chosen) {
      const other = this.index > 0 ? graphAt(this.index - 1) : null;
      return this.panel.graph(this.right.graph, other);
    }
    if (chosen.rewrite) {
      const w = chosen.rewrite, of = (graph, keys) => keys.map((k) => graph.byKey.get(k)).filter(Boolean);
      return this.panel.rewrite(w, of(graphAt(this.index - 1), w.before), of(this.right.graph, w.after));
    }
    const graph = chosen.pane.graph;
    if (isScopeChild(chosen.child)) {
      const scope = (chosen.child - 1) / 2, head = graph.heads.get(scope);
      if (!head) return this.panel.scope(graph, scope, this.open.has(scope));
      return this._tellNode(graph, head);
    }
    this._tellNode(graph, graph.byKey.get(chosen.child / 2));
  }

  _tellNode(graph, record) {
    const other = this.index === 0 ? null : graph.index === this.index ? graphAt(this.index - 1) : graphAt(this.index);
    const twin = other ? other.byKey.get(record.key) || null : undefined;
    const rewrites = [];
    for (const g of DATA.graphs) for (const w of g.rewrites || []) if (w.after.includes(record.key) || w.before.includes(record.key)) rewrites.push({ ...w, graph: DATA.graphs.indexOf(g) });
    this.panel.node(graph, record, twin, rewrites.slice(0, 40));
  }

  /** Select a record wherever it is shown, and bring it into sight. */
  choose(record, pane) {
    pane = pane || (this.right.graph.byKey.get(record.key) === record || this.panes.length < 2 ? this.right : this.left);
    if (!pane.graph.byKey.has(record.key)) return;
    const own = pane.graph.byKey.get(record.key);
    this._reveal(pathOf(own.scope));
    this.select(pane, own.box >= 0 ? scopeChild(own.box) : nodeChild(own.key));
    for (const each of this.panes) {
      const there = each.graph.byKey.get(record.key) || nearest(own, pane.graph, each.graph);
      if (there) each.lookAt([there]);
    }
  }

  chooseScope(scope) {
    const pane = this.right.graph.within.has(scope) ? this.right : this.left;
    this._reveal(pathOf(SCOPES[scope].parent));
    this.select(pane, scopeChild(scope));
    for (const each of this.panes) {
      const found = each.arrangement.findScope(scope);
      if (found) each.frame({ x: found.x - 40, y: found.y - 40, w: found.box.w + 80, h: found.box.h + 80 }, 1, 0.45);
    }
  }

  chooseRewrite(rewrite) {
    const index = DATA.graphs.findIndex((g) => (g.rewrites || []).some((w) => w.number === rewrite.number));
    if (index !== this.index) this.step(index, true);
    if (!this.beside) this.setBeside(true);
    this.selected = { rewrite };
    this.hits = new Set([...rewrite.before, ...rewrite.after]);
    const sides = [[this.left, rewrite.before], [this.right, rewrite.after.length ? rewrite.after : rewrite.before]];
    const records = sides.map(([pane, keys]) => keys.map((k) => pane.graph.byKey.get(k)).filter(Boolean));
    for (const r of records.flat()) this._reveal(pathOf(r.scope));
    this._marked();
    sides.forEach(([pane], i) => pane.lookAt(records[i]));
    writeAddress(this);
  }

  found(records) {
    this.hits = new Set(records.length > 2000 ? [] : records.map((r) => r.key));
    this._marked();
  }

  // Scopes

  _reveal(path) {
    for (const scope of path) if (!this.open.has(scope)) this._setOpen(scope, true);
  }

  _setOpen(scope, open) {
    if (open) this.open.add(scope);
    else this.open.delete(scope);
    for (const pane of this.panes) pane.arrangement.changed(scope);
  }

  /** Open or close a scope; its corner stays where it is. */
  toggle(scope, where) {
    const before = new Map(this.panes.map((pane) => [pane, pane.arrangement.findScope(scope)]));
    this._setOpen(scope, !this.open.has(scope));
    for (const pane of this.panes) {
      const was = before.get(pane), now = pane.arrangement.findScope(scope);
      if (!was || !now) continue;
      pane.camera.x += (was.x + was.box.w / 2 - now.x - now.box.w / 2) * pane.camera.zoom;
      pane.camera.y += (was.y - now.y) * pane.camera.zoom;
    }
    this.select(where || this.right, scopeChild(scope));
  }

  openAll(scope, open) {
    for (const s of SCOPES) {
      const path = pathOf(s.id);
      if (path.includes(scope) && s.id !== 0) {
        if (open) this.open.add(s.id);
        else this.open.delete(s.id);
      }
    }
    this._rearranged();
    if (scope === 0) for (const pane of this.panes) pane.start();
    else this.chooseScope(scope);
  }

  _rearranged() {
    for (const pane of this.panes) {
      pane.arrangement = new Arrangement(pane.graph, this.open);
      pane.changed();
    }
    this._marked();
  }

  // Steps and differences

  step(index, quiet) {
    if (index < 0 || index >= DATA.graphs.length || this.mode !== "steps" || index === this.index) return;
    const chosen = this.selected;
    this.index = index;
    this.selected = null;
    this.hits = new Set();
    this._load();
    if (quiet) return;
    const key = chosen && chosen.child !== undefined && !isScopeChild(chosen.child) ? chosen.child / 2 : null;
    const kept = key === null ? null : this.right.graph.byKey.get(key);
    if (kept) this.choose(kept);
    else this._lookAtChanges();
    writeAddress(this);
  }

  /** Bring what differs into sight, open scopes or not. */
  _lookAtChanges() {
    for (const pane of this.panes) {
      const records = [...pane.marks.status.keys()].map((key) => pane.graph.byKey.get(key));
      if (records.length) pane.lookAt(records);
    }
  }

  setBeside(on) {
    this.beside = on && this.mode !== "one";
    this._load();
    for (const pane of this.panes) if (pane.camera.zoom === 1 && !pane.camera.x) pane.start();
    writeAddress(this);
  }

  /** Go to the next node that differs, or the one before. */
  jump(by) {
    const graph = this.right.graph, other = this.panes.length > 1 ? this.left.graph : null;
    const list = graph.records.filter((r) => this.compared.right.has(r.key)).map((r) => [this.right, r]);
    if (other) list.push(...other.records.filter((r) => this.compared.left.get(r.key) === "removed").map((r) => [this.left, r]));
    if (!list.length) return;
    this.jumped = this.jumped === undefined ? (by > 0 ? 0 : list.length - 1) : (this.jumped + by + list.length) % list.length;
    const [pane, record] = list[this.jumped % list.length];
    this.choose(record, pane);
    byId("difference").textContent = (this.jumped % list.length) + 1 + " of " + list.length;
  }
}

/** The node of another graph that is nearest to one that is not in it: along edges, what they both have. */
function nearest(record, graph, other) {
  const seen = new Set([record.key]), work = [record];
  for (const r of work) {
    if (other.byKey.has(r.key) && r.kind !== KIND.interface) return other.byKey.get(r.key);
    const beside = [...r.ins.filter((v) => v !== null && v >= 0).map((v) => graph.makerOf(v)), ...r.outs.flatMap(([v]) => (graph.readers.get(v) || []).map(([to]) => to))];
    for (const next of beside) {
      if (!next || seen.has(next.key)) continue;
      seen.add(next.key);
      work.push(next);
    }
  }
  return null;
}

/** The first step that a rule made; the last one where none did. */
function firstOfInterest() {
  const at = DATA.graphs.findIndex((g) => (g.rewrites || []).some((w) => DATA.rules[w.at].place));
  return at < 0 ? DATA.graphs.length - 1 : at;
}

const PAGE = new Page();
PAGE.begin();
