// The groups of one kind of finding: an outline of all, and those near the one under review.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Entry, getGroups, getOutline, type Group, type Outline } from "./api";
import { saved } from "./decisions";
import { sayError, store, update, view } from "./state";

const PAGE = 20;

interface Loaded {
  kind: string;
  outline: Outline;
  groups: ReadonlyMap<number, Group>; // by place
}

const nothing = (kind: string): Loaded => ({ kind, outline: { measures: [], values: [], decided: [] }, groups: new Map() });

export const loaded = signal<Loaded>(nothing(""));
const asked = new Set<string>();

async function loadPage(kind: string, page: number): Promise<void> {
  const name = `${kind} ${page}`;
  const last = Math.ceil(loaded.peek().outline.values.length / PAGE) - 1;
  if (page < 0 || page > last || asked.has(name)) return;
  asked.add(name);
  try {
    const got = await getGroups(kind, page * PAGE, PAGE);
    if (loaded.peek().kind !== kind) return;
    const groups = new Map(loaded.peek().groups);
    got.forEach((group, at) => groups.set(page * PAGE + at, group));
    loaded.value = { ...loaded.peek(), groups };
  } catch (error) {
    asked.delete(name);
    sayError(error);
  }
}

/** Load a kind when it is chosen or its findings change, and the groups around one. */
export function useGroups(kind: string, place: number): Loaded {
  const findings = store.value?.kinds.find((entry) => entry.kind === kind)?.findings;
  useEffect(() => {
    if (!kind) return;
    asked.clear();
    loaded.value = nothing(kind);
    getOutline(kind).then((outline) => {
      if (loaded.peek().kind !== kind) return;
      loaded.value = { ...nothing(kind), outline };
      const open = outline.decided.indexOf(false);
      if (open > 0 && !view.peek().group) update({ group: open }); // begin with what is left
    }, sayError);
  }, [kind, findings]);
  const { outline } = loaded.value;
  useEffect(() => {
    if (loaded.peek().kind !== kind) return;
    const page = pageOf(place);
    void loadPage(kind, page).then(() => loadPage(kind, page + 1));
  }, [kind, place, outline.values.length]);
  return loaded.value.kind === kind ? loaded.value : nothing(kind);
}

export const isDecided = (group: Group) => group.rows.every((row) => row.action || row.covered);

/** Write the actions just saved into the groups on the screen; others that they settle are asked for. */
export function takeSaved(): void {
  const actions = new Map(saved.value.map((entry) => [entry.index, entry.action]));
  const old = loaded.peek();
  const groups = new Map(old.groups);
  const decided = [...old.outline.decided];
  for (const [place, group] of old.groups) {
    if (!group.rows.some((row) => actions.has(row.index))) continue;
    const next = { ...group, rows: group.rows.map((row) => ({ ...row, action: actions.get(row.index) ?? row.action })) };
    groups.set(place, next);
    decided[place] = isDecided(next);
  }
  loaded.value = { ...old, outline: { ...old.outline, decided }, groups };
  if (saved.value.length && old.kind) void refresh(old.kind);
}

const pageOf = (place: number) => Math.floor(place / PAGE);

/** Ask again for the outline and the pages around the group under review; other pages are forgotten. */
async function refresh(kind: string): Promise<void> {
  const before = [...new Set([...loaded.peek().groups.keys()].map(pageOf))];
  const page = pageOf(view.peek().group);
  const pages = before.filter((each) => each === page || each === page + 1);
  const found = await Promise.all([getOutline(kind), ...pages.map((page) => getGroups(kind, page * PAGE, PAGE))]).catch(() => null);
  if (!found || loaded.peek().kind !== kind) return;
  const [outline, ...got] = found;
  const groups = new Map([...loaded.peek().groups].filter(([place]) => !before.includes(pageOf(place)))); // loaded meanwhile
  got.forEach((some, nth) => some.forEach((group, at) => groups.set(pages[nth]! * PAGE + at, group)));
  for (const each of before) if (!pages.includes(each)) asked.delete(`${kind} ${each}`);
  loaded.value = { kind, outline, groups };
  const now = pageOf(view.peek().group); // a decision goes on to another group meanwhile
  await loadPage(kind, now).then(() => loadPage(kind, now + 1));
}

const ALL_PAGE = 100; // the most that the server gives at once

/** What is suggested for the rows of a group that are not decided; nothing where no copy would stay. */
function openSuggestions({ rows }: Group): Entry[] {
  const open = rows.filter(({ action, covered, suggestion }) => !action && !covered && suggestion && suggestion !== "review");
  const drops = (row: (typeof rows)[number]) => (open.includes(row) ? row.suggestion : row.action || row.covered) === "drop";
  if (rows.length > 1 && rows.every(drops)) return [];
  return open.map(({ index, of, row, suggestion }) => ({ index, of, row, action: suggestion }));
}

/** The suggestions of some groups, but for those to look at and what is decided already. */
export async function suggestionsOf(kind: string, places: readonly number[]): Promise<Entry[]> {
  const wanted = new Set(places);
  const entries: Entry[] = [];
  for (const page of new Set(places.map((place) => Math.floor(place / ALL_PAGE)))) {
    const groups = await getGroups(kind, page * ALL_PAGE, ALL_PAGE);
    for (const [at, group] of groups.entries())
      if (wanted.has(page * ALL_PAGE + at)) entries.push(...openSuggestions(group));
  }
  return entries;
}
