// What pointer and wheel mean: moving the picture, or a prompt. The tool decides which.

const STILL_PX = 4; // less than this is a click
const CORNER_PX = 3;

export class Gestures {
  // `host` has `camera`, `tool`, `send(message)`, `drawing(shape)`, `hover(x, y)`, `redraw()`.
  constructor(element, host) {
    this.element = element;
    this.host = host;
    this.pointers = new Map();
    this.drag = null;
    this.space = false;
    const on = (name, handler, options) => element.addEventListener(name, handler, options);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    on("pointerup", (event) => this.up(event));
    on("pointercancel", (event) => this.cancel(event));
    on("pointerleave", () => host.hover(null));
    on("wheel", (event) => this.wheel(event), { passive: false });
    on("contextmenu", (event) => event.preventDefault());
    on("auxclick", (event) => event.preventDefault());
  }

  at(event) {
    const box = this.element.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  down(event) {
    this.element.focus({ preventScroll: true });
    if (event.button === 1) event.preventDefault();
    this.element.setPointerCapture(event.pointerId);
    const at = this.at(event);
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size > 1) return this.drop();
    const moves = event.button === 1 || this.space;
    this.drag = {
      ...{ start: at, last: at, moved: false, button: event.button, shift: event.shiftKey },
      kind: moves ? "pan" : this.host.tool,
      corners: [at],
    };
  }

  move(event) {
    const at = this.at(event);
    this.host.hover(at);
    if (!this.pointers.has(event.pointerId)) return;
    const before = this.pointers.get(event.pointerId);
    this.pointers.set(event.pointerId, at);
    if (this.pointers.size === 2) return this.pinch(event.pointerId, before, at);
    if (this.drag) this.dragTo(at);
  }

  dragTo(at) {
    const { drag, host } = this;
    const distance = Math.hypot(at[0] - drag.start[0], at[1] - drag.start[1]);
    drag.moved = drag.moved || distance > STILL_PX;
    if (!drag.moved) return;
    if (drag.kind === "box") host.drawing({ box: [...drag.start, ...at] });
    else if (drag.kind === "lasso") this.lassoTo(at);
    else host.pan(at[0] - drag.last[0], at[1] - drag.last[1]);
    drag.last = at;
  }

  lassoTo(at) {
    const { corners } = this.drag;
    const [x, y] = corners[corners.length - 1];
    if (Math.hypot(at[0] - x, at[1] - y) >= CORNER_PX) corners.push(at);
    this.host.drawing({ lasso: corners });
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    const { drag } = this;
    this.drop();
    if (!drag) return;
    if (!drag.moved) this.click(drag);
    else if (drag.kind === "box") this.sendBox(drag.start, this.at(event));
    else if (drag.kind === "lasso") this.sendLasso(drag.corners);
  }

  cancel(event) {
    this.pointers.delete(event.pointerId);
    this.drop();
  }

  drop() {
    this.drag = null;
    this.host.drawing(null);
  }

  click({ start, button, shift, kind }) {
    const [x, y] = this.host.camera.toSection(...start);
    if (kind === "pan" || !this.host.inSection(x, y)) return;
    if (kind === "point") {
      this.host.send({ do: "point", x, y, positive: button === 0 && !shift });
    } else if (kind === "select" || kind === "split") {
      this.host.send({ do: "select", x, y, more: shift });
    }
  }

  sendBox(from, to) {
    const [x0, y0] = this.host.camera.toSection(...from);
    const [x1, y1] = this.host.camera.toSection(...to);
    this.host.send({ do: "box", x0, y0, x1, y1 });
  }

  sendLasso(corners) {
    if (corners.length < 3) return;
    const places = corners.slice(0, 5000).map((corner) => this.host.camera.toSection(...corner));
    this.host.send({ do: "lasso", corners: places });
  }

  pinch(moved, before, at) {
    const [other] = [...this.pointers].filter(([id]) => id !== moved).map(([, place]) => place);
    const spread = (a) => Math.hypot(a[0] - other[0], a[1] - other[1]);
    this.host.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    const middle = [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2];
    if (spread(before) > 1) this.host.zoomAt(...middle, spread(at) / spread(before));
  }

  wheel(event) {
    event.preventDefault();
    const at = this.at(event);
    if (event.ctrlKey) return this.host.zoomAt(...at, Math.exp(-event.deltaY * 0.01));
    if (isTouchpad(event)) return this.host.pan(-event.deltaX, -event.deltaY);
    this.host.zoomAt(...at, Math.exp(-Math.sign(event.deltaY) * 0.2));
  }
}

// A wheel turns by notches of 120; fingers move by any amount.
function isTouchpad(event) {
  const notches = (event.wheelDeltaY ?? 120) % 120 === 0;
  return event.deltaMode === 0 && (event.deltaX !== 0 || !notches) && !event.shiftKey;
}
