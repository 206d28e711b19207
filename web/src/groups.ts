// The groups of one kind of finding: the first at once, the others as they come.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { getGroups, type Group } from "./api";
import { saved } from "./decisions";
import { sayError, store } from "./state";

const FIRST = 50;
const NEXT = 500;

interface Loaded {
  kind: string;
  groups: Group[];
  total: number;
}

export const loaded = signal<Loaded>({ kind: "", groups: [], total: 0 });

async function load(kind: string, current: () => boolean): Promise<void> {
  let groups: Group[] = [];
  for (let total = 1; groups.length < total && current(); ) {
    const answer = await getGroups(kind, groups.length, groups.length ? NEXT : FIRST);
    if (!current()) return;
    groups = [...groups, ...answer.groups];
    total = answer.groups.length ? answer.total : groups.length;
    loaded.value = { kind, groups, total };
  }
}

/** Load a kind when it is chosen, or when new findings have come. */
export function useGroups(kind: string): Loaded {
  const findings = store.value?.kinds.find((entry) => entry.kind === kind)?.findings;
  useEffect(() => {
    if (!kind) return;
    let current = true;
    load(kind, () => current).catch(sayError);
    return () => {
      current = false;
    };
  }, [kind, findings]);
  return loaded.value.kind === kind ? loaded.value : { kind, groups: [], total: 0 };
}

/** Write the actions just saved into the groups on the screen. */
export function takeSaved(): void {
  const actions = new Map(saved.value.map((entry) => [entry.index, entry.action]));
  const { groups } = loaded.peek();
  if (!groups.some((group) => group.rows.some((row) => actions.has(row.index)))) return;
  loaded.value = {
    ...loaded.peek(),
    groups: groups.map((group) => ({
      ...group,
      rows: group.rows.map((row) => ({ ...row, action: actions.get(row.index) ?? row.action })),
    })),
  };
}

export const isDecided = (group: Group) => group.rows.every((row) => row.action !== "");

/** How suspicious a group is by its measure; null where nothing was measured. */
export const valueOf = (group: Group): number | null =>
  group.value ?? group.rows.find((row) => row.value !== null)?.value ?? null;
