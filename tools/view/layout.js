// A layered layout after Sugiyama, Tagawa and Toda (1981) of boxes and the values between them, top to bottom.
//
// 1 break cycles   2 longest-path layers, then down where that shortens   3 one trunk of dummies a value, shared by all
// that read it   4 order by barycentres, keeping the fewest crossings   5 places: each layer in turn as near to its
// neighbours as separations allow, which is an isotonic regression (pool adjacent violators)   6 curves in the gaps.
"use strict";

const GAP_X = 22, GAP_TRUNK = 9, GAP_Y = 30;

/**
 * boxes, in the order of the program: [{w, h, tops: Map(value -> offset) or null, bottoms: the same}]; edges: [{v, from, to}], places of boxes,
 * IN or OUT. Returns {w, h, x, y, segments, tops, bottoms}: tops and bottoms are where values cross the border.
 */
function layered(boxes, edges) {
  const net = network(boxes, edges);
  assignLayers(net);
  addTrunks(net);
  orderLayers(net);
  assignX(net);
  return routed(net);
}

function network(boxes, edges) {
  const vertices = boxes.map((b, id) => ({ id, w: b.w, h: b.h, fixedTops: b.tops, fixedBottoms: b.bottoms, layer: 0, real: true }));
  const ports = { [IN]: new Map(), [OUT]: new Map() };
  const port = (side, v) => {
    if (!ports[side].has(v)) {
      const vertex = { id: vertices.length, w: 1, h: 0, layer: 0, port: side, v };
      vertices.push(vertex);
      ports[side].set(v, vertex);
    }
    return ports[side].get(v);
  };
  const links = [];
  for (const { v, from, to } of edges) {
    const a = from === IN ? port(IN, v) : vertices[from];
    if (to === null) continue; // a value that ends at the border
    links.push({ v, a, b: to === OUT ? port(OUT, v) : vertices[to], back: false });
  }
  breakCycles(vertices, links);
  return { vertices, links, ports };
}

/**
 * Links within a cycle that go against the order of the boxes are turned around. A cycle comes from closing scopes of
 * which each reads from the other; the order of boxes is that of the program.
 */
function breakCycles(vertices, links) {
  const group = components(vertices, links);
  for (const link of links) link.back = link.a !== link.b && group[link.a.id] === group[link.b.id] && link.a.id > link.b.id;
}

/** Strongly connected components (Tarjan 1972), without recursion: a number for each vertex. */
function components(vertices, links) {
  const out = vertices.map(() => []);
  for (const link of links) out[link.a.id].push(link.b.id);
  const index = new Int32Array(vertices.length).fill(-1), low = new Int32Array(vertices.length), group = new Int32Array(vertices.length).fill(-1);
  const open = [];
  let count = 0;
  for (const { id: root } of vertices) {
    if (index[root] >= 0) continue;
    const stack = [[root, 0]];
    while (stack.length) {
      const top = stack[stack.length - 1], v = top[0];
      if (top[1] === 0) {
        index[v] = low[v] = count++;
        open.push(v);
      }
      const w = out[v][top[1]++];
      if (w !== undefined) {
        if (index[w] < 0) stack.push([w, 0]);
        else if (group[w] < 0) low[v] = Math.min(low[v], index[w]);
        continue;
      }
      stack.pop();
      if (stack.length) low[stack[stack.length - 1][0]] = Math.min(low[stack[stack.length - 1][0]], low[v]);
      if (low[v] !== index[v]) continue;
      for (let w2 = -1; w2 !== v; ) {
        w2 = open.pop();
        group[w2] = v;
      }
    }
  }
  return group;
}

function assignLayers(net) {
  const { vertices, links } = net;
  const ins = vertices.map(() => []), outs = vertices.map(() => []);
  for (const link of links) {
    const [a, b] = link.back ? [link.b, link.a] : [link.a, link.b];
    if (a === b) continue;
    outs[a.id].push([b, link.v]);
    ins[b.id].push([a, link.v]);
  }
  const order = [], waiting = ins.map((list) => list.length);
  for (const v of vertices) if (!waiting[v.id]) order.push(v);
  for (let i = 0; i < order.length; i++) {
    const v = order[i];
    if (v.port !== IN) v.layer = Math.max(1, v.layer);
    for (const [b] of outs[v.id]) {
      b.layer = Math.max(b.layer, v.layer + 1);
      if (--waiting[b.id] === 0) order.push(b);
    }
  }
  let last = 1;
  for (const v of vertices) if (v.port !== OUT) last = Math.max(last, v.layer + 1);
  for (const v of vertices) if (v.port === OUT) v.layer = last;
  // Down towards the readers, where the trunks that this lengthens are not longer than those it shortens.
  for (const v of order.slice().reverse()) {
    if (v.port !== undefined || !outs[v.id].length) continue;
    const target = Math.min(...outs[v.id].map(([b]) => b.layer)) - 1;
    if (target <= v.layer) continue;
    const gain = new Set(outs[v.id].map(([, value]) => value)).size * (target - v.layer);
    let cost = 0;
    for (const [a, value] of ins[v.id]) {
      let reach = a.layer;
      for (const [b, other] of outs[a.id]) if (other === value && b !== v) reach = Math.max(reach, b.layer);
      cost += Math.max(0, target - Math.max(reach, v.layer));
    }
    if (cost <= gain) v.layer = target;
  }
  net.last = last;
  mainPath(net, order, outs);
}

/** Marks the links of the longest paths between boxes: those that a reader follows. */
function mainPath(net, order, outs) {
  const above = new Map(), below = new Map();
  const weight = (v) => (v.real ? 1 : 0);
  for (const v of order) for (const [b] of outs[v.id]) above.set(b, Math.max(above.get(b) || 0, (above.get(v) || 0) + weight(v)));
  for (const v of order.slice().reverse())
    for (const [b] of outs[v.id]) below.set(v, Math.max(below.get(v) || 0, (below.get(b) || 0) + weight(b)));
  const longest = Math.max(0, ...order.map((v) => (above.get(v) || 0) + weight(v) + (below.get(v) || 0)));
  for (const link of net.links)
    link.main = !link.back && (above.get(link.a) || 0) + weight(link.a) + weight(link.b) + (below.get(link.b) || 0) === longest;
}

/** Segments between neighbouring layers; a value goes down one trunk, and its readers branch off where they are. */
function addTrunks(net) {
  net.segments = [];
  const trunks = new Map();
  for (const link of net.links) {
    const [a, b] = link.back ? [link.b, link.a] : [link.a, link.b];
    if (a === b) continue;
    const id = (link.back ? "b" : "f") + a.id + ":" + link.v + (link.back ? ":" + b.id : "");
    if (!trunks.has(id)) trunks.set(id, [a]);
    const trunk = trunks.get(id);
    while (a.layer + trunk.length < b.layer) {
      const dummy = { id: net.vertices.length, w: 1, h: 0, layer: a.layer + trunk.length, dummy: true, v: link.v };
      net.vertices.push(dummy);
      net.segments.push({ v: link.v, a: trunk[trunk.length - 1], b: dummy, back: link.back });
      trunk.push(dummy);
    }
    net.segments.push({ v: link.v, a: trunk[b.layer - a.layer - 1], b, back: link.back, main: link.main });
  }
  net.trunks = [...trunks.values()].filter((trunk) => trunk.length > 2);
  net.layers = Array.from({ length: net.last + 1 }, () => []);
  for (const v of net.vertices) {
    v.up = [];
    v.down = [];
    net.layers[v.layer].push(v);
  }
  for (const s of net.segments) {
    s.a.down.push(s);
    s.b.up.push(s);
  }
}

function orderLayers(net) {
  const { layers } = net;
  const renumber = (layer) => layer.forEach((v, i) => { v.order = i; });
  layers.forEach(renumber);
  let best = layers.map((l) => l.slice()), fewest = crossingsOf(net);
  for (let sweep = 0; sweep < 14 && fewest > 0; sweep++) {
    const down = sweep % 2 === 0;
    const sequence = down ? layers.slice(1) : layers.slice(0, -1).reverse();
    for (const layer of sequence) {
      for (const v of layer) {
        const ends = down ? v.up.map((s) => s.a.order) : v.down.map((s) => s.b.order);
        v.centre = ends.length ? ends.reduce((p, q) => p + q, 0) / ends.length : v.order;
      }
      layer.sort((p, q) => p.centre - q.centre || p.order - q.order);
      renumber(layer);
    }
    const crossings = crossingsOf(net);
    if (crossings < fewest) {
      fewest = crossings;
      best = layers.map((l) => l.slice());
    }
  }
  net.layers = best;
  best.forEach(renumber);
  for (const v of net.vertices) placePorts(v);
}

/** Crossings of segments, by a Fenwick tree over the order of the lower ends. */
function crossingsOf(net) {
  let total = 0;
  for (let l = 0; l + 1 < net.layers.length; l++) {
    const size = net.layers[l + 1].length, tree = new Int32Array(size + 1);
    let seen = 0;
    for (const v of net.layers[l]) {
      const ends = v.down.map((s) => s.b.order).sort((p, q) => p - q);
      for (const end of ends) {
        let upTo = 0;
        for (let i = end + 1; i > 0; i -= i & -i) upTo += tree[i];
        total += seen - upTo;
      }
      for (const end of ends) for (let i = end + 1; i <= size; i += i & -i) tree[i]++;
      seen += ends.length;
    }
  }
  return total;
}

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
