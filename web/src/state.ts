// Everything the components share. What stands in the address is `view`; the rest is asked for anew.

import { computed, effect, signal } from "@preact/signals";
import { ApiError, type Card, getProgress, getRows, getStore, type Progress, type Rows, type Store } from "./api";
import { cards } from "./cards";
import { isFrozen } from "./frozen";
import { queryOf, readHash, type View, writeHash } from "./url";

const DEBOUNCE_MS = 60;
const BUSY_POLL_MS = 700;
const IDLE_POLL_MS = 5000;

export const store = signal<Store | null>(null);
export const view = signal<View>(readHash(location.hash));
export const result = signal<Rows>({ rows: new Int32Array(), scores: null });
export const searching = signal(""); // what the search waits for
export const searchError = signal("");
export const selection = signal<ReadonlySet<number>>(new Set()); // rows of the table shown
export const onlySelected = signal(false);
export const progress = signal<Progress>({});
export const lost = signal(""); // why the server cannot be reached
export const notice = signal<{ text: string; bad: boolean } | null>(null);
export const dialog = signal<"" | "accept" | "apply" | "help" | "relabel" | "move" | "tag" | "filters">("");

/** Rows that the grid shows. */
export const shown = computed<Rows>(() => {
  const { rows, scores } = result.value;
  const chosen = selection.value;
  if (!onlySelected.value || !chosen.size) return result.value;
  const places = new Int32Array(rows.length);
  let n = 0;
  for (let place = 0; place < rows.length; place++) if (chosen.has(rows[place]!)) places[n++] = place;
  const kept = places.subarray(0, n);
  return {
    rows: kept.map((place) => rows[place]!),
    scores: scores && Float32Array.from(kept, (place) => scores[place]!),
  };
});

export function update(change: Partial<View>): void {
  if (change.of && change.of !== view.value.of) {
    selection.value = new Set();
    // A row number means nothing in the other table.
    change = { ...change, terms: (change.terms ?? view.value.terms).filter((term) => term.type !== "like") };
  }
  view.value = { ...view.value, ...change };
}

/** Open the item of a card; the object of the card is stressed in it. */
export function openCard(card: Card | undefined): void {
  if (card) update({ open: card.item, mark: card.object?.number ?? -1 });
}

export function say(text: string, bad = false): void {
  notice.value = { text, bad };
}

export function sayError(error: unknown): void {
  if (error instanceof DOMException && error.name === "AbortError") return;
  say(error instanceof Error ? error.message : String(error), true);
}

export async function loadStore(): Promise<void> {
  store.value = await getStore();
}

let running: AbortController | null = null;

/** Ask for the rows of a query; what was asked before is cancelled. */
async function load(query: string): Promise<void> {
  running?.abort();
  const control = new AbortController();
  running = control;
  const slow = setTimeout(() => (searching.value ||= "Searching…"), 300);
  try {
    result.value = await getRows(query, control.signal, (sentence) => (searching.value = sentence));
    searchError.value = "";
  } catch (error) {
    if (control.signal.aborted) return;
    searchError.value = error instanceof Error ? error.message : String(error);
    result.value = { rows: new Int32Array(), scores: null };
  } finally {
    clearTimeout(slow);
    if (running === control) searching.value = "";
  }
}

const query = computed(() => queryOf(view.value));

/** Ask again, as decisions and findings change what filters find. */
export const reload = () => load(query.value);

export function follow(): void {
  const written = () => `${view.peek().typed}\n${view.peek().id}`;
  let before = written();
  let timer = 0;
  effect(() => {
    const asked = query.value;
    clearTimeout(timer);
    const wait = written() === before ? 0 : DEBOUNCE_MS;
    before = written();
    timer = setTimeout(() => load(asked), wait);
  });
  let seen = view.peek();
  effect(() => {
    const [hash, { tab, open }] = [writeHash(view.value), view.value];
    const isElsewhere = tab !== seen.tab || open >= 0 !== seen.open >= 0; // "back" returns from there
    seen = view.value;
    if (location.hash.slice(1) !== hash) history[isElsewhere ? "pushState" : "replaceState"](null, "", `#${hash}`);
  });
  addEventListener("hashchange", () => {
    const asked = readHash(location.hash);
    if (asked.of !== view.value.of) selection.value = new Set();
    view.value = asked;
  });
  if (!isFrozen) void poll();
}

const busy = (seen: Progress) => Object.values(seen).some((step) => step.state === "running");

/** Watch the work in the background: new findings change the kinds, the filters and the cards. */
async function poll(): Promise<void> {
  for (;;) {
    try {
      const before = progress.value;
      progress.value = await getProgress();
      const audited = before.audit?.state === "running" && progress.value.audit?.state !== "running";
      if (lost.value || audited) {
        cards.clear();
        await loadStore();
        await reload();
      }
      lost.value = "";
    } catch (error) {
      if (error instanceof ApiError) lost.value = error.message;
    }
    await new Promise((resume) => setTimeout(resume, busy(progress.value) ? BUSY_POLL_MS : IDLE_POLL_MS));
  }
}
