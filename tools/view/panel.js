// The panel at the right: what is known of a node, a scope, a rewrite, or the whole graph.
"use strict";

/** An element with children (texts are never read as HTML). */
function el(tag, properties, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else made.setAttribute(name, value);
  }
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== "") made.append(child);
  return made;
}

const link = (text, act, title) => el("button", { class: "link", onclick: act, title: title || text }, text);
const section = (title, ...children) => (children.flat(Infinity).filter(Boolean).length ? el("section", {}, el("h3", {}, title), children) : "");

function facts(pairs) {
  const rows = pairs.filter(([, value]) => value !== "" && value !== null && value !== undefined);
  return rows.length ? el("dl", {}, rows.map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])) : "";
}

class Panel {
  /** `host` hears choose(record), chooseScope(scope), chooseRewrite(rewrite). */
  constructor(element, host) {
    this.element = element;
    this.host = host;
  }

  _fill(...children) {
    this.element.replaceChildren(...children.flat(Infinity).filter((c) => c !== "" && c !== null));
    this.element.scrollTop = 0;
  }

  // The whole graph

  graph(graph, other) {
    const f = graph.facts, sums = graph.sumsOf(0), total = graph.seconds || 1;
    const ops = [...secondsByOp(graph)].sort((a, b) => b[1][1] - a[1][1] || b[1][0] - a[1][0]);
    const slow = graph.records.filter((r) => r.cost).sort((a, b) => b.cost[0] - a.cost[0]).slice(0, 8);
    this._fill(
      el("h2", {}, f.title),
      facts([
        ["nodes", sums.nodes.toLocaleString("en")], ["weights", scaled(f.weights, "B")],
        ...estimated(f), ["assumed", f.assumed.join(", ")],
        ["opset", f.opsets.map(([d, v]) => d + " " + v).join(", ")], ["made by", f.producer],
      ]),
      other ? this._difference(graph, other) : "",
      section("Operators", el("table", { class: "ops" },
        el("tr", {}, el("th", {}, "operator"), el("th", { class: "n" }, "nodes"), el("th", { class: "n" }, "time")),
        ops.slice(0, 16).map(([op, [count, seconds]]) => el("tr", {},
          el("td", {}, el("i", { class: "kind", style: "background:var(--kind-" + kindOfOp(op) + ")" }), link(shortOp(op), () => this.host.search(op))),
          el("td", { class: "n" }, count), el("td", { class: "n bar", style: "--part:" + (100 * seconds) / total + "%" }, seconds ? percent(seconds / total) : ""))))),
      section("Slowest by estimate", el("ol", {}, slow.map((r) =>
        el("li", {}, this._node(r), " ", el("span", { class: "soft" }, scaled(r.cost[0], "s") + ", " + percent(r.cost[0] / total)))))),
      section("Inputs", this._ends(graph, "Input")), section("Outputs", this._ends(graph, "Output")),
    );
  }

  _ends(graph, op) {
    const ends = graph.records.filter((r) => r.kind === KIND.interface && r.op === op && r.scope === 0);
    return el("ul", {}, ends.map((r) => el("li", {}, this._node(r), " ",
      el("span", { class: "type" }, r.outs.length ? typeText(r.outs[0][1]) : typeOfValue(graph, r.ins[0])))));
  }

  _difference(graph, other) {
    const counts = { added: 0, removed: 0, changed: 0 };
    const { left, right } = compareGraphs(other, graph);
    for (const s of left.values()) if (s === "removed") counts.removed++;
    for (const s of right.values()) counts[s]++;
    return facts([["differs", [["added", "only here"], ["removed", "only there"], ["changed", "changed"]].map(([k, said]) =>
      el("span", { class: k }, counts[k] + " " + said + "  "))]]);
  }

  // Nodes

  _node(record) {
    const name = record.kind === KIND.interface ? nodeName(record) : shortOp(record.op) + " " + tailOf(record);
    return link(name, () => this.host.choose(record), nodeName(record));
  }

  /** A node; `twin` is what it is in the other graph, if it differs there. */
  node(graph, record, twin, rewrites) {
    const status = twin === undefined ? "" : twin ? differences(twin, record) : null;
    const attributes = attributesOf(record), before = twin ? new Map(attributesOf(twin)) : null;
    const cost = record.cost, total = graph.seconds || 1;
    this._fill(
      el("p", { class: "path" }, pathOf(record.scope).slice(1).map((s) => [link(shortOp(SCOPES[s].label), () => this.host.chooseScope(s)), " / "])),
      el("h2", {}, el("i", { class: "kind", style: "background:var(--kind-" + DATA.kinds[record.kind] + ")" }), record.op),
      status === null ? el("p", { class: "added" }, "not in the other graph") : status && status.length ? el("p", { class: "changed" }, "differs in " + status.join(", ")) : "",
      section("Source", el("ul", { class: "names" }, record.names.map((n) => el("li", {}, n)))),
      section("Results", this._results(graph, record)),
      section("Attributes", attributes.length ? el("dl", {}, attributes.map(([n, t]) => [el("dt", {}, n), el("dd", {}, el("code", {}, t),
        before && before.get(n) !== t ? el("span", { class: "changed" }, " was " + (before.get(n) || "not set")) : "")])) : ""),
      section("Operands", el("ol", { start: 0 }, record.ins.map((i) => this._operand(graph, i)))),
      cost ? section("Estimate on " + DATA.target, facts([
        ["time", scaled(cost[0], "s") + ", " + percent(cost[0] / total) + " of all"], ["bound by", cost[3]],
        ["work", scaled(cost[1], "OP")], ["moved", scaled(cost[2], "B")]])) : "",
      rewrites.length ? section("Rewritten by", el("ul", {}, rewrites.map((w) => el("li", {}, link(w.rule, () => this.host.chooseRewrite(w)), " ", el("span", { class: "soft" }, "no. " + w.number))))) : "",
    );
  }

  _results(graph, record) {
    return el("ul", {}, record.outs.map(([v, t]) => {
      const readers = (graph.readers.get(v) || []).filter(([r]) => r.kind !== KIND.interface || r.scope === 0);
      return el("li", {}, el("code", {}, "%" + valueName(v)), " ", el("span", { class: "type" }, typeText(t)),
        readers.length ? el("div", { class: "to" }, "→ ", readers.slice(0, 12).map(([r]) => [this._node(r), " "]), readers.length > 12 ? "and " + (readers.length - 12) + " more" : "") : "");
    }));
  }

  _operand(graph, i) {
    if (i === null) return el("li", { class: "soft" }, "left out");
    if (i < 0) return el("li", {}, this._weight(DATA.weights[-1 - i]));
    const maker = graph.makerOf(i);
    return el("li", {}, maker ? this._node(maker) : valueName(i), " ", el("span", { class: "type" }, typeOfValue(graph, i)));
  }

  _weight(w) {
    const said = el("div", { class: "weight" }, el("code", {}, w.name || "constant"), " ",
      el("span", { class: "type" }, w.dtype + "[" + w.shape.join(",") + "]"), " ", el("span", { class: "soft" }, scaled(w.bytes, "B")));
    if (w.text !== undefined) said.append(el("div", {}, el("code", {}, w.text)));
    const s = w.stats;
    if (s && s.min !== undefined) {
      said.append(el("div", { class: "stats" }, [["min", s.min], ["max", s.max], ["mean", s.mean], ["σ", s.std], ["zeros", percent(s.zeros)]]
        .map(([n, v]) => el("span", {}, el("b", {}, n), " ", typeof v === "number" ? +v.toPrecision(4) : v))));
      if (s.bins) said.append(histogram(s));
    }
    if (s && s.of) said.append(el("div", { class: "soft" }, "of " + s.of.toLocaleString("en") + " elements, drawn evenly"));
    if (s && s.not_finite) said.append(el("div", { class: "removed" }, s.not_finite.toLocaleString("en") + " not finite"));
    return said;
  }

  // Scopes

  scope(graph, scope, isOpen) {
    const sums = graph.sumsOf(scope), total = graph.seconds || 1;
    this._fill(
      el("p", { class: "path" }, pathOf(scope).slice(1, -1).map((s) => [link(shortOp(SCOPES[s].label), () => this.host.chooseScope(s)), " / "])),
      el("h2", {}, shortOp(SCOPES[scope].label)),
      el("p", {}, el("button", { onclick: () => this.host.toggleScope(scope) }, isOpen ? "Close" : "Open"), " ",
        el("button", { onclick: () => this.host.openAll(scope, !isOpen) }, isOpen ? "Close all inside" : "Open all inside")),
      facts([["nodes", sums.nodes.toLocaleString("en")], ["weights", scaled(sums.bytes, "B")],
        ["estimate", scaled(sums.seconds, "s") + ", " + percent(sums.seconds / total) + " of all"], ["work", scaled(sums.flops, "OP")]]),
      section("Operators", el("ul", { class: "plain" }, sums.ops.map(([op, count]) => el("li", {}, shortOp(op), " ", el("span", { class: "soft" }, count))))),
    );
  }

  // Rewrites

  rewrite(rewrite, before, after) {
    const rule = DATA.rules[rewrite.at].place ? DATA.rules[rewrite.at] : null; // null: the pass itself
    this._fill(
      el("p", { class: "path" }, "rewrite " + rewrite.number),
      el("h2", { id: "rule-name" }, rewrite.rule),
      el("p", { class: "soft", id: "rule-place" }, rule ? rule.place : "made by the pass itself"),
      rule && rule.text ? el("pre", { id: "rule-text" }, rule.text) : "",
      rule && !rule.text ? el("p", { class: "soft" }, "the file of the rule is not here any more") : "",
      section("Took", before.length ? el("ul", {}, before.map((r) => el("li", {}, this._node(r)))) : el("p", { class: "soft" }, rewrite.ops.map(shortOp).join(", ") + ", made within the pass")),
      section("Gave", rewrite.statements.length ? el("pre", { class: "wrap" }, rewrite.statements.map((t) => DATA.names[t]).join("\n\n")) : el("p", { class: "soft" }, "no new node")),
      section("As it is after the pass", after.length ? el("ul", {}, after.map((r) => el("li", {}, this._node(r)))) : ""),
    );
  }
}

/** The end of a long name, which tells nodes apart. */
function tailOf(record) {
  const name = record.names[0] && record.names[0].includes("/") ? record.names[0] : nodeName(record);
  if (name.length <= 34) return name;
  const parts = name.split("/");
  let tail = parts.pop();
  while (parts.length && tail.length + parts[parts.length - 1].length < 32) tail = parts.pop() + "/" + tail;
  return "…" + (tail.length > 34 ? tail.slice(-34) : "/" + tail);
}

/** Rows about the estimate of a whole graph: seconds, operations, bytes at the peak, nodes that are in no sum. */
function estimated(facts) {
  if (!facts.sums) return [["estimate", "none: " + facts.no_estimate]];
  const [seconds, flops, peak, unknown] = facts.sums;
  return [
    ["estimate", scaled(seconds, "s") + " on " + DATA.target], ["work", scaled(flops, "OP")], ["memory", scaled(peak, "B") + " at the peak"],
    ["unknown", unknown ? plural(unknown, "node") + " in no sum" : ""],
  ];
}

function secondsByOp(graph) {
  const found = new Map();
  for (const r of graph.records) {
    if (r.kind === KIND.interface) continue;
    const row = found.get(r.op) || [0, 0];
    found.set(r.op, [row[0] + 1, row[1] + (r.cost ? r.cost[0] : 0)]);
  }
  return found;
}

function kindOfOp(op) {
  const row = DATA.ops.find(([name]) => name === op);
  return DATA.kinds[row ? row[1] : KIND.other];
}

const SVG = "http://www.w3.org/2000/svg";
/** Counts of equal bins as bars. */
function histogram(stats) {
  const svg = document.createElementNS(SVG, "svg"), most = Math.max(...stats.bins), n = stats.bins.length;
  svg.setAttribute("viewBox", "0 0 " + n * 6 + " 46");
  svg.setAttribute("class", "histogram");
  stats.bins.forEach((count, i) => {
    const h = count ? Math.max(1, (count / most) * 44) : 0, rect = document.createElementNS(SVG, "rect");
    for (const [name, value] of [["x", i * 6], ["y", 46 - h], ["width", 5], ["height", h]]) rect.setAttribute(name, value);
    svg.append(rect);
  });
  return svg;
}
