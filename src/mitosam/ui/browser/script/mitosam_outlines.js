// Outlines along pixel edges, so that they stay sharp at every zoom.

// A mask from the lengths of its runs in reading order, the first of them outside.
export function maskOfRuns(runs, width, height) {
  const mask = new Uint32Array(width * height);
  let at = 0;
  let inside = 0;
  for (const length of runs) {
    if (inside) mask.fill(1, at, at + length);
    at += length;
    inside = 1 - inside;
  }
  return mask;
}

// One Path2D for each id, in the array's own pixels. An object that touches a side named in `open`
// goes on beyond it, and has no edge there.
export function outlinesOf(ids, width, height, open = {}) {
  const edges = edgesOf(ids, width, height, open);
  const paths = new Map();
  for (const [id, next] of edges) paths.set(id, chain(next, width + 1));
  return paths;
}

// For each id a map from the corner where an edge begins to those where it ends, the object on the
// right hand side.
function edgesOf(ids, width, height, open) {
  const edges = new Map();
  const stride = width + 1;
  let last = 0;
  let map;
  const add = (id, from, to) => {
    if (id !== last) {
      map = edges.get(id);
      if (!map) edges.set(id, (map = new Map()));
      last = id;
    }
    const known = map.get(from);
    if (known) known.push(to);
    else map.set(from, [to]);
  };
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (id === 0) continue;
      const corner = y * stride + x;
      if (y > 0 ? ids[i - width] !== id : !open.top) add(id, corner, corner + 1);
      if (x < width - 1 ? ids[i + 1] !== id : !open.right) {
        add(id, corner + 1, corner + 1 + stride);
      }
      if (y < height - 1 ? ids[i + width] !== id : !open.bottom) {
        add(id, corner + 1 + stride, corner + stride);
      }
      if (x > 0 ? ids[i - 1] !== id : !open.left) add(id, corner + stride, corner);
    }
  }
  return edges;
}

function chain(next, stride) {
  const path = new Path2D();
  const ends = new Set();
  for (const targets of next.values()) for (const target of targets) ends.add(target);
  // Open lines first, from where nothing leads to; what is left is closed.
  for (const start of [...next.keys()]) if (!ends.has(start)) follow(path, next, start, stride);
  for (const start of [...next.keys()]) while (next.has(start)) follow(path, next, start, stride);
  return path;
}

function follow(path, next, start, stride) {
  path.moveTo(start % stride, Math.floor(start / stride));
  let at = start;
  let step = 0;
  while (next.has(at)) {
    const to = take(next, at, step, stride);
    if (step !== 0 && to - at !== step) path.lineTo(at % stride, Math.floor(at / stride));
    step = to - at;
    at = to;
  }
  if (at === start) path.closePath();
  else path.lineTo(at % stride, Math.floor(at / stride));
}

// Where two corners of an object meet, turn right: its parts touch, but are not joined.
function take(next, at, step, stride) {
  const targets = next.get(at);
  let choice = 0;
  if (targets.length > 1) {
    const right = { 1: stride, [stride]: -1, [-1]: -stride, [-stride]: 1 }[step];
    choice = Math.max(targets.findIndex((to) => to - at === right), 0);
  }
  const [to] = targets.splice(choice, 1);
  if (targets.length === 0) next.delete(at);
  return to;
}
