// The section on the page: it shows what the server says, and sends what the user does.

import { Camera } from "mitosam_camera";
import { Gestures } from "mitosam_gestures";
import {
  draftOf,
  fitCanvas,
  objectTile,
  paintImage,
  paintOverlay,
  paletteNumbers,
} from "mitosam_painting";
import { greyCanvas, TileLayer } from "mitosam_tiles";

const LOOK = { brightness: 100, contrast: 100, opacity: 0.3 };
const NOTHING = {
  ...{ answered: 0, z: 0, count: 1, shape: [1, 1], tool: "point", ready: true, version: "" },
  ...{ objects: [], selected: [], points: [], box: null, lasso: [], cuts: [], mask: null },
  look_at: null,
};

export default {
  template: `
    <div class="m-viewer" :class="'m-tool-' + tool">
      <canvas ref="image" aria-hidden="true"></canvas>
      <canvas ref="overlay" tabindex="0" role="application" :aria-label="label"></canvas>
      <div class="m-place" aria-hidden="true">{{ place }}</div>
      <div class="m-scale" aria-hidden="true" v-show="bar">
        <span :style="{ width: bar ? bar.px + 'px' : 0 }"></span>{{ bar ? bar.text : "" }}
      </div>
      <div class="m-busy" role="status" v-show="waiting">{{ waiting }}</div>
      <div class="m-look">
        <button type="button" class="m-look-button" aria-label="How the picture looks"
          title="How the picture looks" :aria-expanded="open" @click="open = !open">◐</button>
        <div class="m-look-panel" v-show="open">
          <label v-for="one in sliders">{{ one.title }}
            <input type="range" :min="one.min" :max="one.max" :step="one.step"
              :value="look[one.name]" :aria-label="one.title"
              @input="setLook(one.name, $event.target.value)"></label>
          <button type="button" @click="resetLook">Reset</button>
        </div>
      </div>
    </div>`,
  props: { palette: Array, keys: Object, own: Array, address: String, nm: Number },
  emits: ["act", "ready"],

  data() {
    return {
      ...{ place: "", bar: null, waiting: "", open: false, tool: "point", look: { ...LOOK } },
      label: "Section",
      sliders: [
        { name: "brightness", title: "Brightness", min: 20, max: 250, step: 5 },
        { name: "contrast", title: "Contrast", min: 20, max: 400, step: 5 },
        { name: "opacity", title: "Objects", min: 0, max: 1, step: 0.05 },
      ],
    };
  },

  mounted() {
    this.camera = new Camera();
    this.scene = NOTHING;
    this.pending = [];
    this.serial = 0;
    this.times = new Map();
    this.showObjects = true;
    this.colours = paletteNumbers(this.palette);
    this.makeLayers();
    this.gestures = new Gestures(this.$refs.overlay, this);
    this.onKey = (event) => this.key(event);
    this.onKeyUp = (event) => {
      if (event.key === " ") this.gestures.space = false;
    };
    // Clicking a button leaves the keyboard with the picture, so that Enter accepts.
    this.onMouse = (event) => {
      if (event.target.closest(".m-page button")) event.preventDefault();
    };
    window.addEventListener("keydown", this.onKey);
    window.addEventListener("keyup", this.onKeyUp);
    window.addEventListener("mousedown", this.onMouse);
    this.watcher = new ResizeObserver(() => this.resize());
    this.watcher.observe(this.$el);
    this.resize();
    this.$emit("ready", { z: Number(sessionStorage.getItem("mitosam-section") ?? 0) });
  },

  unmounted() {
    window.removeEventListener("keydown", this.onKey);
    window.removeEventListener("keyup", this.onKeyUp);
    window.removeEventListener("mousedown", this.onMouse);
    this.watcher.disconnect();
  },

  methods: {
    makeLayers() {
      const changed = () => this.redraw();
      const where = ({ level, row, column }) => `${level}/${row}/${column}`;
      this.images = new TileLayer({
        address: (z, tile) => `${this.address}/image/${z}/${where(tile)}`,
        decode: greyCanvas,
        ...{ changed, kept: 24 },
      });
      this.objects = new TileLayer({
        address: (z, tile, version) =>
          `${this.address}/objects/${z}/${where(tile)}?version=${version}`,
        decode: (buffer, tile) =>
          objectTile(buffer, tile, this.camera.section, this.colours, this.proposed()),
        ...{ changed, kept: 8 },
      });
    },

    // Called by the server.
    show(scene) {
      if (scene.z !== this.scene.z) sessionStorage.setItem("mitosam-section", scene.z);
      const first = this.scene === NOTHING;
      const before = this.scene;
      this.scene = scene;
      if (scene.answered >= (this.toolSerial ?? 0)) this.tool = scene.tool;
      this.label = `Section ${scene.z + 1} of ${scene.count}, ${scene.objects.length} objects`;
      this.pending = this.pending.filter((one) => one.serial > scene.answered);
      this.updateDraft(before);
      if (first) this.measureSection();
      const look = scene.look_at;
      if (look && (!before.look_at || look.number !== before.look_at.number)) {
        this.camera.lookAt(look.box);
      }
      this.updateWaiting();
      this.redraw();
    },

    // An accepted outline stays until the object that it became is there to be drawn.
    updateDraft(before) {
      const { mask, z, version } = this.scene;
      if (mask) this.draft = JSON.stringify(mask) === this.drawn ? this.draft : draftOf(mask);
      else if (before.z !== z || before.version === version || !this.draft) this.draft = null;
      else this.draft = { ...this.draft, until: version };
      this.drawn = mask ? JSON.stringify(mask) : "";
    },

    measureSection() {
      const [height, width] = this.scene.shape;
      for (const one of [this.camera, this.images, this.objects]) one.section = { width, height };
      this.camera.fit();
    },

    updateWaiting() {
      if (!this.scene.ready) {
        this.waiting = this.pending.length
          ? "Preparing this section; your click is answered right after"
          : "Preparing this section for clicks …";
      } else this.waiting = this.pending.length && this.late ? "Working …" : "";
    },

    resize() {
      const { width, height } = this.$el.getBoundingClientRect();
      if (!width || !height) return;
      for (const canvas of [this.$refs.image, this.$refs.overlay]) fitCanvas(canvas, width, height);
      this.camera.resize(width, height);
      this.paint();
    },

    redraw() {
      this.frame ??= requestAnimationFrame(() => {
        this.frame = undefined;
        this.paint();
      });
    },

    paint() {
      const { camera, scene } = this;
      if (scene === NOTHING) return;
      const ratio = window.devicePixelRatio || 1;
      const wanted = this.images.inSight(camera, ratio);
      const image = this.images.get(scene.z, "", wanted);
      if (image.whole) this.keepShown(image.drawn);
      paintImage(this.$refs.image, camera, image.drawn, image.whole ? [] : (this.shown ?? []));
      this.paintOver(this.objects.get(scene.z, scene.version, this.objects.inSight(camera, ratio)));
      this.bar = this.scaleBar();
      this.note();
    },

    keepShown(drawn) {
      this.shown = drawn;
      const { z, count } = this.scene;
      if (this.near === z) return;
      this.near = z;
      for (const other of [z + 1, z - 1]) {
        if (other >= 0 && other < count) this.images.get(other, "", drawn);
      }
    },

    paintOver({ drawn, whole }) {
      const { z, version } = this.scene;
      if (whole) {
        this.found = { z, drawn };
        if (this.draft?.until === version) this.draft = null;
      }
      const old = this.found?.z === z ? this.found.drawn : [];
      this.tiles = whole ? drawn : old;
      paintOverlay(this.$refs.overlay, {
        ...{ camera: this.camera, scene: this.scene, tiles: this.tiles, look: this.look },
        ...{ palette: this.palette, proposed: this.proposed(), hovered: this.hovered },
        ...{ selected: new Set(this.scene.selected), draft: this.draft, pending: this.pending },
        ...{ gesture: this.gesture, showObjects: this.showObjects },
      });
    },

    // How long the answers took, for whoever measures.
    note() {
      for (const [serial, start] of this.times) {
        if (serial > this.scene.answered) continue;
        this.times.delete(serial);
        this.$el.dataset.answerMs = (performance.now() - start).toFixed(1);
      }
      this.$el.dataset.answered = Math.min(this.scene.answered, this.serial);
    },

    proposed() {
      return new Set(this.scene.objects.filter(([, proposed]) => proposed).map(([id]) => id));
    },

    send(message) {
      const serial = ++this.serial;
      this.times.set(serial, performance.now());
      this.$el.dataset.sent = serial;
      if (message.do === "point") this.pending.push({ ...message, serial });
      this.$emit("act", { ...message, serial });
      this.late = false;
      clearTimeout(this.timer);
      this.timer = setTimeout(() => {
        this.late = true;
        this.updateWaiting();
      }, 400);
      this.updateWaiting();
      this.redraw();
    },

    inSection(x, y) {
      const { width, height } = this.camera.section;
      return x >= 0 && y >= 0 && x < width && y < height;
    },

    pan(dx, dy) {
      this.camera.pan(dx, dy);
      this.redraw();
    },

    zoomAt(x, y, factor) {
      this.camera.zoomAt(x, y, factor);
      this.redraw();
    },

    drawing(shape) {
      this.gesture = shape;
      this.redraw();
    },

    hover(at) {
      const [x, y] = at ? this.camera.toSection(...at).map(Math.floor) : [-1, -1];
      const inside = at && this.inSection(x, y);
      const id = inside ? this.idAt(x, y) : 0;
      this.place = inside ? `x ${x}  y ${y}${id ? `  object ${id}` : ""}` : "";
      if (id !== this.hovered) this.redraw();
      this.hovered = id;
    },

    idAt(x, y) {
      for (const { x: left, y: top, step, width, height, content } of this.tiles ?? []) {
        const [column, row] = [Math.floor((x - left) / step), Math.floor((y - top) / step)];
        const inside = column >= 0 && row >= 0 && column < width && row < height;
        if (inside) return content.ids[row * width + column];
      }
      return 0;
    },

    // A round length of about 90 pixels.
    scaleBar() {
      const perPixel = (this.nm || 1) / this.camera.scale;
      const rough = 90 * perPixel;
      const power = 10 ** Math.floor(Math.log10(rough));
      const length = [5, 2, 1].map((step) => step * power).find((one) => one <= rough);
      const unit = this.nm ? "nm" : "px";
      const text = this.nm && length >= 1000 ? `${length / 1000} µm` : `${length} ${unit}`;
      return { px: length / perPixel, text };
    },

    key(event) {
      if (!this.mayTake(event)) return;
      if (event.key === " ") {
        this.gestures.space = true;
        return event.preventDefault();
      }
      const command = this.keys[keyName(event)];
      if (!command) return;
      event.preventDefault();
      this.run(command);
    },

    // Keys belong to a field while one types in it, and to a dialog while it is open.
    mayTake(event) {
      const { target } = event;
      const typing = target.closest?.("input:not([type=range]), textarea, select, .q-dialog");
      if (typing || document.querySelector(".q-dialog .q-card") || event.altKey) return false;
      const slides = /^(Arrow|Page|Home|End)/.test(event.key) && target.type === "range";
      const presses = event.key === " " || event.key === "Enter";
      return !slides && !(presses && target.closest?.("button, a"));
    },

    run(command) {
      if (!this.own.includes(command)) {
        this.send({ do: "run", name: command });
        return this.takeTool(command);
      }
      if (command === "fit") this.camera.fit();
      if (command === "zoom-in") this.camera.zoom(1.25);
      if (command === "zoom-out") this.camera.zoom(0.8);
      if (command === "labels") this.showObjects = !this.showObjects;
      if (command === "words") document.querySelector(".m-words").select();
      if (command === "go") document.querySelector(".m-bar .m-number").select();
      if (command === "theme") changeTheme();
      this.redraw();
    },

    // A tool is in hand at once: who presses V and clicks does not wait for the server's answer.
    takeTool(command) {
      if (!command.startsWith("tool-")) return;
      this.tool = command.slice("tool-".length);
      this.toolSerial = this.serial;
    },

    setLook(name, value) {
      this.look[name] = Number(value);
      const { brightness, contrast } = this.look;
      this.$refs.image.style.filter = `brightness(${brightness}%) contrast(${contrast}%)`;
      this.redraw();
    },

    resetLook() {
      for (const [name, value] of Object.entries(LOOK)) this.setLook(name, value);
    },
  },
};

// A cookie, so that the server draws the next page so from the start, whatever its port.
function changeTheme() {
  const dark = !document.body.classList.contains("body--dark");
  setDark(dark); // NiceGUI's
  const theme = dark ? "dark" : "light";
  document.cookie = `mitosam_theme=${theme}; path=/; max-age=31536000; samesite=strict`;
}

// As the server's list names keys: letters in lower case, Shift only where it is not in the key.
function keyName(event) {
  const named = event.key.length > 1;
  const letter = /^[a-z]$/i.test(event.key);
  const key = letter ? event.key.toLowerCase() : event.key;
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const shift = event.shiftKey && (named || letter) ? "Shift+" : "";
  return control + shift + key;
}
