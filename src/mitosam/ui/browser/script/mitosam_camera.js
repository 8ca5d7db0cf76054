// Where the section lies on the canvas: screen = section * scale + offset, in CSS pixels.

const MAX_SCALE = 40;
const MARGIN = 16;

export class Camera {
  constructor() {
    this.scale = 1;
    this.x = 0;
    this.y = 0;
    this.view = { width: 1, height: 1 };
    this.section = { width: 1, height: 1 };
    this.fitted = true;
  }

  toSection(x, y) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toScreen(x, y) {
    return [x * this.scale + this.x, y * this.scale + this.y];
  }

  // A section that filled the window goes on doing so when the window changes.
  resize(width, height) {
    const before = this.view;
    this.view = { width, height };
    if (this.fitted) return this.fit();
    this.pan((width - before.width) / 2, (height - before.height) / 2);
  }

  fitScale() {
    const across = (this.view.width - 2 * MARGIN) / this.section.width;
    const down = (this.view.height - 2 * MARGIN) / this.section.height;
    return Math.max(Math.min(across, down, MAX_SCALE), 1e-4);
  }

  fit() {
    this.scale = this.fitScale();
    this.x = (this.view.width - this.section.width * this.scale) / 2;
    this.y = (this.view.height - this.section.height * this.scale) / 2;
    this.fitted = true;
  }

  pan(dx, dy) {
    this.x += dx;
    this.y += dy;
    this.fitted = false;
    this.keepInSight();
  }

  zoomAt(x, y, factor) {
    const scale = Math.min(Math.max(this.scale * factor, this.fitScale() / 2), MAX_SCALE);
    const [sx, sy] = this.toSection(x, y);
    this.scale = scale;
    this.x = x - sx * scale;
    this.y = y - sy * scale;
    this.fitted = false;
    this.keepInSight();
  }

  zoom(factor) {
    this.zoomAt(this.view.width / 2, this.view.height / 2, factor);
  }

  // Some of the section always stays in the window.
  keepInSight() {
    const keep = (offset, length, room) =>
      Math.min(Math.max(offset, 60 - length * this.scale), room - 60);
    this.x = keep(this.x, this.section.width, this.view.width);
    this.y = keep(this.y, this.section.height, this.view.height);
  }

  // Bring a box into the middle, unless it is well in sight already.
  lookAt([x0, y0, x1, y1]) {
    const { width, height } = this.view;
    const size = Math.max(x1 - x0, y1 - y0, 1);
    const room = Math.min(width, height);
    const [left, top] = this.toScreen(x0, y0);
    const [right, bottom] = this.toScreen(x1, y1);
    const inside = left > 40 && top > 40 && right < width - 40 && bottom < height - 40;
    if (inside && size * this.scale > room / 12) return;
    const wanted = Math.min(Math.max(this.scale, room / size / 8), room / size / 1.6, MAX_SCALE);
    this.scale = Math.max(wanted, this.fitScale());
    this.x = width / 2 - ((x0 + x1) / 2) * this.scale;
    this.y = height / 2 - ((y0 + y1) / 2) * this.scale;
    this.fitted = false;
  }
}
