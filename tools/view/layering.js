// A layered layout after Sugiyama, Tagawa and Toda (1981) of boxes and the values between them, top to bottom.
//
// 1 break cycles   2 longest-path layers, then down where that shortens   3 one trunk of dummies a value, shared by all
// that read it   4 order by barycentres, keeping the fewest crossings; then, in placing.js: 5 places, each layer in turn
// as near to its neighbours as separations allow, an isotonic regression (pool adjacent violators)   6 curves in the gaps.
"use strict";

/**
 * boxes, in the order of the program: [{w, h, tops: Map(value -> offset) or null, bottoms: the same}];
 * edges: [{v, from, to}], places of boxes, IN or OUT.
 * Returns {w, h, x, y, layer, segments, tops, bottoms}: tops and bottoms are where values cross the border.
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
