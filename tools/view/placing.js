// The second half of the layout: where boxes, trunks and ports are, and the curves between them.
"use strict";

const GAP_X = 22, GAP_TRUNK = 9, GAP_Y = 30;

/**
 * Where values meet a box: spread over its width in the order in which they come, what is on the main path in the
 * middle, so that this runs straight; given for an open scope.
 */
function placePorts(v) {
  const spread = (segments, end, fixed) => {
    const first = new Map();
    let main = null;
    for (const s of segments.slice().sort((p, q) => p[end].order - q[end].order)) {
      if (!first.has(s.v)) first.set(s.v, first.size);
      if (s.main && main === null) main = first.get(s.v);
    }
    const at = new Map();
    for (const [value, place] of first) {
      let part = (place + 1) / (first.size + 1);
      if (main !== null) part = place === main ? 0.5 : place < main ? (0.5 * (place + 1)) / (main + 1) : 0.5 + (0.5 * (place - main)) / (first.size - main);
      at.set(value, fixed && fixed.has(value) ? fixed.get(value) : v.w * part);
    }
    return at;
  };
  v.topAt = spread(v.up, "a", v.fixedTops);
  v.bottomAt = spread(v.down, "b", v.fixedBottoms);
}

function assignX(net) {
  const { layers } = net;
  for (const layer of layers) {
    let x = 0;
    layer.forEach((v, i) => {
      if (i) x += apart(layer[i - 1], v);
      v.x = x;
    });
    const middle = layer.length ? (x + layer[layer.length - 1].w) / 2 : 0;
    for (const v of layer) v.x -= middle;
  }
  const pull = (layer, up, down) => {
    for (const v of layer) {
      let sum = 0, weight = 0;
      if (up) for (const s of v.up) {
        const w = strength(s);
        sum += w * (s.a.x + s.a.bottomAt.get(s.v) - v.topAt.get(s.v));
        weight += w;
      }
      if (down) for (const s of v.down) {
        const w = strength(s);
        sum += w * (s.b.x + s.b.topAt.get(s.v) - v.bottomAt.get(s.v));
        weight += w;
      }
      v.wish = weight ? sum / weight : v.x;
      v.weight = weight || 0.01;
    }
    regress(layer);
  };
  for (let round = 0; round < 8; round++) {
    for (let l = 1; l < layers.length; l++) pull(layers[l], true, round > 5);
    for (let l = layers.length - 2; l >= 0; l--) pull(layers[l], round > 5, true);
  }
  for (const trunk of net.trunks) straighten(trunk.slice(1), layers);
}

/** Give the dummies of a trunk one place as far as their neighbours leave room, then the next ones another. */
function straighten(dummies, layers) {
  const room = (v) => {
    const layer = layers[v.layer], before = layer[v.order - 1], after = layer[v.order + 1];
    return [before ? before.x + apart(before, v) : -Infinity, after ? after.x - apart(v, after) : Infinity];
  };
  for (let first = 0; first < dummies.length; ) {
    let [low, high] = room(dummies[first]), last = first + 1;
    for (; last < dummies.length; last++) {
      const [l, h] = room(dummies[last]);
      if (Math.max(low, l) > Math.min(high, h)) break;
      low = Math.max(low, l);
      high = Math.min(high, h);
    }
    const run = dummies.slice(first, last);
    const mean = run.reduce((sum, v) => sum + v.x, 0) / run.length;
    for (const v of run) v.x = Math.min(high, Math.max(low, mean));
    first = last;
  }
}

const strength = (s) => (s.main ? 400 : s.a.dummy && s.b.dummy ? 8 : s.a.dummy || s.b.dummy ? 2 : 1);
const apart = (a, b) => a.w + (a.real && b.real ? GAP_X : a.real || b.real ? (GAP_X + GAP_TRUNK) / 2 : GAP_TRUNK);

/** Places nearest to the wishes (weighted squares) that keep order and separation. */
function regress(layer) {
  const blocks = [];
  let offset = 0;
  layer.forEach((v, i) => {
    if (i) offset += apart(layer[i - 1], v);
    v.offset = offset;
    let block = { sum: (v.wish - offset) * v.weight, weight: v.weight, first: i };
    while (blocks.length && blocks[blocks.length - 1].sum / blocks[blocks.length - 1].weight > block.sum / block.weight) {
      const before = blocks.pop();
      block = { sum: before.sum + block.sum, weight: before.weight + block.weight, first: before.first };
    }
    blocks.push(block);
  });
  blocks.forEach((block, i) => {
    const end = i + 1 < blocks.length ? blocks[i + 1].first : layer.length;
    for (let j = block.first; j < end; j++) layer[j].x = block.sum / block.weight + layer[j].offset;
  });
}

function routed(net) {
  const { layers, vertices, segments } = net;
  let left = Infinity, right = -Infinity;
  for (const v of vertices) {
    left = Math.min(left, v.x);
    right = Math.max(right, v.x + v.w);
  }
  if (!vertices.length) left = right = 0;
  const tall = layers.map((layer) => layer.reduce((most, v) => Math.max(most, v.h), 0));
  const wide = layers.map(() => 0); // how far segments go sideways below each layer
  for (const s of segments) {
    const across = Math.abs(s.a.x + s.a.bottomAt.get(s.v) - s.b.x - s.b.topAt.get(s.v));
    wide[s.a.layer] = Math.max(wide[s.a.layer], across);
  }
  const tops = [];
  let y = 0;
  layers.forEach((layer, l) => {
    const isEdge = l === 0 || l === layers.length - 1;
    if (isEdge && !layer.length) { tops.push(y); return; }
    tops.push(y);
    const gap = l === 0 || l === layers.length - 2 ? GAP_Y / 2 : GAP_Y; // less between a border and what is inside
    y += tall[l] + (l + 1 < layers.length ? gap + Math.min(70, wide[l] / 9) : 0);
  });
  const bottom = (v) => tops[v.layer] + tall[v.layer];
  const drawn = segments.map((s) => {
    const x0 = s.a.x - left + s.a.bottomAt.get(s.v), x1 = s.b.x - left + s.b.topAt.get(s.v);
    return {
      v: s.v, back: s.back, ends: s.back ? !!s.a.real : !!s.b.real, starts: !!s.a.real,
      x0, y0: s.a.real ? tops[s.a.layer] + s.a.h : bottom(s.a), yb: bottom(s.a), x1, y1: tops[s.b.layer], y2: s.b.dummy ? bottom(s.b) : tops[s.b.layer],
    };
  });
  const border = (side) => new Map([...net.ports[side]].map(([v, p]) => [v, p.x - left]));
  const real = vertices.filter((v) => v.real);
  return {
    w: right - left, h: y, x: real.map((v) => v.x - left), y: real.map((v) => tops[v.layer]),
    layer: real.map((v) => v.layer), segments: drawn, tops: border(IN), bottoms: border(OUT),
  };
}
