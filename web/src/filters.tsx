// Filters with their counts: values of one filter are alternatives, filters combine.

import { useState } from "preact/hooks";
import type { Store } from "./api";
import { colorClass } from "./colors";
import { store, update, view } from "./state";
import { byReviewOrder, kindName, thousands } from "./text";
import { emptyView, FACETS, type Facet } from "./url";

interface Choice {
  value: string;
  text: string;
  n?: number | undefined;
}

const SHOWN = 12;

function toggle(facet: Facet, value: string): void {
  const { filters } = view.value;
  const old = filters[facet];
  const next = old.includes(value) ? old.filter((entry) => entry !== value) : [...old, value];
  update({ filters: { ...filters, [facet]: next } });
}

/** A long list is searched: a label among 1,200. */
function FacetGroup({ facet, title, choices }: { facet: Facet; title: string; choices: Choice[] }) {
  const [sought, setSought] = useState("");
  const [all, setAll] = useState(false);
  const chosen = view.value.filters[facet];
  if (choices.length < 2 && !chosen.length) return null;
  const found = choices.filter((choice) => choice.text.toLowerCase().includes(sought.toLowerCase()));
  const listed = all || sought ? found.slice(0, 500) : found.filter((choice, at) => at < SHOWN || chosen.includes(choice.value));
  return (
    <fieldset class="facet">
      <legend>{title}</legend>
      {choices.length > SHOWN && (
        <input
          type="search"
          class="small"
          value={sought}
          placeholder={`Find among ${thousands(choices.length)}`}
          aria-label={`Find a ${title.toLowerCase()}`}
          onInput={(event) => setSought(event.currentTarget.value)}
        />
      )}
      {listed.map(({ value, text, n }) => (
        <label key={value} class="choice">
          <input type="checkbox" checked={chosen.includes(value)} onChange={() => toggle(facet, value)} />
          {facet === "label" && <span class={`dot ${colorClass(value)}`} />}
          <bdi title={text}>{text || "(none)"}</bdi>
          {n !== undefined && <span class="n">{thousands(n)}</span>}
        </label>
      ))}
      {found.length > SHOWN && !sought && (
        <button type="button" class="link" onClick={() => setAll(!all)}>
          {all ? "Fewer" : `All ${thousands(found.length)}`}
        </button>
      )}
    </fieldset>
  );
}

function splitChoices(known: Store): Choice[] {
  const counts = new Map<string, number>();
  for (const { split, items } of known.subsets) counts.set(split, (counts.get(split) ?? 0) + items);
  return [...counts].map(([value, n]) => ({ value, text: value, n }));
}

function choicesOf(known: Store, facet: Facet): Choice[] {
  const objects = view.value.of === "objects";
  const named = (entries: { name: string; items: number }[]) =>
    entries.map(({ name, items }) => ({ value: name, text: name, n: objects ? undefined : items }));
  switch (facet) {
    case "subset":
      return named(known.subsets);
    case "split": {
      const splits = splitChoices(known);
      const same = splits.length === known.subsets.length && splits.every(({ value }, at) => known.subsets[at]!.name === value);
      return same ? [] : splits; // the subsets say it already
    }
    case "label":
      return known.labels.map(({ name, items, objects: n }) => ({ value: name, text: name, n: objects ? n : items }));
    case "status":
      return objects ? [] : named(known.statuses);
    case "kind":
      return [...known.kinds].sort(byReviewOrder).map(({ kind, findings }) => ({ value: kind, text: kindName(kind), n: findings }));
    case "decided":
      return [
        { value: "yes", text: "Decided" },
        { value: "no", text: "Not decided" },
      ];
    case "action":
      return ["drop", "keep", "label", "subset", "attribute"].map((value) => ({
        value,
        text: { drop: "Drop", keep: "Keep", label: "Relabel", subset: "Move", attribute: "Tag" }[value]!,
      }));
  }
}

const TITLES: Record<Facet, string> = {
  subset: "Subset",
  split: "Split",
  label: "Label",
  status: "Status",
  kind: "Finding",
  decided: "Decision",
  action: "Action",
};

export const activeFilters = () =>
  FACETS.reduce((sum, facet) => sum + view.value.filters[facet].length, view.value.id ? 1 : 0);

export function Filters() {
  const known = store.value;
  if (!known) return null;
  const n = activeFilters();
  return (
    <div class="filters">
      <div class="head">
        <h2>Filters</h2>
        {n > 0 && (
          <button type="button" class="link" onClick={() => update({ filters: emptyView().filters, id: "" })}>
            Clear {n}
          </button>
        )}
      </div>
      {!known.frozen && (
        <label class="facet">
          <span class="title">Id contains</span>
          <input
            type="search"
            class="small"
            maxLength={1000}
            spellcheck={false}
            value={view.value.id}
            onInput={(event) => update({ id: event.currentTarget.value })}
          />
        </label>
      )}
      {FACETS.map((facet) => (
        <FacetGroup key={facet} facet={facet} title={TITLES[facet]} choices={choicesOf(known, facet)} />
      ))}
    </div>
  );
}
