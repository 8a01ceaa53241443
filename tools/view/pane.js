// One graph in a window: camera, mouse, what lies under it, and the small map.
"use strict";

const NEAREST = 2.5, FARTHEST = 0.012, MAP_MOST = 150, MAP_LEAST = 46;

class Pane {
  /** `host` hears select(pane, child), toggle(pane, scope), moved(pane). */
  constructor(element, host) {
    this.element = element;
    this.host = host;
    this.canvas = element.querySelector("canvas.graph");
    this.map = element.querySelector("canvas.map");
    this.tip = element.querySelector(".tip");
    this.caption = element.querySelector(".caption");
    this.ctx = this.canvas.getContext("2d");
    this.camera = { x: 0, y: 0, zoom: 1 };
    this.marks = { status: new Map(), scopes: new Map(), values: new Set(), made: new Set(), selected: null, hits: new Set(), total: 0 };
    this.frames = 0;
    this._listen();
  }

  show(graph, open) {
    this.graph = graph;
    this.arrangement = new Arrangement(graph, open);
    this.marks.total = graph.seconds;
    this.drawing = new Drawing(this.ctx, graph, this.marks);
    this.changed();
  }

  /** The layout has changed. */
  changed() {
    this._mapped = null;
    this.redraw();
  }

  resize() {
    this.ratio = window.devicePixelRatio || 1;
    this.width = this.element.clientWidth;
    this.height = this.element.clientHeight;
    this.canvas.width = Math.round(this.width * this.ratio);
    this.canvas.height = Math.round(this.height * this.ratio);
    this.redraw();
  }

  redraw() {
    if (this._waiting) return;
    this._waiting = true;
    requestAnimationFrame(() => {
      this._waiting = false;
      this.paint();
    });
  }

  paint() {
    if (!this.graph || !this.width) return;
    this.frames++;
    this.drawing.draw(this.arrangement.root, this.camera, this.width, this.height, this.ratio);
    this._paintMap();
  }

  // Camera

  fit() {
    const { w, h } = this.arrangement.root;
    this.frame({ x: 0, y: 0, w, h });
  }

  /** Where a page begins: the upper end of the graph, so large that it can be read. */
  start() {
    const { w, h } = this.arrangement.root;
    const zoom = Math.min(1, Math.max(0.62, Math.min((this.width - 60) / w, (this.height - 60) / h)));
    const y = h * zoom > this.height - 60 ? 30 : (this.height - h * zoom) / 2;
    const inlet = this.graph.records.find((r) => r.kind === KIND.interface);
    const at = inlet && w * zoom > this.width - 60 ? this.arrangement.find(inlet) : null;
    const centre = at ? at.x + at.box.w / 2 : w / 2;
    this.camera = { zoom, x: this.width / 2 - centre * zoom, y };
    this.redraw();
  }

  /** Show a rectangle of the layout; of one that is too large for a zoom of `least`, the upper end. */
  frame(rect, most = 1, least = FARTHEST) {
    const fitting = Math.min(most, (this.width - 40) / Math.max(1, rect.w), (this.height - 40) / Math.max(1, rect.h));
    const zoom = Math.max(least, fitting), y = fitting < least ? 20 - rect.y * zoom : this.height / 2 - (rect.y + rect.h / 2) * zoom;
    this.moveTo({ zoom, x: this.width / 2 - (rect.x + rect.w / 2) * zoom, y });
  }

  moveTo(target) {
    const from = { ...this.camera }, begun = performance.now();
    const turn = (this._turn = (this._turn || 0) + 1);
    const step = () => {
      if (turn !== this._turn) return;
      const t = Math.min(1, (performance.now() - begun) / 160), s = t * (2 - t);
      for (const k of ["x", "y", "zoom"]) this.camera[k] = from[k] + (target[k] - from[k]) * s;
      this.paint();
      if (t < 1) requestAnimationFrame(step);
      else this.host.moved(this);
    };
    step();
  }

  pan(dx, dy) {
    this._turn = (this._turn || 0) + 1;
    this.camera.x += dx;
    this.camera.y += dy;
    this.redraw();
  }

  zoomAt(px, py, factor) {
    this._turn = (this._turn || 0) + 1;
    const zoom = Math.min(NEAREST, Math.max(FARTHEST, this.camera.zoom * factor)), real = zoom / this.camera.zoom;
    this.camera = { zoom, x: px - (px - this.camera.x) * real, y: py - (py - this.camera.y) * real };
    this.redraw();
  }

  /** Bring boxes of records into sight, as they are shown now. */
  lookAt(records) {
    const found = records.map((r) => this.arrangement.find(r)).filter(Boolean);
    if (!found.length) return;
    const x = Math.min(...found.map((f) => f.x)), y = Math.min(...found.map((f) => f.y));
    const w = Math.max(...found.map((f) => f.x + f.box.w)) - x, h = Math.max(...found.map((f) => f.y + Math.min(f.box.h, 400))) - y;
    const margin = 60;
    this.frame({ x: x - margin, y: y - margin, w: w + 2 * margin, h: h + 2 * margin }, Math.max(0.8, Math.min(1, this.camera.zoom)));
  }

  // What is where

  point(px, py) {
    return [(px - this.camera.x) / this.camera.zoom, (py - this.camera.y) / this.camera.zoom];
  }

  /** The innermost box at a pixel: {box, x, y}; null where nothing is. */
  hit(px, py) {
    let [x, y] = this.point(px, py), layout = this.arrangement.root, ox = 0, oy = 0, found = null;
    while (layout) {
      const box = layout.boxes.find((b) => x >= b.x && x <= b.x + b.w && y >= b.y && y <= b.y + b.h);
      if (!box) break;
      found = { box, x: ox + box.x, y: oy + box.y };
      if (!box.inner) break;
      ox += box.x + box.dx;
      oy += box.y + box.dy;
      x -= box.x + box.dx;
      y -= box.y + box.dy;
      layout = box.inner;
    }
    return found;
  }

  /** Pixels of the middle of a box, for tests and for the keyboard. */
  pixelOf(found) {
    const rect = this.canvas.getBoundingClientRect(), z = this.camera.zoom;
    const h = found.box.inner ? TITLE : found.box.h;
    return [rect.left + this.camera.x + (found.x + found.box.w / 2) * z, rect.top + this.camera.y + (found.y + h / 2) * z];
  }

  // Mouse

  _listen() {
    const canvas = this.canvas;
    canvas.addEventListener("wheel", (e) => {
      e.preventDefault();
      if (e.shiftKey) this.pan(-e.deltaY, 0);
      else this.zoomAt(e.offsetX, e.offsetY, Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0016)));
      this._hide();
    }, { passive: false });
    canvas.addEventListener("pointerdown", (e) => {
      canvas.setPointerCapture(e.pointerId);
      this._drag = { x: e.clientX, y: e.clientY, moved: false };
    });
    canvas.addEventListener("pointermove", (e) => {
      if (!this._drag) return this._hover(e);
      const dx = e.clientX - this._drag.x, dy = e.clientY - this._drag.y;
      if (!this._drag.moved && Math.hypot(dx, dy) < 4) return;
      this._drag = { x: e.clientX, y: e.clientY, moved: true };
      canvas.classList.add("dragging");
      this._hide();
      this.pan(dx, dy);
    });
    canvas.addEventListener("pointerup", (e) => {
      canvas.classList.remove("dragging");
      if (this._drag && !this._drag.moved) this._click(e);
      else this.host.moved(this);
      this._drag = null;
    });
    canvas.addEventListener("dblclick", (e) => {
      const found = this.hit(e.offsetX, e.offsetY);
      if (found && isScopeChild(found.box.child)) this.host.toggle(this, (found.box.child - 1) / 2);
    });
    canvas.addEventListener("pointerleave", () => this._hide());
    this.map.addEventListener("pointerdown", (e) => this._mapTo(e));
    this.map.addEventListener("pointermove", (e) => e.buttons && this._mapTo(e));
  }

  _click(e) {
    const found = this.hit(e.offsetX, e.offsetY);
    if (!found) return this.host.select(this, null);
    const [x, y] = this.point(e.offsetX, e.offsetY), child = found.box.child;
    const onMark = isScopeChild(child) && x - found.x < 26 && y - found.y < TITLE;
    if (onMark) this.host.toggle(this, (child - 1) / 2);
    else this.host.select(this, child);
  }

  _hover(e) {
    const found = this.hit(e.offsetX, e.offsetY);
    this.canvas.style.cursor = found ? "pointer" : "grab";
    if (!found) return this._hide();
    this.tip.textContent = this._words(found.box.child);
    this.tip.hidden = false;
    const left = Math.min(e.offsetX + 14, this.width - this.tip.offsetWidth - 8);
    this.tip.style.transform = "translate(" + left + "px," + (e.offsetY + 18) + "px)";
  }

  _words(child) {
    if (isScopeChild(child)) {
      const scope = (child - 1) / 2, sums = this.graph.sumsOf(scope);
      return scopeName(scope) + "\n" + plural(sums.nodes, "node") + ", " + scaled(sums.seconds, "s") + " estimated";
    }
    const record = this.graph.byKey.get(child / 2);
    const types = record.outs.map(([v, t]) => valueName(v) + ": " + typeText(t));
    return [record.op, ...record.names.slice(0, 3), ...types.slice(0, 3)].join("\n");
  }

  _hide() {
    this.tip.hidden = true;
  }

  // The small map

  /** Graphs are tall: the map is as tall as the window allows, and as wide as the graph is then. */
  _mapSize() {
    const { w, h } = this.arrangement.root;
    const most = Math.min(this.height * 0.6, 460), scale = Math.min(Math.min(MAP_MOST, this.width * 0.14) / w, most / h);
    const size = { scale, w: Math.max(MAP_LEAST, w * scale) + 8, h: Math.max(MAP_LEAST, h * scale) + 8 };
    return { ...size, left: (size.w - w * scale) / 2, top: (size.h - h * scale) / 2 };
  }

  _paintMap() {
    const { w, h } = this.arrangement.root, { x, y, zoom } = this.camera, ratio = this.ratio;
    this.map.hidden = w * zoom < this.width * 1.5 && h * zoom < this.height * 1.5;
    if (this.map.hidden) return;
    const size = this._mapSize();
    if (!this._mapped) {
      this._mapped = document.createElement("canvas");
      this.map.width = this._mapped.width = Math.round(size.w * ratio);
      this.map.height = this._mapped.height = Math.round(size.h * ratio);
      this.map.style.width = size.w + "px";
      this.map.style.height = size.h + "px";
      const ctx = this._mapped.getContext("2d");
      ctx.setTransform(ratio * size.scale, 0, 0, ratio * size.scale, ratio * size.left, ratio * size.top);
      this._mapBoxes(ctx, this.arrangement.root, size.scale);
    }
    const ctx = this.map.getContext("2d");
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.clearRect(0, 0, this.map.width, this.map.height);
    ctx.drawImage(this._mapped, 0, 0);
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.strokeStyle = INK.accent;
    ctx.lineWidth = 1.5;
    const part = size.scale / zoom;
    const left = Math.max(1, size.left - x * part), right = Math.min(size.w - 1, size.left + (this.width - x) * part);
    ctx.strokeRect(left, size.top - y * part, right - left, this.height * part);
  }

  _mapBoxes(ctx, layout, scale) {
    for (const box of layout.boxes) {
      const record = isScopeChild(box.child) ? null : this.graph.byKey.get(box.child / 2);
      const status = record && this.marks.status.get(record.key);
      ctx.fillStyle = status ? INK.status[status] : record ? INK.kinds[record.kind] : INK.line;
      ctx.globalAlpha = box.inner ? 0.35 : 1;
      ctx.fillRect(box.x, box.y, Math.max(box.w, 1 / scale), Math.max(box.h, 1 / scale));
      ctx.globalAlpha = 1;
      if (!box.inner || box.w * scale < 3) continue;
      ctx.save();
      ctx.translate(box.x + box.dx, box.y + box.dy);
      this._mapBoxes(ctx, box.inner, scale);
      ctx.restore();
    }
  }

  _mapTo(e) {
    const size = this._mapSize(), z = this.camera.zoom;
    const x = (e.offsetX - size.left) / size.scale, y = (e.offsetY - size.top) / size.scale;
    this.camera = { zoom: z, x: this.width / 2 - x * z, y: this.height / 2 - y * z };
    this.redraw();
  }
}

const scopeName = (scope) => pathOf(scope).slice(1).map((s) => shortOp(SCOPES[s].label)).join("/");
