// Drawing on a canvas: boxes, the edges between them, and what is marked. Nothing outside the window is touched.
"use strict";

let INK = {};
function readInk() {
  const style = getComputedStyle(document.documentElement);
  const get = (name) => style.getPropertyValue(name).trim();
  INK = {
    back: get("--back"), front: get("--front"), soft: get("--soft"), line: get("--line"), panel: get("--panel"),
    accent: get("--accent"), border: get("--border"), edge: get("--edge"), box: get("--box"), group: get("--group"), title: get("--title"),
    kinds: DATA.kinds.map((name) => get("--kind-" + name)),
    status: { added: get("--good"), removed: get("--bad"), changed: get("--warn") },
  };
}

const DETAIL = 0.42, LABELS = 0.75; // zoom from which on rows, and types on edges, can be read

class Drawing {
  /**
   * marks: status of keys, counts of scopes, values (read or made by the selected child, made by it), selected (a
   * child), hits (keys), total (seconds of the graph).
   */
  constructor(ctx, graph, marks) {
    this.ctx = ctx;
    this.graph = graph;
    this.marks = marks;
  }

  /** Draw a layout; `camera` maps its coordinates to pixels: {x, y, zoom}. */
  draw(layout, camera, width, height, ratio) {
    const ctx = this.ctx;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = INK.back;
    ctx.fillRect(0, 0, width, height);
    ctx.setTransform(ratio * camera.zoom, 0, 0, ratio * camera.zoom, ratio * camera.x, ratio * camera.y);
    this.zoom = camera.zoom;
    const view = { x0: -camera.x / camera.zoom, y0: -camera.y / camera.zoom };
    view.x1 = view.x0 + width / camera.zoom;
    view.y1 = view.y0 + height / camera.zoom;
    this.boxes = 0;
    this._layout(layout, 0, 0, view, 0);
  }

  _layout(layout, x, y, view, depth) {
    this._edges(layout, x, y, view);
    for (const box of layout.boxes) {
      const bx = x + box.x, by = y + box.y;
      if (bx > view.x1 || bx + box.w < view.x0 || by > view.y1 || by + box.h < view.y0) continue;
      this.boxes++;
      if (box.inner) {
        this._frame(box, bx, by, depth);
        if (Math.max(box.w, box.h) * this.zoom > 12) this._layout(box.inner, bx + box.dx, by + box.dy, view, depth + 1);
        this._borderPorts(box, bx, by);
      } else {
        this._closed(box, bx, by);
      }
    }
  }

  // Edges

  /** One path for all plain edges of a layout, made once. */
  _edges(layout, x, y, view) {
    if (!layout.path) {
      layout.path = new Path2D();
      layout.backs = new Path2D();
      for (const s of layout.segments) trace(s.back ? layout.backs : layout.path, s);
    }
    const ctx = this.ctx, marked = layout.segments.filter((s) => this.marks.values.has(s.v));
    ctx.save();
    ctx.translate(x, y);
    ctx.lineWidth = Math.min(1.2, Math.max(0.7, 0.9 / this.zoom));
    ctx.strokeStyle = INK.edge;
    ctx.globalAlpha = this.marks.values.size ? 0.45 : 1;
    ctx.stroke(layout.path);
    ctx.setLineDash([5, 4]);
    ctx.stroke(layout.backs);
    ctx.setLineDash([]);
    ctx.globalAlpha = 1;
    if (this.zoom > DETAIL) this._arrows(layout, view, x, y);
    for (const made of [false, true]) {
      const these = marked.filter((s) => this.marks.made.has(s.v) === made), path = new Path2D();
      for (const s of these) trace(path, s);
      this._highlight(made);
      ctx.stroke(path);
      for (const s of these) if (s.ends) arrow(ctx, s.x1, s.y1);
    }
    ctx.globalAlpha = 1;
    if (this.zoom > LABELS) this._types(layout, view, x, y);
    ctx.restore();
  }

  /** What the selected one makes stands out more than what it reads, which others may read as well. */
  _highlight(made) {
    const ctx = this.ctx;
    ctx.strokeStyle = ctx.fillStyle = INK.accent;
    ctx.globalAlpha = made ? 1 : 0.55;
    ctx.lineWidth = made ? Math.max(2, 1.6 / this.zoom) : Math.max(1.5, 1.1 / this.zoom);
  }

  _arrows(layout, view, x, y) {
    const ctx = this.ctx;
    ctx.fillStyle = INK.edge;
    for (const s of layout.segments)
      if (s.ends && inside(view, x + s.x1, y + s.y1, 20)) arrow(ctx, s.x1, s.y1);
  }

  /** The type of each value, once, below the box that it leaves. */
  _types(layout, view, x, y) {
    const ctx = this.ctx;
    ctx.font = "10.5px " + FONT;
    ctx.textBaseline = "top";
    const done = new Set(), taken = [];
    for (const s of layout.segments) {
      if (!s.starts || s.back || done.has(s.v) || !inside(view, x + s.x0, y + s.y0, 160)) continue;
      done.add(s.v);
      const type = shortType(typeOfValue(this.graph, s.v));
      const w = textWidth(type, ctx.font) + 6;
      if (!type || taken.some((t) => Math.abs(t.y - s.y0) < 12 && s.x0 < t.x + t.w && t.x < s.x0 + w)) continue;
      taken.push({ x: s.x0, y: s.y0, w });
      ctx.lineWidth = 3;
      ctx.strokeStyle = INK.back;
      ctx.strokeText(type, s.x0 + 5, s.y0 + 3);
      ctx.fillStyle = this.marks.values.has(s.v) ? INK.accent : INK.soft;
      ctx.fillText(type, s.x0 + 5, s.y0 + 3);
    }
  }

  // Boxes

  _frame(box, x, y, depth) {
    const ctx = this.ctx, scope = SCOPES[(box.child - 1) / 2];
    round(ctx, x, y, box.w, box.h, 8);
    ctx.fillStyle = INK.group;
    ctx.globalAlpha = 0.5;
    ctx.fill();
    ctx.globalAlpha = 1;
    ctx.lineWidth = box.child === this.marks.selected ? 2.5 : 1;
    ctx.strokeStyle = box.child === this.marks.selected ? INK.accent : INK.border;
    if (scope.kind === REGION) ctx.setLineDash([6, 3]);
    ctx.stroke();
    ctx.setLineDash([]);
    const size = Math.min(12.5 / Math.min(1, this.zoom), 30, Math.max(12.5, box.h / 6));
    if (size * this.zoom < 5) return;
    ctx.font = "600 " + size + "px " + FONT;
    ctx.textBaseline = "middle";
    ctx.fillStyle = INK.soft;
    const room = box.w - 2 * PAD;
    if (room > size) ctx.fillText("▾ " + fitted(ctx, box.title, room - size * 1.4), x + PAD, y + TITLE / 2 + 2);
  }

  /** From the border of an open scope to where its inside begins. */
  _borderPorts(box, x, y) {
    const ctx = this.ctx;
    ctx.fillStyle = ctx.strokeStyle = INK.edge;
    ctx.lineWidth = Math.min(1.2, Math.max(0.7, 0.9 / this.zoom));
    ctx.beginPath();
    for (const px of box.tops.values()) line(ctx, x + px, y, y + box.dy);
    for (const px of box.bottoms.values()) line(ctx, x + px, y + box.dy + box.inner.h, y + box.h);
    ctx.globalAlpha = this.marks.values.size ? 0.45 : 1;
    ctx.stroke();
    for (const v of this.marks.values) {
      this._highlight(this.marks.made.has(v));
      ctx.beginPath();
      if (box.tops.has(v)) line(ctx, x + box.tops.get(v), y, y + box.dy);
      if (box.bottoms.has(v)) line(ctx, x + box.bottoms.get(v), y + box.dy + box.inner.h, y + box.h);
      ctx.stroke();
    }
    ctx.globalAlpha = 1;
    ctx.fillStyle = INK.edge;
    if (this.zoom < DETAIL) return;
    for (const px of box.tops.values()) dot(ctx, x + px, y);
    for (const px of box.bottoms.values()) dot(ctx, x + px, y + box.h);
  }

  _closed(box, x, y) {
    const ctx = this.ctx, marks = this.marks, isScope = isScopeChild(box.child);
    const scope = isScope ? SCOPES[(box.child - 1) / 2] : null;
    const record = isScope ? this.graph.heads.get(scope.id) || null : this.graph.byKey.get(box.child / 2);
    const kind = record ? record.kind : -1;
    const counts = isScope ? marks.scopes.get(scope.id) : null;
    const status = record && !isScope ? marks.status.get(record.key) : counts ? mainly(counts) : undefined;
    if (Math.max(box.w, box.h) * this.zoom < 4) {
      ctx.fillStyle = status ? INK.status[status] : kind >= 0 ? INK.kinds[kind] : INK.line;
      ctx.fillRect(x, y, box.w, box.h);
      return;
    }
    const pill = kind === KIND.interface;
    round(ctx, x, y, box.w, box.h, pill ? Math.min(14, box.h / 2) : isScope ? 7 : 4);
    ctx.fillStyle = isScope || pill ? INK.group : INK.box;
    ctx.fill();
    if (status) {
      ctx.fillStyle = INK.status[status];
      ctx.globalAlpha = counts ? 0.12 : 0.2;
      ctx.fill();
      ctx.globalAlpha = 1;
    }
    if (kind >= 0 && !pill) {
      ctx.save();
      ctx.clip();
      ctx.fillStyle = INK.kinds[kind];
      ctx.fillRect(x, y, 4, box.h);
      ctx.restore();
    }
    this._heat(box, x, y, isScope ? this.graph.sumsOf(scope.id).seconds : record.cost ? record.cost[0] : 0);
    const chosen = box.child === marks.selected, hit = record && marks.hits.has(record.key);
    ctx.lineWidth = chosen ? 2.5 : status || hit ? 1.8 : 1;
    ctx.strokeStyle = chosen || hit ? INK.accent : status ? INK.status[status] : INK.border;
    round(ctx, x, y, box.w, box.h, pill ? Math.min(14, box.h / 2) : isScope ? 7 : 4);
    ctx.stroke();
    this._words(box, x, y, isScope, counts);
  }

  /** A bar along the lower edge: the share of the whole estimate. */
  _heat(box, x, y, seconds) {
    const share = this.marks.total ? seconds / this.marks.total : 0;
    if (share < 0.002) return;
    const ctx = this.ctx;
    ctx.fillStyle = INK.title;
    ctx.globalAlpha = 0.35;
    ctx.fillRect(x + 5, y + box.h - 3.5, Math.max(2, (box.w - 10) * Math.min(1, Math.sqrt(share))), 2);
    ctx.globalAlpha = 1;
  }

  _words(box, x, y, isScope, counts) {
    const ctx = this.ctx;
    if (this.zoom < 0.16) return;
    ctx.textBaseline = "middle";
    if (this.zoom < DETAIL) { // the title alone, as large as the box allows
      const size = Math.min(11 / this.zoom, box.h * 0.7, (12.5 * (box.w - 12)) / textWidth(box.title, BOLD));
      if (size * this.zoom < 5) return;
      ctx.font = "600 " + size + "px " + FONT;
      ctx.fillStyle = INK.front;
      ctx.fillText(box.title, x + 8, y + box.h / 2);
      return;
    }
    ctx.font = BOLD;
    ctx.fillStyle = INK.front;
    ctx.fillText((isScope ? "▸ " : "") + box.title, x + PAD + 1, y + HEAD / 2 + 1);
    ctx.font = SMALL;
    box.rows.forEach((row, i) => {
      const at = y + HEAD + i * ROW + ROW / 2 - 1;
      ctx.fillStyle = INK.soft;
      ctx.fillText(row.text, x + PAD + 1, at);
      if (row.more) {
        ctx.textAlign = "right";
        ctx.fillText(row.more, x + box.w - PAD, at);
        ctx.textAlign = "left";
      }
    });
    if (counts) this._badge(box, x, y, counts);
  }

  _badge(box, x, y, counts) {
    const ctx = this.ctx;
    const text = [["added", "+"], ["removed", "−"], ["changed", "Δ"]].filter(([s]) => counts[s]).map(([s, mark]) => mark + counts[s]).join(" ");
    ctx.font = "600 10.5px " + FONT;
    const w = ctx.measureText(text).width + 10;
    round(ctx, x + box.w - w - 4, y - 8, w, 16, 8);
    ctx.fillStyle = INK.status[mainly(counts)];
    ctx.fill();
    ctx.fillStyle = INK.back;
    ctx.fillText(text, x + box.w - w + 1, y);
  }
}

const mainly = (counts) => ["added", "removed", "changed"].reduce((a, b) => ((counts[b] || 0) > (counts[a] || 0) ? b : a));
const inside = (view, x, y, margin) => x > view.x0 - margin && x < view.x1 + margin && y > view.y0 - margin && y < view.y1 + margin;

function trace(path, s) {
  path.moveTo(s.x0, s.y0);
  if (s.yb > s.y0) path.lineTo(s.x0, s.yb);
  const middle = (s.yb + s.y1) / 2;
  if (Math.abs(s.x0 - s.x1) < 0.5) path.lineTo(s.x1, s.y1);
  else path.bezierCurveTo(s.x0, middle, s.x1, middle, s.x1, s.y1);
  if (s.y2 > s.y1) path.lineTo(s.x1, s.y2);
}

function arrow(ctx, x, y) {
  ctx.beginPath();
  ctx.moveTo(x, y);
  ctx.lineTo(x - 3.2, y - 6);
  ctx.lineTo(x + 3.2, y - 6);
  ctx.fill();
}

function round(ctx, x, y, w, h, r) {
  ctx.beginPath();
  ctx.roundRect(x, y, w, h, r);
}

function line(ctx, x, y0, y1) {
  ctx.moveTo(x, y0);
  ctx.lineTo(x, y1);
}

function dot(ctx, x, y) {
  ctx.beginPath();
  ctx.arc(x, y, 2.6, 0, 7);
  ctx.fill();
}

function fitted(ctx, text, room) {
  if (ctx.measureText(text).width <= room) return text;
  let kept = text;
  while (kept.length > 1 && ctx.measureText(kept + "…").width > room) kept = kept.slice(0, -1);
  return kept + "…";
}
