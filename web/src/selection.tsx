// The bar at the bottom: what is selected and what to do with it, undo, and how far the review is.

import { computed } from "@preact/signals";
import { type Card, getCards, type Of } from "./api";
import { decideRows, canUndo } from "./decisions";
import { Download } from "./download";
import { Icon } from "./icon";
import { undoThere } from "./review";
import { dialog, notice, onlySelected, result, say, sayError, selection, store, view } from "./state";
import { count, thousands } from "./text";
import { nameOf } from "./tile";

/** How many of the selected are not among the rows shown: they are decided on as well. */
const hidden = computed(() => {
  const chosen = selection.value;
  let n = chosen.size;
  if (n) for (const row of result.value.rows) if (chosen.has(row)) n -= 1;
  return n;
});

const AT_ONCE = 200;

/** Copy the names of what is selected, one per line. */
async function copyNames(of: Of, rows: number[]): Promise<void> {
  const found: Card[] = [];
  for (let at = 0; at < rows.length; at += AT_ONCE) found.push(...(await getCards(of, rows.slice(at, at + AT_ONCE))));
  await navigator.clipboard.writeText(found.map(nameOf).join("\n"));
  say(`Copied ${count(found.length, "name")}.`);
}

function Selected({ n }: { n: number }) {
  const { of } = view.value;
  const act = (action: string) => void decideRows(of, selection.value, action);
  return (
    <div class="selected" role="toolbar" aria-label="Selection">
      <strong>
        {count(n, of.slice(0, -1))} selected{hidden.value ? `, ${thousands(hidden.value)} not shown` : ""}
      </strong>
      <button type="button" onClick={() => act("drop")}>
        Drop <kbd>d</kbd>
      </button>
      <button type="button" onClick={() => act("keep")}>
        Keep <kbd>x</kbd>
      </button>
      <button type="button" onClick={() => (dialog.value = "relabel")}>
        {of === "objects" ? "Relabel…" : "Label…"} <kbd>l</kbd>
      </button>
      {of === "items" && (
        <>
          <button type="button" onClick={() => (dialog.value = "move")}>
            Move… <kbd>v</kbd>
          </button>
          <button type="button" onClick={() => (dialog.value = "tag")}>
            Tag… <kbd>t</kbd>
          </button>
        </>
      )}
      <button type="button" onClick={() => act("")}>
        Clear decision <kbd>c</kbd>
      </button>
      <button type="button" onClick={() => void copyNames(of, [...selection.value]).catch(sayError)}>
        Copy names
      </button>
      <button type="button" aria-pressed={onlySelected.value} onClick={() => (onlySelected.value = !onlySelected.value)}>
        Only these
      </button>
      <button
        type="button"
        onClick={() => {
          selection.value = new Set();
          onlySelected.value = false;
        }}
      >
        Deselect
      </button>
    </div>
  );
}

export function BottomBar() {
  const known = store.value;
  const n = selection.value.size;
  const kinds = (known?.kinds ?? []).filter(({ kind }) => kind !== "picked");
  const reviewed = kinds.reduce((sum, kind) => sum + kind.reviewed, 0);
  const groups = kinds.reduce((sum, kind) => sum + kind.groups, 0);
  const said = notice.value;
  return (
    <footer class="bottom">
      {n > 0 && view.value.tab !== "review" && <Selected n={n} />}
      <p class={`notice${said?.bad ? " bad" : ""}`} role={said?.bad ? "alert" : "status"}>
        {said?.text}
      </p>
      <span class="spring" />
      {groups > 0 && (
        <span class="reviewed">
          {thousands(reviewed)} of {thousands(groups)} reviewed
        </span>
      )}
      <button type="button" disabled={!canUndo.value} title={canUndo.value} onClick={() => void undoThere()}>
        <Icon name="undo" /> Undo <kbd>u</kbd>
      </button>
      {known?.frozen ? (
        <Download />
      ) : (
        <button type="button" class="primary" disabled={!known?.decided} onClick={() => (dialog.value = "apply")}>
          Apply…
        </button>
      )}
    </footer>
  );
}
