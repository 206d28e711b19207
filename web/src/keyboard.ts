// Keys of the page. What has the focus comes first: fields, dialogs, the grid and the map take their own keys.

import { decideRows } from "./decisions";
import { acceptGroup, decideFocused, dropImage, focusBy, focusedRow, keepOnly, nextOpen, openFocused, step, undoThere } from "./review";
import { dialog, onlySelected, selection, shown, update, view } from "./state";

function focusSoon(selector: string): void {
  requestAnimationFrame(() => document.querySelector<HTMLElement>(selector)?.focus());
}

const selected = () => selection.value.size > 0;
const reviewing = () => view.value.tab === "review"; // there, a selection of the grid is out of sight

function decideOn(action: string): void {
  if (reviewing()) void decideFocused(action);
  else if (selected()) void decideRows(view.value.of, selection.value, action);
}

const canAsk = () => (reviewing() ? focusedRow() !== undefined : selected());
const ofItems = () => (reviewing() ? focusedRow()?.of : view.value.of) === "items";

function escape(): void {
  if (view.value.open >= 0) update({ open: -1, mark: -1 });
  else if (selected()) {
    selection.value = new Set();
    onlySelected.value = false;
  } else (document.activeElement as HTMLElement | null)?.blur();
}

const ANYWHERE: Record<string, () => void> = {
  "/": () => document.querySelector<HTMLElement>("#search")?.focus(),
  g: () => {
    update({ tab: "grid" });
    focusSoon(".grid");
  },
  m: () => {
    update({ tab: "map" });
    focusSoon(".scatter canvas");
  },
  r: () => update({ tab: "review" }),
  i: () => update({ tab: "info" }),
  f: () => {
    if (document.querySelector(".sidebar")?.checkVisibility()) focusSoon(".sidebar input");
    else dialog.value = "filters";
  },
  "?": () => (dialog.value = "help"),
  u: () => void undoThere(),
  Escape: escape,
  d: () => decideOn("drop"),
  x: () => decideOn("keep"),
  c: () => decideOn(""),
  l: () => {
    if (canAsk()) dialog.value = "relabel";
  },
  v: () => {
    if (canAsk() && ofItems()) dialog.value = "move";
  },
  t: () => {
    if (canAsk() && ofItems()) dialog.value = "tag";
  },
};

const REVIEW: Record<string, () => void> = {
  n: () => step(1),
  p: () => step(-1),
  N: nextOpen,
  a: () => void acceptGroup(),
  o: () => void keepOnly(),
  w: () => void dropImage(),
  ArrowRight: () => focusBy(1),
  ArrowLeft: () => focusBy(-1),
  ArrowDown: () => focusBy(1),
  ArrowUp: () => focusBy(-1),
  Enter: openFocused,
};

const DECIDING = ["a", "c", "d", "o", "u", "w", "x"];
const WRITES = "input:not([type=range], [type=checkbox], [type=file]), textarea, select";

export function listen(): void {
  addEventListener("keydown", (event) => {
    const from = event.target as HTMLElement;
    if (event.altKey || event.defaultPrevented || dialog.value || from.matches(WRITES)) return;
    if (event.ctrlKey || event.metaKey) {
      if (event.key !== "a" || view.value.tab !== "grid") return;
      event.preventDefault();
      selection.value = new Set(shown.value.rows); // not the text of the page
      return;
    }
    const onControl = from.matches("button, a, input");
    const own = event.key === "Enter" || event.key.startsWith("Arrow");
    const act = (view.value.tab === "review" && !(onControl && own) && REVIEW[event.key]) || ANYWHERE[event.key];
    if (!act) return;
    event.preventDefault();
    if (event.repeat && DECIDING.includes(event.key)) return; // a key held down decides once
    act();
  });
}
