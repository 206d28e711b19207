// Cards by row, asked for in batches as tiles come into sight.

import { signal } from "@preact/signals";
import { type Card, getCards, type Of } from "./api";

const BATCH = 200;
const KEPT = 6000;
const AT_ONCE = 2;

const known = new Map<string, Card>();
const asked = new Set<string>();
let wanted: { of: Of; row: number }[] = [];
let running = 0;
let era = 0; // answers from before `clear` are not kept

/** Counts up when cards arrive: what reads it is drawn again. */
const arrived = signal(0);

const keyOf = (of: Of, row: number) => `${of}:${row}`;

async function drain(): Promise<void> {
  while (running < AT_ONCE && wanted.length) {
    const of = wanted[0]!.of;
    const batch = wanted.filter((entry) => entry.of === of).slice(0, BATCH);
    wanted = wanted.filter((entry) => !batch.includes(entry));
    running += 1;
    const mine = era;
    void getCards(of, batch.map((entry) => entry.row))
      .then((answer) => {
        if (mine !== era) return;
        for (const card of answer) known.set(keyOf(of, card.row), card);
        for (const key of known.keys()) if (known.size > KEPT) known.delete(key);
        arrived.value += 1;
      })
      .catch(() => undefined) // asked again when it comes into sight again
      .finally(() => {
        for (const { row } of batch) asked.delete(keyOf(of, row));
        running -= 1;
        void drain();
      });
  }
}

/** The cards known of these rows; the others are asked for. What was wanted before and is not under way is forgotten. */
function want(of: Of, rows: readonly number[]): void {
  const missing = rows.filter((row) => !known.has(keyOf(of, row)) && !asked.has(keyOf(of, row)));
  if (!missing.length) return;
  for (const row of missing) asked.add(keyOf(of, row));
  const kept = wanted.slice(-BATCH);
  for (const entry of wanted.slice(0, -BATCH)) asked.delete(keyOf(entry.of, entry.row));
  wanted = [...missing.map((row) => ({ of, row })), ...kept];
  queueMicrotask(drain);
}

/** Read cards in a component, which is drawn again when more arrive. */
function read(of: Of, rows: readonly number[]): (Card | undefined)[] {
  void arrived.value;
  return rows.map((row) => known.get(keyOf(of, row)));
}

/** Forget everything, as decisions or findings have changed. */
function clear(): void {
  era += 1;
  known.clear();
  arrived.value += 1;
}

/** Ask again for those that are known; the old ones show until the new ones come. */
function refresh(of: Of, rows: readonly number[]): void {
  const shown = rows.filter((row) => known.has(keyOf(of, row)));
  if (shown.length > 5 * BATCH) return clear();
  wanted.push(...shown.map((row) => ({ of, row })));
  void drain();
}

export const cards = { want, read, clear, refresh };
