// A slider through the sections, with marks of what is ready, holds objects, or is finished.

export default {
  template: `
    <div class="m-strip">
      <canvas ref="marks" aria-hidden="true"></canvas>
      <input type="range" min="1" :max="count" step="1" :value="shown" :disabled="count === 1"
        aria-label="Section" :aria-valuetext="'section ' + shown + ' of ' + count"
        @input="choose($event)">
    </div>`,
  props: {
    ...{ count: Number, z: Number },
    ...{ embedded: Array, annotated: Array, finished: Array },
  },
  emits: ["go"],

  data() {
    return { shown: this.z + 1 };
  },

  mounted() {
    this.watcher = new ResizeObserver(() => this.draw());
    this.watcher.observe(this.$el);
    this.look = new MutationObserver(() => this.draw());
    this.look.observe(document.body, { attributeFilter: ["class"] });
  },

  unmounted() {
    this.watcher.disconnect();
    this.look.disconnect();
  },

  watch: {
    z(value) {
      this.shown = value + 1;
      this.draw();
    },
    ...Object.fromEntries(
      ["embedded", "annotated", "finished", "count"].map((name) => [name, "draw"]),
    ),
  },

  methods: {
    choose(event) {
      this.shown = Number(event.target.value);
      this.$emit("go", { z: this.shown - 1 });
    },

    draw() {
      const canvas = this.$refs.marks;
      const { width, height } = this.$el.getBoundingClientRect();
      const ratio = window.devicePixelRatio || 1;
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
      const context = canvas.getContext("2d");
      context.scale(ratio, ratio);
      const style = getComputedStyle(this.$el);
      const lane = (sections, name, top, thick) => {
        context.fillStyle = style.getPropertyValue(name);
        for (const z of sections) {
          const [left, right] = this.span(z, width);
          context.fillRect(left, top, Math.max(right - left, 1), thick);
        }
      };
      lane([...Array(this.count).keys()], "--m-line", height - 8, 3);
      lane(this.embedded, "--m-embedded", height - 8, 3);
      lane(this.annotated, "--m-annotated", 4, 5);
      lane(this.finished, "--m-finished", 4, 5);
    },

    // Where a section's mark lies, so that it stands below the slider's thumb of 14 px.
    span(z, width) {
      const step = (width - 14) / Math.max(this.count - 1, 1);
      const middle = this.count === 1 ? width / 2 : 7 + z * step;
      const half = step / 2;
      return [middle - half + (half > 2 ? 0.5 : 0), middle + half - (half > 2 ? 0.5 : 0)];
    },
  },
};
