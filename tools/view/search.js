// Finding nodes by operator, name, type, attribute or weight: every word has to be somewhere in what a node says.
"use strict";

const MOST_FOUND = 150;

function haystack(graph) {
  if (!graph.texts) {
    graph.texts = graph.records.map((r) => [
      r.op, ...r.names, ...r.outs.map(([v, t]) => valueName(v) + " " + typeText(t)),
      ...attributesOf(r).map(([n, t]) => n + "=" + t), ...weightsOf(r).map((w) => w.name + " " + w.dtype + "[" + w.shape.join(",") + "]"),
    ].join("\n").toLowerCase());
  }
  return graph.texts;
}

function findRecords(graph, query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return [];
  const texts = haystack(graph);
  const exact = [], others = [];
  graph.records.forEach((r, i) => {
    if (!words.every((word) => texts[i].includes(word))) return;
    (words.includes(shortOp(r.op).toLowerCase()) ? exact : others).push(r);
  });
  return [...exact, ...others];
}

class Search {
  /** `host` hears found(records), choose(record); graph() gives what to look in. */
  constructor(input, list, host) {
    this.input = input;
    this.list = list;
    this.host = host;
    this.place = -1;
    input.addEventListener("input", () => this._look());
    input.addEventListener("focus", () => this._look());
    input.addEventListener("keydown", (e) => this._key(e));
    input.addEventListener("blur", () => setTimeout(() => { this.list.hidden = true; }, 150));
  }

  ask(query) {
    this.input.value = query;
    this.input.focus();
    this._look();
  }

  clear() {
    this.input.value = "";
    this.input.blur();
    this.list.hidden = true;
    this.host.found([]);
  }

  _look() {
    const records = (this.records = findRecords(this.host.graph(), this.input.value));
    this.place = -1;
    this.list.replaceChildren(
      el("p", { class: "soft" }, this.input.value.trim() ? plural(records.length, "node") : "operator, name, type, attribute or weight"),
      ...records.slice(0, MOST_FOUND).map((r, i) => el("button", { class: "found", onpointerdown: (e) => { e.preventDefault(); this._choose(i); } },
        el("i", { class: "kind", style: "background:var(--kind-" + DATA.kinds[r.kind] + ")" }), el("b", {}, shortOp(r.op)), el("span", {}, tailOf(r)),
        el("span", { class: "soft" }, scopeName(r.scope)))));
    this.list.hidden = false;
    this.host.found(records);
  }

  _key(e) {
    if (e.key === "Escape") {
      this.clear();
    } else if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const count = Math.min(this.records.length, MOST_FOUND);
      if (count) this._mark((this.place + (e.key === "ArrowDown" ? 1 : count - 1 + (this.place < 0))) % count);
    } else if (e.key === "Enter" && this.records.length) {
      this._choose(Math.max(0, this.place));
    } else {
      e.stopPropagation();
      return;
    }
    e.preventDefault();
    e.stopPropagation();
  }

  _mark(place) {
    this.place = place;
    const rows = this.list.querySelectorAll(".found");
    rows.forEach((row, i) => row.classList.toggle("current", i === place));
    rows[place].scrollIntoView({ block: "nearest" });
  }

  _choose(place) {
    this.list.hidden = true;
    this.input.blur();
    this.host.choose(this.records[place]);
  }
}
