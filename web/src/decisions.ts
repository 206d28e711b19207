// Decisions: saved by the server at once, undone by sending what was there before.

import { signal } from "@preact/signals";
import { type Decided, type Entry, type Of, postDecisions } from "./api";
import { cards } from "./cards";
import { isFrozen } from "./frozen";
import { count, thousands } from "./text";
import { loadStore, say, sayError, store } from "./state";

interface Done {
  previous: Entry[];
  text: string;
}

const AT_ONCE = 10_000; // the server takes 1 MB

const undoable: Done[] = [];
export const canUndo = signal("");
/** The entries last saved: groups on the screen take their actions from it. */
export const saved = signal<Entry[]>([]);

/** "keep 103, drop 103". */
function mixed(entries: readonly Entry[]): string {
  const counts = new Map<string, number>();
  for (const { action } of entries) {
    const verb = { "": "clear", label: "label", subset: "move", attribute: "tag" }[action.split(" ")[0]!] ?? action;
    counts.set(verb, (counts.get(verb) ?? 0) + 1);
  }
  return [...counts].map(([verb, n]) => `${verb} ${thousands(n)}`).join(", ");
}

/** "drop 3 items", "relabel 1 object to dog". */
export function describe(entries: readonly Entry[]): string {
  const { action, of } = entries[0]!;
  const [verb = "", ...rest] = action.split(" ");
  const name = rest.join(" ");
  const things = count(new Set(entries.map((entry) => entry.row)).size, of === "objects" ? "object" : "item");
  if (entries.some((entry) => entry.action !== action)) return mixed(entries);
  if (verb === "label") return of === "objects" ? `relabel ${things} to ${name}` : `label ${things} ${name}`;
  if (verb === "subset") return `move ${things} to ${name}`;
  if (verb === "attribute") return `set ${name} on ${things}`;
  return verb ? `${verb} ${things}` : `clear the decision on ${things}`;
}

/** What the server has saved: the entries, and what contradicted them, which it has cleared. */
function changes(entries: readonly Entry[], previous: readonly Entry[]): Entry[] {
  const key = ({ of, row, index }: Entry, byIndex: boolean) => (byIndex ? `${index}` : `${of}:${row}`);
  const asked = new Map(entries.map((entry) => [key(entry, entry.index !== undefined), entry.action]));
  return previous.map((entry) => ({ ...entry, action: asked.get(key(entry, true)) ?? asked.get(key(entry, false)) ?? "" }));
}

function show(entries: readonly Entry[], answer: Decided): void {
  if (store.value) {
    const { decided, problems, kinds } = answer;
    store.value = { ...store.value, decided, problems, kinds };
  }
  const changed = changes(entries, answer.previous);
  for (const of of ["items", "objects"] as const)
    cards.refresh(of, [...new Set(changed.filter((entry) => entry.of === of).map(({ row }) => row))]);
  saved.value = changed;
}

// One request at a time: the order of decisions is the order of the keys pressed.
let last: Promise<unknown> = Promise.resolve();

/** Save in requests of bounded size; `done` hears what has been saved so far, and what was there before. */
async function post(entries: readonly Entry[], done: (saved: Entry[], previous: Entry[]) => void): Promise<void> {
  let previous: Entry[] = [];
  for (let at = 0; at < entries.length; at += AT_ONCE) {
    if (at) say(`Saving… ${thousands(at)} of ${thousands(entries.length)}`);
    const part = entries.slice(at, at + AT_ONCE);
    const answer = await postDecisions(part);
    previous = [...answer.previous, ...previous];
    show(part, answer);
    done(entries.slice(0, at + AT_ONCE), previous);
  }
}

function send(entries: Entry[], done: (saved: Entry[], previous: Entry[]) => void): Promise<boolean> {
  const sent = last
    .then(() => post(entries, done))
    .then(
      () => true,
      (error: unknown) => {
        sayError(error);
        void loadStore().catch(() => undefined); // it may have been replaced
        return false;
      },
    )
    .finally(() => (canUndo.value = undoable.at(-1)?.text ?? ""));
  last = sent;
  return sent;
}

export function decide(entries: Entry[]): Promise<boolean> {
  if (!entries.length) return Promise.resolve(false);
  const done: Done = { previous: [], text: "" };
  return send(entries, (saved, previous) => {
    if (!undoable.includes(done)) undoable.push(done);
    Object.assign(done, { previous, text: describe(saved) });
    say(isFrozen ? `Decided: ${done.text}. Download the decisions to keep them.` : `Saved: ${done.text}.`);
  });
}

export const decideRows = (of: Of, rows: Iterable<number>, action: string) =>
  decide(Array.from(rows, (row) => ({ of, row, action })));

export async function undo(): Promise<Entry[]> {
  await last; // what was decided before is saved first
  const done = undoable.pop();
  if (!done) {
    say("There is nothing to undo.");
    return [];
  }
  const ok = await send(done.previous, () => say(`Undone: ${done.text}.`));
  if (!ok) undoable.push(done);
  return done.previous;
}
