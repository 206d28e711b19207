// The page: search at the top, filters at the left, grid, map or review in the middle, an item at the right.

import { effect } from "@preact/signals";
import { render } from "preact";
import { useEffect } from "preact/hooks";
import { Apply } from "./apply";
import { saved } from "./decisions";
import { OpenDialog } from "./dialogs";
import { activeFilters, Filters } from "./filters";
import { Grid, GridBar } from "./grid";
import { takeSaved } from "./groups";
import { Icon } from "./icon";
import { Info } from "./info";
import { ItemPanel } from "./item";
import { listen } from "./keyboard";
import { MapTab } from "./map";
import { Review } from "./review";
import { DropHint, FindById, Search, useDroppedImages } from "./search";
import { BottomBar } from "./selection";
import { dialog, follow, loadStore, lost, progress, reload, sayError, searching, shown, store, update, view } from "./state";
import type { Tab } from "./url";
import "./style.css";

const TABS: Record<Tab, string> = { grid: "Grid", map: "Map", review: "Review", info: "Info" };

function Tabs() {
  const { tab } = view.value;
  const names = Object.keys(TABS) as Tab[];
  const onKeyDown = (event: KeyboardEvent) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by) return;
    const next = names[(names.indexOf(tab) + by + names.length) % names.length]!;
    update({ tab: next });
    document.getElementById(`tab-${next}`)?.focus();
    event.preventDefault();
  };
  return (
    <div class="tabs" role="tablist" aria-label="Views" onKeyDown={onKeyDown}>
      {names.map((name) => (
        <button
          type="button"
          role="tab"
          id={`tab-${name}`}
          aria-selected={tab === name}
          aria-controls="panel"
          tabIndex={tab === name ? 0 : -1}
          onClick={() => update({ tab: name })}
        >
          {TABS[name]} <kbd>{name[0]}</kbd>
        </button>
      ))}
    </div>
  );
}

const REPLACED =
  "Another store is at this path now. The page shows the old one, and decisions cannot be saved: start datumaro-embed explore again.";

/** What goes on in the background, and what is wrong. */
function Banners() {
  const known = store.value;
  const audit = progress.value.audit;
  const warnings = [lost.value, known?.replaced ? REPLACED : known?.read_only, ...(known?.problems ?? [])].filter(Boolean);
  return (
    <div class="banners">
      {warnings.map((text) => (
        <p class="warning" role="alert">
          {text}
        </p>
      ))}
      {audit?.state === "running" && (
        <p role="status">
          Auditing the dataset{audit.note ? `: ${audit.note}` : ""}{" "}
          <progress {...(audit.total ? { max: audit.total, value: audit.done } : {})} aria-label="Audit" />
        </p>
      )}
      {audit?.state === "failed" && <p class="warning">The audit failed: {audit.note}</p>}
    </div>
  );
}

function Panel() {
  const { tab, of, size } = view.value;
  const rows = shown.value;
  if (tab === "review") return <Review />;
  if (tab === "map") return <MapTab />;
  if (tab === "info") return <Info />;
  return (
    <>
      <Grid rows={rows} of={of} size={size} label={of === "items" ? "Items" : "Objects"} />
      {!rows.rows.length && !searching.value && <p class="empty">Nothing matches. Remove a filter or a term.</p>}
    </>
  );
}

function App() {
  useDroppedImages();
  const known = store.value;
  const { tab, open } = view.value;
  const n = activeFilters();
  const filtered = tab === "grid" || tab === "map";
  useEffect(() => {
    if (known) document.title = `${known.name} – datumaro-embed`;
  }, [known?.name]);
  if (!known)
    return (
      <p class="empty" role="status">
        {lost.value || "Opening the store…"}
      </p>
    );
  return (
    <>
      <header class="top">
        <h1 title={known.path}>
          <bdi>{known.name}</bdi>
        </h1>
        <Tabs />
        {known.frozen ? <FindById /> : <Search />}
        {filtered && (
          <button type="button" class="open-filters" onClick={() => (dialog.value = "filters")}>
            <Icon name="filter" /> Filters{n ? ` (${n})` : ""}
          </button>
        )}
        <button type="button" class="quiet" aria-label="Keys (?)" onClick={() => (dialog.value = "help")}>
          ?
        </button>
      </header>
      <Banners />
      <div class={`middle${open >= 0 ? " with-item" : ""}`} data-filtered={filtered}>
        {filtered && (
          <aside class="sidebar" aria-label="Filters">
            <Filters />
          </aside>
        )}
        <main>
          <div id="panel" role="tabpanel" aria-labelledby={`tab-${tab}`}>
            {filtered && <GridBar rows={shown.value} />}
            <Panel />
          </div>
        </main>
        {open >= 0 && <ItemPanel />}
      </div>
      <BottomBar />
      {dialog.value === "apply" ? <Apply /> : <OpenDialog key={dialog.value} />}
      <DropHint />
    </>
  );
}

loadStore().then(follow, (error: unknown) => {
  lost.value = error instanceof Error ? error.message : String(error);
});
effect(takeSaved);
effect(() => {
  const { decided, action } = view.peek().filters;
  if (saved.value.length && (decided.length || action.length)) reload().catch(sayError);
});
listen();
render(<App />, document.getElementById("app")!);
