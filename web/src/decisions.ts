// Decisions: saved by the server at once, undone by sending what was there before.

import { signal } from "@preact/signals";
import { type Decided, type Entry, type Of, postDecisions } from "./api";
import { cards } from "./cards";
import { count } from "./text";
import { loadStore, say, sayError, store } from "./state";

interface Done {
  previous: Entry[];
  text: string;
}

const undoable: Done[] = [];
export const canUndo = signal("");
/** The entries last saved: groups on the screen take their actions from it. */
export const saved = signal<Entry[]>([]);

const DONE: Record<string, string> = { drop: "Drop", keep: "Keep", review: "Review", "": "No decision for" };

/** "Drop 3 items", "Relabel 1 object to dog". */
export function describe(entries: readonly Entry[]): string {
  const { action, of } = entries[0]!;
  const [verb = "", ...rest] = action.split(" ");
  const name = rest.join(" ");
  const things = count(new Set(entries.map((entry) => entry.row)).size, of === "objects" ? "object" : "item");
  if (entries.some((entry) => entry.action !== action)) return `Decide on ${things}`;
  if (verb === "label") return of === "objects" ? `Relabel ${things} to ${name}` : `Label ${things} ${name}`;
  if (verb === "subset") return `Move ${things} to ${name}`;
  if (verb === "attribute") return `Set ${name} on ${things}`;
  return `${DONE[verb] ?? verb} ${things}`;
}

/** What the server has saved: the entries, and what contradicted them, which it has cleared. */
function changes(entries: readonly Entry[], previous: readonly Entry[]): Entry[] {
  const key = ({ of, row, index }: Entry, byIndex: boolean) => (byIndex ? `${index}` : `${of}:${row}`);
  const asked = new Map(entries.map((entry) => [key(entry, entry.index !== undefined), entry.action]));
  return previous.map((entry) => ({ ...entry, action: asked.get(key(entry, true)) ?? asked.get(key(entry, false)) ?? "" }));
}

function show(entries: readonly Entry[], answer: Decided): void {
  if (store.value) store.value = { ...store.value, decided: answer.decided, kinds: answer.kinds };
  const changed = changes(entries, answer.previous);
  for (const of of ["items", "objects"] as const)
    cards.refresh(of, [...new Set(changed.filter((entry) => entry.of === of).map(({ row }) => row))]);
  saved.value = changed;
}

// One request at a time: the order of decisions is the order of the keys pressed.
let last: Promise<unknown> = Promise.resolve();

function send(entries: Entry[], after: (answer: Decided) => void): Promise<boolean> {
  const sent = last.then(() => postDecisions(entries)).then(
    (answer) => {
      show(entries, answer);
      after(answer);
      canUndo.value = undoable.at(-1)?.text ?? "";
      return true;
    },
    (error: unknown) => {
      sayError(error);
      void loadStore().catch(() => undefined); // it may have been replaced
      return false;
    },
  );
  last = sent;
  return sent;
}

export function decide(entries: Entry[]): Promise<boolean> {
  if (!entries.length) return Promise.resolve(false);
  const text = describe(entries);
  return send(entries, (answer) => {
    undoable.push({ previous: answer.previous, text });
    say(`${text}.`);
  });
}

export const decideRows = (of: Of, rows: Iterable<number>, action: string) =>
  decide([...rows].map((row) => ({ of, row, action })));

export async function undo(): Promise<Entry[]> {
  const done = undoable.pop();
  if (!done) {
    say("There is nothing to undo.");
    return [];
  }
  const ok = await send(done.previous, () => say(`Undone: ${done.text}.`));
  if (!ok) undoable.push(done);
  return done.previous;
}
