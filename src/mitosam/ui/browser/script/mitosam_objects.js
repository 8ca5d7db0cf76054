// The objects of a section, those that are only proposed first and the uncertain before the certain.

export default {
  template: `
    <ul class="m-objects" role="listbox" aria-label="Objects of this section"
      aria-multiselectable="true">
      <li v-for="one in objects" :key="one.id" role="option" :data-id="one.id"
        :aria-selected="selected.includes(one.id)"
        :class="{ chosen: selected.includes(one.id), proposed: one.proposed }"
        @click="$emit('pick', { id: one.id, more: $event.shiftKey })">
        <span class="swatch" :style="{ background: one.colour }"></span>
        <span class="name">{{ one.id }}</span>
        <span class="trust" v-if="one.proposed">
          {{ one.confidence === null ? "proposed" : Math.round(100 * one.confidence) + "% sure" }}
        </span>
        <span class="area">{{ one.area }}</span>
      </li>
      <li v-if="!objects.length" class="empty">{{ empty }}</li>
    </ul>`,
  props: { objects: Array, selected: Array, empty: String },
  emits: ["pick"],

  watch: {
    selected() {
      this.$nextTick(() => {
        this.$el.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
      });
    },
  },
};
