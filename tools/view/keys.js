// Buttons and keys.
"use strict";

const byId = (id) => document.getElementById(id);

function listen(page) {
  addEventListener("resize", () => page.resized());
  addEventListener("hashchange", () => followAddress(page, readAddress(), true));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    readInk();
    for (const pane of page.panes) pane.changed();
  });
  byId("previous").onclick = () => page.step(page.index - 1);
  byId("next").onclick = () => page.step(page.index + 1);
  byId("beside").onchange = (e) => page.setBeside(e.target.checked);
  byId("jump").onclick = () => page.jump(1);
  byId("fit").onclick = () => page.panes.forEach((pane) => pane.fit());
  byId("unfold").onclick = () => page.openAll(0, true);
  byId("collapse").onclick = () => page.openAll(0, false);
  byId("help").onclick = () => byId("keys").showModal();
  addEventListener("keydown", (e) => pressed(page, e));
}

function pressed(page, e) {
  const typing = /^(INPUT|TEXTAREA)$/.test(e.target.tagName) && e.target.type !== "checkbox";
  if (typing || e.ctrlKey || e.metaKey || e.altKey || byId("keys").open) return;
  const zoom = (factor) => page.panes.forEach((pane) => pane.zoomAt(pane.width / 2, pane.height / 2, factor));
  const actions = {
    "/": () => byId("find").select(), "?": () => byId("keys").showModal(), Escape: () => page.nothing(),
    ArrowLeft: () => page.step(page.index - 1), ArrowRight: () => page.step(page.index + 1),
    ArrowUp: () => along(page, -1), ArrowDown: () => along(page, 1),
    b: () => page.setBeside(!page.beside), n: () => page.jump(1), p: () => page.jump(-1),
    "+": () => zoom(1.25), "-": () => zoom(0.8), 0: () => page.panes.forEach((pane) => pane.fit()),
    Enter: () => {
      const chosen = page.selected;
      if (chosen && isScopeChild(chosen.child)) page.toggle((chosen.child - 1) / 2, chosen.pane);
    },
  };
  if (!actions[e.key] || (e.key === "Enter" && e.target.tagName === "BUTTON")) return;
  e.preventDefault();
  actions[e.key]();
}

/** From the selected node to the first that it reads (-1), or the first that reads it. */
function along(page, by) {
  const chosen = page.selected;
  if (!chosen || chosen.child === undefined) return;
  const graph = chosen.pane.graph;
  const record = isScopeChild(chosen.child) ? graph.heads.get((chosen.child - 1) / 2) : graph.byKey.get(chosen.child / 2);
  if (!record) return;
  const makers = record.ins.filter((v) => v !== null && v >= 0).map((v) => graph.makerOf(v));
  const readers = record.outs.flatMap(([v]) => graph.readers.get(v) || []).map(([r]) => r);
  const next = (by < 0 ? makers : readers)[0];
  if (next) page.choose(next, chosen.pane);
}
