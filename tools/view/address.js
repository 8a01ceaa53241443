// The part of the address behind #: what is selected, so that a link leads to it.
"use strict";

function writeAddress(page) {
  const parts = [], chosen = page.selected;
  if (page.mode === "steps") parts.push("step=" + page.index, "beside=" + +page.beside);
  if (chosen && chosen.rewrite) parts.push("rewrite=" + chosen.rewrite.number);
  else if (chosen) {
    const graph = chosen.pane.graph, scope = isScopeChild(chosen.child) ? (chosen.child - 1) / 2 : null;
    const record = scope === null ? graph.byKey.get(chosen.child / 2) : graph.heads.get(scope);
    if (record) parts.push((chosen.pane === page.left ? "other=" : "node=") + encodeURIComponent(nodeName(record)));
    else parts.push("scope=" + encodeURIComponent(scopeName(scope)));
  }
  history.replaceState(null, "", "#" + parts.join("&"));
}

function readAddress() {
  const found = {};
  for (const part of location.hash.slice(1).split("&")) {
    const [name, value] = part.split("=");
    if (value === undefined) continue;
    if (name === "step" || name === "rewrite") found[name] = parseInt(value, 10) || 0;
    else if (name === "beside") found.beside = value === "1";
    else found[name] = decoded(value);
  }
  return found;
}

/** A name from an address; as it stands where somebody has typed a lone % into it. */
function decoded(text) {
  return /%(?![0-9a-fA-F]{2})/.test(text) ? text : decodeURIComponent(text);
}

/** Select what an address names; `moving`: on a page that is open already, so its step may be another one. */
function followAddress(page, wanted, moving) {
  if (moving && wanted.beside !== undefined && wanted.beside !== page.beside) page.setBeside(wanted.beside);
  if (moving && wanted.step !== undefined) page.step(wanted.step, true);
  if (wanted.rewrite) {
    const rewrite = DATA.graphs.flatMap((g) => g.rewrites || []).find((w) => w.number === wanted.rewrite);
    if (rewrite) page.chooseRewrite(rewrite);
  } else if (wanted.node || wanted.other) {
    const pane = wanted.other && page.panes.length > 1 ? page.left : page.right, name = wanted.node || wanted.other;
    const record = pane.graph.records.find((r) => nodeName(r) === name || r.names.includes(name));
    if (record) page.choose(record, pane);
  } else if (wanted.scope) {
    const scope = SCOPES.find((s) => s.id && scopeName(s.id) === wanted.scope);
    if (scope) page.chooseScope(scope.id);
  }
}
