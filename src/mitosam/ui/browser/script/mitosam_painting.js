// Drawing a section and everything on it. Two canvases: the picture, whose contrast the browser
// changes, and above it what was found and what is being outlined.

import { canvasOf } from "mitosam_tiles";
import { maskOfRuns, outlinesOf } from "mitosam_outlines";

const DRAFT = "#ffd84d";
const POSITIVE = "#35d07f";
const NEGATIVE = "#ff5a5f";
const SHADE = "rgba(0, 0, 0, 0.75)";

export function fitCanvas(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
}

// A context whose unit is a CSS pixel, empty.
function cleared(canvas) {
  const context = canvas.getContext("2d");
  const ratio = window.devicePixelRatio || 1;
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.clearRect(0, 0, canvas.width, canvas.height);
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  return context;
}

export function paintImage(canvas, camera, tiles, faded) {
  const context = cleared(canvas);
  context.imageSmoothingEnabled = camera.scale < 3;
  for (const [drawn, alpha] of [
    [faded, 0.4],
    [tiles, 1],
  ]) {
    context.globalAlpha = alpha;
    for (const tile of drawn) drawTile(context, camera, tile, tile.content);
  }
}

function drawTile(context, camera, tile, content) {
  const [x, y] = camera.toScreen(tile.x, tile.y);
  const scale = camera.scale * tile.step;
  context.drawImage(content, x, y, tile.width * scale, tile.height * scale);
}

// The ids of a tile, its fill and its outlines. Stripes mark what is only proposed.
export function objectTile(buffer, tile, section, palette, proposed) {
  const { width, height } = tile;
  const ids = new Uint32Array(buffer);
  const pixels = new Uint32Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const id = ids[i];
      if (id === 0) continue;
      const striped = proposed.has(id) && ((x + y) & 7) > 2;
      pixels[i] = palette[id % palette.length] | (striped ? 0x40000000 : 0xff000000);
    }
  }
  const open = {
    top: tile.row > 0,
    left: tile.column > 0,
    bottom: tile.y + height * tile.step < section.height,
    right: tile.x + width * tile.step < section.width,
  };
  return {
    ids,
    fill: canvasOf(pixels, width, height),
    outlines: outlinesOf(ids, width, height, open),
  };
}

// Colours such as "#ea88a7" as numbers in which red is the lowest byte.
export function paletteNumbers(palette) {
  return palette.map((colour) => {
    const [, red, green, blue] = colour.match(/#(..)(..)(..)/).map((part) => parseInt(part, 16));
    return red | (green << 8) | (blue << 16);
  });
}

export function draftOf(mask) {
  const bits = maskOfRuns(mask.runs, mask.width, mask.height);
  const pixels = bits.map((bit) => (bit ? 0xff4dd8ff : 0)); // DRAFT, alpha first
  return {
    ...{ x: mask.x, y: mask.y, width: mask.width, height: mask.height, step: 1 },
    fill: canvasOf(pixels, mask.width, mask.height),
    outline: outlinesOf(bits, mask.width, mask.height).get(1),
  };
}

// What lies over the picture, from the bottom to the top.
export function paintOverlay(canvas, state) {
  const context = cleared(canvas);
  context.imageSmoothingEnabled = state.camera.scale < 1;
  if (state.showObjects) paintObjects(context, state);
  if (state.draft) paintDraft(context, state);
  paintPrompts(context, state);
  if (state.gesture) paintGesture(context, state.gesture);
}

function paintObjects(context, { camera, tiles, look, palette, proposed, selected, hovered }) {
  for (const tile of tiles) {
    context.globalAlpha = look.opacity;
    drawTile(context, camera, tile, tile.content.fill);
    context.globalAlpha = 1;
    for (const [id, path] of tile.content.outlines) {
      const style = { colour: palette[id % palette.length], width: 1.5, dash: [] };
      if (proposed.has(id)) style.dash = [5, 4];
      if (id === hovered) style.width = 2.5;
      if (selected.has(id)) Object.assign(style, { colour: "#ffffff", width: 3, halo: true });
      strokeOutline(context, camera, tile, path, style);
    }
  }
}

function strokeOutline(context, camera, tile, path, { colour, width, dash, halo }) {
  const scale = camera.scale * tile.step;
  context.save();
  const [x, y] = camera.toScreen(tile.x, tile.y);
  context.translate(x, y);
  context.scale(scale, scale);
  context.lineJoin = "round";
  if (halo) {
    context.strokeStyle = SHADE;
    context.lineWidth = (width + 3) / scale;
    context.stroke(path);
  }
  context.strokeStyle = colour;
  context.lineWidth = width / scale;
  context.setLineDash(dash.map((length) => length / scale));
  context.stroke(path);
  context.restore();
}

function paintDraft(context, { camera, draft, look }) {
  context.globalAlpha = Math.max(look.opacity, 0.25);
  drawTile(context, camera, draft, draft.fill);
  context.globalAlpha = 1;
  if (draft.outline) {
    const style = { colour: DRAFT, width: 2, dash: [], halo: true };
    strokeOutline(context, camera, draft, draft.outline, style);
  }
}

function paintPrompts(context, { camera, scene, pending }) {
  const screen = (place) => camera.toScreen(place[0], place[1]);
  if (scene.box) {
    const [x0, y0, x1, y1] = scene.box;
    strokeBox(context, [...screen([x0, y0]), ...screen([x1, y1])]);
  }
  if (scene.lasso.length) strokeLine(context, scene.lasso.map(screen));
  for (const [x, y, positive] of scene.points) paintPoint(context, screen([x, y]), positive);
  for (const { x, y, positive } of pending) paintPoint(context, screen([x, y]), positive, 0.55);
  scene.cuts.forEach((cut, number) => paintNumber(context, screen(cut), number + 1));
}

function paintGesture(context, { box, lasso }) {
  if (box) strokeBox(context, box);
  if (lasso) strokeLine(context, lasso);
}

function twice(context, draw) {
  context.setLineDash([]);
  context.strokeStyle = SHADE;
  context.lineWidth = 4;
  draw();
  context.strokeStyle = DRAFT;
  context.lineWidth = 1.5;
  context.setLineDash([6, 4]);
  draw();
  context.setLineDash([]);
}

function strokeBox(context, [x0, y0, x1, y1]) {
  twice(context, () => context.strokeRect(x0, y0, x1 - x0, y1 - y0));
}

function strokeLine(context, corners) {
  const path = new Path2D();
  corners.forEach(([x, y], number) => (number ? path.lineTo(x, y) : path.moveTo(x, y)));
  path.closePath();
  twice(context, () => context.stroke(path));
}

// A green plus or a red minus, told apart by form as well as colour.
function paintPoint(context, [x, y], positive, alpha = 1) {
  context.globalAlpha = alpha;
  disc(context, x, y, positive ? POSITIVE : NEGATIVE);
  context.strokeStyle = "#ffffff";
  context.lineWidth = 2;
  context.beginPath();
  context.moveTo(x - 4, y);
  context.lineTo(x + 4, y);
  if (positive) {
    context.moveTo(x, y - 4);
    context.lineTo(x, y + 4);
  }
  context.stroke();
  context.globalAlpha = 1;
}

function paintNumber(context, [x, y], number) {
  disc(context, x, y, "#2f9bff");
  context.fillStyle = "#ffffff";
  context.font = "bold 11px sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(String(number), x, y + 0.5);
}

function disc(context, x, y, colour) {
  context.beginPath();
  context.arc(x, y, 8, 0, 2 * Math.PI);
  context.fillStyle = colour;
  context.fill();
  context.strokeStyle = SHADE;
  context.lineWidth = 1.5;
  context.stroke();
}
