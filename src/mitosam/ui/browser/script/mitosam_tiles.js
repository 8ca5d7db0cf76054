// Sections in square tiles at power-of-two scales, fetched when they come into sight.

export const TILE_PX = 1024;

export class TileLayer {
  // `address(z, tile)` says where a tile is; `decode(buffer, tile)` makes what is drawn of it.
  constructor({ address, decode, changed, kept }) {
    this.kept = kept; // more than this many only where more are in sight
    this.needed = 0;
    this.address = address;
    this.decode = decode;
    this.changed = changed;
    this.tiles = new Map();
    this.section = { width: 1, height: 1 };
  }

  // The tiles that show in the window, at the scale whose pixels are no larger than the screen's.
  inSight(camera, pixelRatio) {
    const level = this.level(camera.scale * pixelRatio);
    const side = TILE_PX << level;
    const [left, top] = camera.toSection(0, 0);
    const [right, bottom] = camera.toSection(camera.view.width, camera.view.height);
    const first = (low) => Math.max(Math.floor(low / side), 0);
    const last = (high, length) => Math.min(Math.ceil(high / side), Math.ceil(length / side));
    const found = [];
    for (let row = first(top); row < last(bottom, this.section.height); row++) {
      for (let column = first(left); column < last(right, this.section.width); column++) {
        found.push(this.tile(level, row, column));
      }
    }
    return found;
  }

  level(scale) {
    const coarsest = Math.ceil(
      Math.log2(Math.max(this.section.width, this.section.height, TILE_PX) / TILE_PX),
    );
    return Math.min(Math.max(Math.floor(-Math.log2(scale) + 1e-6), 0), coarsest);
  }

  tile(level, row, column) {
    const step = 1 << level;
    const side = TILE_PX * step;
    const part = (index, length) => Math.ceil(Math.min(side, length - index * side) / step);
    return {
      ...{ level, row, column, step, x: column * side, y: row * side },
      width: part(column, this.section.width),
      height: part(row, this.section.height),
    };
  }

  // What is there to draw of these tiles; the others are fetched. `whole` says that none lacks.
  get(z, version, tiles) {
    this.needed = tiles.length;
    const drawn = tiles.map((tile) => this.find(z, version, tile)).filter((one) => one);
    return { drawn, whole: drawn.length === tiles.length };
  }

  find(z, version, tile) {
    const key = [z, version, tile.level, tile.row, tile.column].join("/");
    let held = this.tiles.get(key);
    if (held) this.tiles.delete(key); // put back below, as the one used last
    else held = this.fetch(key, z, version, tile);
    this.tiles.set(key, held);
    this.forget();
    return held.content ? { ...tile, content: held.content } : null;
  }

  fetch(key, z, version, tile) {
    const held = { content: null };
    fetch(this.address(z, tile, version))
      .then((answer) => {
        if (!answer.ok) throw new Error(`${answer.status} for tile ${key}`);
        return answer.arrayBuffer();
      })
      .then((buffer) => this.decode(buffer, tile))
      .then((content) => {
        held.content = content;
        this.changed();
      })
      .catch((error) => {
        console.warn(error);
        setTimeout(() => this.tiles.delete(key), 2000); // to be asked for again
      });
    return held;
  }

  forget() {
    for (const key of this.tiles.keys()) {
      if (this.tiles.size <= Math.max(this.kept, 2 * this.needed)) return;
      this.tiles.delete(key);
    }
  }
}

export function greyCanvas(buffer, { width, height }) {
  const grey = new Uint8Array(buffer);
  const pixels = new Uint32Array(width * height);
  for (let i = 0; i < pixels.length; i++) pixels[i] = 0xff000000 | (grey[i] * 0x010101);
  return canvasOf(pixels, width, height);
}

// `pixels` are bytes red, green, blue, alpha, read as little-endian numbers.
export function canvasOf(pixels, width, height) {
  const canvas = new OffscreenCanvas(width, height);
  const image = new ImageData(new Uint8ClampedArray(pixels.buffer), width, height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}
