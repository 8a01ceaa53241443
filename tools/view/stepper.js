// The list at the left: the steps of a run with what each changed, the rules that fired, and each single rewrite.
"use strict";

class Stepper {
  /** `host` hears step(index), chooseRewrite(rewrite). */
  constructor(element, host) {
    this.element = element;
    this.host = host;
    this.current = -1;
  }

  show(index, rewrite) {
    if (index !== this.current) {
      this.current = index;
      this.element.replaceChildren(...DATA.graphs.map((graph, i) => this._step(graph, i)));
      const row = this.element.querySelector(".step.current");
      if (row) row.scrollIntoView({ block: "nearest" });
    }
    for (const row of this.element.querySelectorAll(".rewrite")) row.classList.toggle("current", !!rewrite && +row.dataset.number === rewrite.number);
    const chosen = this.element.querySelector(".rewrite.current");
    if (chosen) {
      chosen.closest("details").open = true;
      chosen.scrollIntoView({ block: "nearest" });
    }
  }

  _step(graph, i) {
    const before = i ? DATA.graphs[i - 1].nodes : graph.nodes, change = graph.nodes - before;
    const row = el("button", { class: "step" + (i === this.current ? " current" : ""), "data-step": i, onclick: () => this.host.step(i) },
      el("span", { class: "number" }, String(i).padStart(2, "0")), el("span", { class: "name" }, graph.title),
      el("span", { class: "soft" }, graph.nodes), el("span", { class: change < 0 ? "added" : change > 0 ? "changed" : "soft" }, change ? (change > 0 ? "+" : "−") + Math.abs(change) : ""));
    return i === this.current ? el("div", {}, row, this._inside(graph)) : row;
  }

  _inside(graph) {
    const groups = new Map();
    for (const w of graph.rewrites) {
      const id = w.rule + " " + w.at;
      if (!groups.has(id)) groups.set(id, []);
      groups.get(id).push(w);
    }
    const text = DATA.passes[graph.title];
    return el("div", { class: "inside" },
      text ? el("p", { class: "soft" }, text) : "",
      [...groups.values()].map((list) => el("details", groups.size < 4 && list.length < 9 ? { open: "" } : {},
        el("summary", {}, list[0].rule, " ", el("span", { class: "soft" }, "× " + list.length)),
        list.slice(0, 400).map((w) => el("button", { class: "rewrite", "data-number": w.number, onclick: () => this.host.chooseRewrite(w) },
          el("span", { class: "number" }, w.number), shortened(w.ops.map(shortOp).join(", "), 40))),
        list.length > 400 ? el("p", { class: "soft" }, "and " + (list.length - 400) + " more") : "")),
      graph.rewrites.length ? "" : el("p", { class: "soft" }, this.current ? "no single rewrites are noted" : "as it was read"));
  }
}

/** Counts of what became of the nodes in each scope: scope -> {added, removed, changed}. */
function countsByScope(graph, status) {
  const found = new Map();
  for (const [key, what] of status) {
    const record = graph.byKey.get(key);
    for (const scope of pathOf(record.scope)) {
      if (!found.has(scope)) found.set(scope, {});
      const row = found.get(scope);
      row[what] = (row[what] || 0) + 1;
    }
  }
  return found;
}
