"use strict";
// The icicle (boxes in percent of the scope that is zoomed to), the table of nodes, and what is said of one of them.
const data = JSON.parse(document.getElementById("data").textContent);
const ROW = 22, LEAST = 0.0008, SHOWN = 300;
const icicle = document.getElementById("icicle"), detail = document.getElementById("detail");
let zoomed = data.tree, chosen = null, wanted = "", order = { by: "seconds", down: true }, all = false;

(function link(at) {
  at.children && at.children.forEach(child => { child.parent = at; link(child); });
})(data.tree);

function time(seconds) {
  for (const [factor, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "us"], [1e-9, "ns"]])
    if (Math.abs(seconds) >= factor * 0.9995) return Number((seconds / factor).toPrecision(3)) + " " + unit;
  return Number(seconds.toPrecision(3)) + " s";
}
const share = seconds => (100 * seconds / (data.total || 1)).toFixed(1) + " %";
function matches(at) {
  if (!wanted) return true;
  const node = at.node === undefined ? null : data.nodes[at.node];
  const text = node ? [node.name, node.op, node.kernel, ...node.sources].join(" ") : at.name;
  return text.toLowerCase().includes(wanted) || (at.children || []).some(matches);
}

function draw() {
  icicle.textContent = "";
  let deepest = 0;
  const place = (at, left, depth) => {
    const width = at.seconds / (zoomed.seconds || 1);
    if (width < LEAST) return;
    deepest = Math.max(deepest, depth);
    const box = document.createElement("div"), node = at.node === undefined ? null : data.nodes[at.node];
    box.style.cssText = `left:${100 * left}%;width:${100 * width}%;top:${depth * ROW}px`;
    if (node) box.style.background = data.colours[node.op]; else box.className = "scope";
    if (!matches(at)) box.classList.add("dim");
    if (node && at.node === chosen) box.classList.add("chosen");
    if (width > 0.012) box.textContent = at.name;
    box.title = `${node ? node.sources[0] || node.name : at.name}\n${time(at.seconds)}, ${share(at.seconds)}` + (node ? `\n${node.op}` : "");
    box.onclick = () => node ? choose(at.node) : zoom(at);
    icicle.append(box);
    for (const child of at.children || []) {
      place(child, left, depth + 1);
      left += child.seconds / (zoomed.seconds || 1);
    }
  };
  place(zoomed, 0, 0);
  icicle.style.height = (deepest + 1) * ROW + "px";
}

function zoom(at) {
  zoomed = at === zoomed && at.parent ? at.parent : at;
  const path = document.getElementById("path");
  path.textContent = "";
  const steps = [];
  for (let step = zoomed; step; step = step.parent) steps.unshift(step);
  steps.forEach((step, place) => {
    if (place) path.append(" / ");
    const link = document.createElement("a");
    link.textContent = step.name;
    link.onclick = () => { if (step !== zoomed) zoom(step); };
    path.append(link);
  });
  path.append(`   ${time(zoomed.seconds)}, ${share(zoomed.seconds)}`);
  draw();
}

function choose(number) {
  chosen = number;
  const node = data.nodes[number];
  const estimate = node.estimate === null ? "no estimate" :
    `estimate ${time(node.estimate)}, measured is ${Number(node.ratio.toPrecision(2))} times that, bound by ${node.bound}`;
  detail.textContent = `${node.name}   ${node.op}${node.kernel ? " " + node.kernel : ""}${node.inside ? " in " + node.inside : ""}\n` +
    `${time(node.seconds)}, ${share(node.seconds)}, ${Number(node.calls.toPrecision(3))} calls a run; ${estimate}\n` +
    `from ${node.sources.length ? node.sources.join("\n     ") : "nothing in the file"}`;
  detail.classList.remove("soft");
  draw();
  list();
}

const COLUMNS = [
  ["time", "seconds", node => time(node.seconds)], ["share", "share", node => share(node.seconds)],
  ["sum", "cumulative", node => (100 * node.cumulative).toFixed(1) + " %"],
  ["calls", "calls", node => Number(node.calls.toPrecision(3))], ["operator", "op", node => node.op],
  ["estimate", "estimate", node => node.estimate === null ? "" : time(node.estimate)],
  ["ratio", "ratio", node => node.ratio === null ? "" : Number(node.ratio.toPrecision(2))],
  ["from", "name", node => (node.sources[0] || node.name) + (node.sources.length > 1 ? ` and ${node.sources.length - 1} more` : "") +
    (node.inside ? ` in ${node.inside}` : "")],
];
function list() {
  const numbers = data.nodes.map((_, number) => number).filter(number => matches({ node: number }));
  const value = number => data.nodes[number][order.by];
  numbers.sort((a, b) => {
    const x = value(a), y = value(b);
    const found = typeof x === "string" ? x.localeCompare(y) : (x === null ? -1 : x) - (y === null ? -1 : y);
    return order.down ? -found : found;
  });
  const table = document.createElement("table"), head = table.insertRow();
  for (const [title, key] of COLUMNS) {
    const cell = document.createElement("th");
    cell.textContent = title + (key === order.by ? (order.down ? " ↓" : " ↑") : "");
    if (!["op", "name"].includes(key)) cell.className = "n";
    cell.onclick = () => { order = { by: key, down: key === order.by ? !order.down : true }; list(); };
    head.append(cell);
  }
  for (const number of all ? numbers : numbers.slice(0, SHOWN)) {
    const row = table.insertRow();
    row.onclick = () => choose(number);
    if (number === chosen) row.className = "chosen";
    for (const [, key, show] of COLUMNS) {
      const cell = row.insertCell();
      if (key === "op") {
        const mark = document.createElement("i");
        mark.style.background = data.colours[data.nodes[number].op];
        cell.append(mark);
      } else if (key !== "name") cell.className = "n";
      cell.append(String(show(data.nodes[number])));
    }
  }
  const place = document.getElementById("nodes");
  place.textContent = "";
  place.append(table);
  if (!all && numbers.length > SHOWN) {
    const more = document.createElement("button");
    more.textContent = `show all ${numbers.length}`;
    more.onclick = () => { all = true; list(); };
    place.append(more);
  }
}

document.getElementById("find").oninput = event => { wanted = event.target.value.trim().toLowerCase(); draw(); list(); };
zoom(data.tree);
list();
