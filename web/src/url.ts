// What the page shows, and the same as the part of the address after "#", so that a reload restores it.

import type { Of } from "./api";

export type Tab = "grid" | "map" | "review" | "info";

/** One term of a search. `minus` takes its likeness away. */
export interface Term {
  type: "text" | "like" | "image";
  value: string; // the text, the row, or the id of an image
  minus: boolean;
}

export const FACETS = ["subset", "split", "label", "status", "kind", "decided", "action"] as const;
export type Facet = (typeof FACETS)[number];

export interface View {
  tab: Tab;
  of: Of;
  typed: string; // the text field
  terms: Term[];
  filters: Record<Facet, string[]>;
  id: string; // part of an id
  size: number; // of a tile, px
  open: number; // item shown at the right; -1 is none
  mark: number; // number of the object to stress in it; -1 is none
  color: string;
  against: string; // one label against the rest
  kind: string; // under review
  group: number; // its place among the kind's groups
}

export const SIZES = { smallest: 80, usual: 160, largest: 480 };
const TABS: Tab[] = ["grid", "map", "review", "info"];
const KEYS: Record<Term["type"], [plus: string, minus: string]> = {
  text: ["text", "nottext"],
  like: ["like", "unlike"],
  image: ["image", "notimage"],
};

const noFilters = () => Object.fromEntries(FACETS.map((facet) => [facet, []])) as unknown as Record<Facet, string[]>;

export function emptyView(): View {
  return {
    tab: "grid",
    of: "items",
    typed: "",
    terms: [],
    filters: noFilters(),
    id: "",
    size: SIZES.usual,
    open: -1,
    mark: -1,
    color: "label",
    against: "",
    kind: "",
    group: 0,
  };
}

/** The text in the field as a term; a leading minus takes its likeness away. Null where there is none. */
export function typedTerm(view: View): Term | null {
  const typed = view.typed.trim();
  const value = typed.replace(/^-\s*/, "");
  return value ? { type: "text", value, minus: typed.startsWith("-") } : null;
}

/** Terms, and what is being typed. */
const asked = (view: View): Term[] => [...view.terms, typedTerm(view)].filter((term) => term !== null);

/** Whether there is something to be like; minus terms alone find nothing. */
export const hasPlus = (view: View) => asked(view).some((term) => !term.minus);

/** What the server is asked for: terms and filters. */
export function queryOf(view: View): string {
  const query = new URLSearchParams({ of: view.of });
  for (const facet of FACETS) for (const value of view.filters[facet]) query.append(facet, value);
  if (view.id) query.set("id", view.id);
  if (hasPlus(view)) for (const term of asked(view)) query.append(KEYS[term.type][term.minus ? 1 : 0], term.value);
  return query.toString();
}

export function writeHash(view: View): string {
  const usual = emptyView();
  const hash = new URLSearchParams();
  for (const name of ["tab", "of", "typed", "id", "size", "open", "mark", "color", "against", "kind", "group"] as const)
    if (view[name] !== usual[name]) hash.set(name === "kind" ? "review" : name, String(view[name]));
  for (const term of view.terms) hash.append(KEYS[term.type][term.minus ? 1 : 0], term.value);
  for (const facet of FACETS) for (const value of view.filters[facet]) hash.append(facet, value);
  return hash.toString();
}

function termsOf(hash: URLSearchParams): Term[] {
  const terms: Term[] = [];
  for (const [key, value] of hash)
    for (const [type, keys] of Object.entries(KEYS))
      if (keys.includes(key)) terms.push({ type: type as Term["type"], value, minus: key === keys[1] });
  return terms;
}

export function readHash(text: string): View {
  const hash = new URLSearchParams(text.replace(/^#/, ""));
  const view = emptyView();
  const number = (name: string, usual: number, low: number, high: number) => {
    const value = Number(hash.get(name) ?? usual);
    return Number.isInteger(value) ? Math.min(high, Math.max(low, value)) : usual;
  };
  const tab = hash.get("tab") as Tab;
  if (TABS.includes(tab)) view.tab = tab;
  if (hash.get("of") === "objects") view.of = "objects";
  for (const name of ["typed", "id", "color", "against"] as const) view[name] = hash.get(name) ?? view[name];
  view.size = number("size", SIZES.usual, SIZES.smallest, SIZES.largest);
  view.open = number("open", -1, -1, 2 ** 31);
  view.mark = number("mark", -1, -1, 2 ** 31);
  view.group = number("group", 0, 0, 2 ** 31);
  view.kind = hash.get("review") ?? "";
  view.terms = termsOf(hash);
  for (const facet of FACETS) view.filters[facet] = hash.getAll(facet);
  return view;
}
