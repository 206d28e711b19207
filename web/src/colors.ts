// Colors of labels: the same in boxes, in filters and on the map.

import { computed } from "@preact/signals";
import { store } from "./state";

export const COLORS = ["#4e79d4", "#e8862e", "#3fa55b", "#d9494e", "#9268c4", "#a9744f", "#df72b4", "#8a8f3c", "#2fb2c4", "#c9a227"];

const ranks = computed(() => {
  const labels = [...(store.value?.labels ?? [])].sort((a, b) => b.objects - a.objects || b.items - a.items);
  return new Map(labels.map(({ name }, rank) => [name, rank]));
});

/** Whether a label is among the ten most frequent, which have a color of their own. */
export const isFrequent = (label: string) => (ranks.value.get(label) ?? COLORS.length) < COLORS.length;

/** A label's color; less frequent ones have it in common with others. */
export const colorOf = (label: string) => COLORS[(ranks.value.get(label) ?? 0) % COLORS.length]!;

/** Class of an element that has a label's color. */
export const colorClass = (label: string) => `color-${(ranks.value.get(label) ?? 0) % COLORS.length}`;
