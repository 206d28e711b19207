// Review of findings: kind by kind, group by group, by keyboard or mouse.

import { computed, signal } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import type { Card, Entry, Group, GroupRow, Of } from "./api";
import { cards } from "./cards";
import { decide, undo } from "./decisions";
import { loaded, suggestionsOf, useGroups } from "./groups";
import { Icon } from "./icon";
import { dialog, notice, openCard, progress, say, store, update, view } from "./state";
import { actionText, byReviewOrder, count, kindName, thousands } from "./text";
import { emptyView } from "./url";
import { ActionBadge, CardPicture, labelsOf, nameOf } from "./tile";

const NEIGHBORS = 8;
const focused = signal(0); // row within the group
const least = signal(-Infinity); // threshold
const measure = signal(""); // only groups of this measure

/** The kind under review: the one chosen, or the first that is not done. */
export function currentKind(): string {
  const kinds = [...(store.value?.kinds ?? [])].sort(byReviewOrder);
  const chosen = kinds.find(({ kind }) => kind === view.value.kind);
  return (chosen ?? kinds.find(({ groups, reviewed }) => reviewed < groups) ?? kinds[0])?.kind ?? "";
}

/** Places of the groups that pass the threshold and the measure. */
const passing = computed<number[]>(() => {
  const { measures, values } = loaded.value.outline;
  return [...values.keys()].filter(
    (place) => (!measure.value || measures[place] === measure.value) && (values[place] ?? Infinity) >= least.value,
  );
});

/** Place of the group under review; -1 where there is none. */
const here = computed<number>(() => {
  const places = passing.value;
  return places.find((place) => place >= view.value.group) ?? places.at(-1) ?? -1;
});

const currentRows = (): GroupRow[] => loaded.value.groups.get(here.value)?.rows ?? [];

function goTo(place: number): void {
  focused.value = 0;
  update({ group: place });
}

function choose(kind: string): void {
  least.value = -Infinity;
  measure.value = "";
  focused.value = 0;
  notice.value = null; // it was about the kind before
  update({ kind, group: 0 });
}

/** Show every group of the kind, and go to the first that is left. */
function showAll(): void {
  least.value = -Infinity;
  measure.value = "";
  nextOpen();
}

/** The kind to review after this one: the next that is not done. */
function kindAfter(): string {
  const kinds = [...(store.value?.kinds ?? [])].sort(byReviewOrder);
  const open = kinds.filter(({ groups, reviewed, kind }) => reviewed < groups && kind !== view.value.kind);
  const place = kinds.findIndex(({ kind }) => kind === view.value.kind);
  return (open.find((entry) => kinds.indexOf(entry) > place) ?? open[0])?.kind ?? "";
}

const isDone = () => passing.value.every((place) => loaded.value.outline.decided[place]);

/** Groups that are left to review, and that the threshold or the measure hides. */
const hidden = computed<number>(() => {
  const shown = new Set(passing.value);
  return loaded.value.outline.decided.filter((decided, place) => !decided && !shown.has(place)).length;
});

const sayHidden = () => say(`${count(hidden.value, "group")} left to review, hidden by the threshold or measure.`);

export function step(by: 1 | -1): void {
  const next = passing.value[passing.value.indexOf(here.value) + by];
  if (by > 0 && isDone() && hidden.value) sayHidden();
  else if (by > 0 && isDone() && kindAfter()) choose(kindAfter());
  else if (next !== undefined) goTo(next);
  else say(by > 0 ? "This is the last group." : "This is the first group.");
}

/** Go to the next group that is left to review. */
export function nextOpen(): void {
  const { decided } = loaded.value.outline;
  const open = passing.value.filter((place) => !decided[place]);
  const next = open.find((place) => place > here.value) ?? open[0];
  if (next !== undefined) goTo(next);
  else if (hidden.value) sayHidden();
  else say("Every group is reviewed. Press n for the next kind.");
}

/** Focus the next row without an action, or go on to the next group. */
function goOn(): void {
  const rows = currentRows();
  const open = [...rows.keys()].map((at) => (focused.value + 1 + at) % rows.length).find((at) => !rows[at]!.action && !rows[at]!.covered);
  if (open === undefined) nextOpen();
  else focused.value = open;
}

const entryOf = ({ index, of, row }: GroupRow, action: string): Entry => ({ index, of, row, action });

const position = () => `${currentKind()} ${here.value} ${focused.value}`;

/** Decide, and go on unless someone has gone elsewhere before the answer came. */
async function decideHere(entries: Entry[], goesOn = true): Promise<void> {
  const before = position();
  if ((await decide(entries)) && goesOn && position() === before) goOn();
}

/** Decide on a row, by default the focused one. */
export async function decideFocused(action: string, row = focusedRow()): Promise<void> {
  if (row) await decideHere([entryOf(row, action)], action !== "" && row.index === focusedRow()?.index);
}

/** Do what is suggested for each row of the group. */
export async function acceptGroup(): Promise<void> {
  const rows = currentRows();
  const clear = rows.filter(({ suggestion }) => suggestion && suggestion !== "review");
  if (!clear.length) say("This one needs your decision: press d to drop or x to keep.");
  else await decideHere(clear.map((row) => entryOf(row, row.suggestion)));
}

/** The suggestions of every group that passes the threshold. */
export const suggestionsShown = () => suggestionsOf(view.value.kind, passing.value);

/** Drop the image of the focused object, and go on to one of another image. */
export async function dropImage(row = focusedRow()): Promise<void> {
  if (row?.of !== "objects") return;
  const before = position();
  if (!(await decide([{ of: "items", row: row.item, action: "drop" }])) || position() !== before) return;
  const next = currentRows().findIndex(({ item, action, covered }) => item !== row.item && !action && !covered);
  if (next >= 0) focused.value = next;
  else nextOpen();
}

/** Keep the focused row and drop the others of its group. */
export async function keepOnly(): Promise<void> {
  const rows = currentRows();
  const kept = rows[focused.value]?.item;
  if (rows.length > 1 && rows[0]!.of === "items") await decideHere(rows.map((row) => entryOf(row, row.item === kept ? "keep" : "drop")));
}

export function focusBy(by: number): void {
  const n = currentRows().length;
  focused.value = Math.max(0, Math.min(n - 1, focused.value + by));
}

const openRow = ({ of, row }: GroupRow) => openCard(cards.read(of, [row])[0]);

export function openFocused(): void {
  const row = currentRows()[focused.value];
  if (row) openRow(row);
}

/** Of which table the focused row is; what the dialogs act on. */
export const focusedRow = () => currentRows()[focused.value];

/** Undo, and go back to the group in which it was decided. */
export async function undoThere(): Promise<void> {
  const indices = new Set((await undo()).map(({ index }) => index));
  const found = [...loaded.value.groups].find(([, { rows }]) => rows.some(({ index }) => indices.has(index)));
  if (!found || view.value.tab !== "review") return;
  goTo(found[0]);
  focused.value = Math.max(0, found[1].rows.findIndex(({ index }) => indices.has(index)));
}

/** Show everything of a kind, most suspicious first: many can be selected at once. */
function showInGrid(kind: string): void {
  const of = currentRows()[0]?.of ?? "items";
  const { size, group } = view.value;
  update({ ...emptyView(), size, kind, group, of, filters: { ...emptyView().filters, kind: [kind] } });
}

function Kinds({ kind }: { kind: string }) {
  useEffect(() => document.querySelector(".kinds [aria-current=true]")?.scrollIntoView({ block: "nearest", inline: "nearest" }), [kind]);
  const kinds = [...(store.value?.kinds ?? [])].sort(byReviewOrder);
  return (
    <nav class="kinds" aria-label="Kinds of findings">
      {kinds.map((entry) => (
        <button
          type="button"
          key={entry.kind}
          aria-current={entry.kind === kind}
          onClick={() => choose(entry.kind)}
        >
          <span>{kindName(entry.kind)}</span>
          <span class="n">
            {thousands(entry.reviewed)} / {thousands(entry.groups)}
          </span>
        </button>
      ))}
    </nav>
  );
}

/** Which measure, and from which value on. */
function Threshold() {
  const { outline } = loaded.value;
  const measures = useMemo(() => [...new Set(outline.measures)], [outline.measures]);
  const values = useMemo(
    () =>
      outline.values
        .filter((value, place) => value !== null && (!measure.value || outline.measures[place] === measure.value))
        .sort((a, b) => a! - b!) as number[],
    [outline.values, measure.value],
  );
  const n = passing.value.length;
  const single = measures.length === 1 || measure.value !== "";
  const low = values[0];
  const distinct = values.length > 1 && low !== values.at(-1);
  return (
    <div class="threshold">
      {measures.length > 1 && (
        <label>
          Measure
          <select
            value={measure.value}
            onChange={(event) => {
              measure.value = event.currentTarget.value;
              least.value = -Infinity;
              goTo(0);
            }}
          >
            <option value="">all</option>
            {measures.map((name) => (
              <option value={name}>{name || "(none)"}</option>
            ))}
          </select>
        </label>
      )}
      {single && distinct && (
        <label>
          <span>
            {measure.value || measures[0]} ≥ {Math.max(low!, least.value).toFixed(3)}
          </span>
          <input
            type="range"
            min={0}
            max={values.length - 1}
            value={values.findIndex((value) => value >= least.value)}
            aria-label={`Minimum ${measure.value || measures[0]}`}
            aria-valuetext={`${Math.max(low!, least.value).toFixed(3)}: ${count(n, "group")}`}
            onInput={(event) => {
              const at = Number(event.currentTarget.value);
              least.value = at ? values[at]! : -Infinity;
            }}
          />
        </label>
      )}
      <output>{count(n, "group")}</output>
    </div>
  );
}

interface ActionsProps {
  row: GroupRow;
  name: string;
  focus: () => void;
}

function Actions({ row, name, focus }: ActionsProps) {
  const act = (action: string) => {
    focus();
    void decideFocused(row.action === action ? "" : action);
  };
  const suggested = /^(label|subset|attribute) /.test(row.suggestion) ? row.suggestion : "";
  return (
    <div class="actions" role="group" aria-label={`Decision on ${name}`}>
      {suggested && (
        <button type="button" class="suggested" aria-pressed={row.action === suggested} onClick={() => act(suggested)}>
          {actionText(suggested)} <kbd>a</kbd>
        </button>
      )}
      <button type="button" aria-pressed={row.action === "keep"} onClick={() => act("keep")}>
        Keep <kbd>x</kbd>
      </button>
      <button type="button" aria-pressed={row.action === "drop"} onClick={() => act("drop")}>
        Drop <kbd>d</kbd>
      </button>
      <button
        type="button"
        onClick={() => {
          focus();
          dialog.value = "relabel";
        }}
      >
        {row.of === "objects" ? "Relabel…" : "Label…"} <kbd>l</kbd>
      </button>
      {row.of === "objects" && (
        <button
          type="button"
          onClick={() => {
            focus();
            void dropImage(row);
          }}
        >
          Drop image <kbd>w</kbd>
        </button>
      )}
      {row.of === "items" && (
        <button
          type="button"
          onClick={() => {
            focus();
            dialog.value = "move";
          }}
        >
          Move… <kbd>v</kbd>
        </button>
      )}
    </div>
  );
}

function Row({ row, at }: { row: GroupRow; at: number }) {
  const card = cards.read(row.of, [row.row])[0];
  const here = at === focused.value;
  const focus = () => (focused.value = at);
  return (
    <li class={`finding${here ? " focus" : ""}`} aria-current={here} onClick={focus}>
      <button type="button" class="show" aria-label={`Open ${card ? nameOf(card) : "the item"}`} onClick={() => openRow(row)}>
        {card ? <CardPicture of={row.of} card={card} size={640} /> : <div class="picture waiting" />}
      </button>
      <div class="facts">
        <p class="name">
          <bdi>{card && nameOf(card)}</bdi> <ActionBadge action={row.action || (card?.action ?? "")} />
        </p>
        {card && labelsOf(card).length > 0 && (
          <p>
            <span class="faint">Label</span> <bdi>{labelsOf(card).join(", ")}</bdi>
          </p>
        )}
        {card && !card.object && card.width > 0 && (
          <p class="faint">
            {card.width} × {card.height} px
          </p>
        )}
        <p>
          {row.suggestion && <strong>{row.suggestion === "review" ? "review" : actionText(row.suggestion)}: </strong>}
          <bdi>{row.reason}</bdi>
        </p>
        {!row.action && row.covered && <p class="faint">Settled by another decision: {actionText(row.covered)}</p>}
      </div>
      <Actions row={row} name={card ? nameOf(card) : "the item"} focus={focus} />
    </li>
  );
}

/** The object in its image, and its nearest neighbors: does the label fit? */
function Context({ row, neighbors }: { row: GroupRow; neighbors: number[] }) {
  useEffect(() => cards.want("items", [row.item]), [row.item]);
  const item = cards.read("items", [row.item])[0];
  const own = cards.read(row.of, [row.row])[0];
  const near = neighbors.slice(0, NEIGHBORS);
  useEffect(() => cards.want(row.of, near), [row.of, near.join()]);
  const around = cards.read(row.of, near).filter((card): card is Card => card !== undefined);
  return (
    <div class="context">
      {row.of === "objects" && item && (
        <figure>
          <figcaption>Its image</figcaption>
          <CardPicture of="items" card={item} size={640} marked={own?.object?.number ?? -1} />
        </figure>
      )}
      {around.length > 0 && (
        <figure class="near">
          <figcaption>Nearest</figcaption>
          <ul>
            {around.map((card) => (
              <li>
                <button type="button" class="show" onClick={() => openCard(card)} aria-label={`Open ${nameOf(card)}`}>
                  <CardPicture of={row.of} card={card} size={160} />
                </button>
                <bdi>{labelsOf(card).join(", ")}</bdi>
              </li>
            ))}
          </ul>
        </figure>
      )}
    </div>
  );
}

function useCards(rows: readonly GroupRow[]): void {
  const key = rows.map(({ of, row }) => of + row).join();
  useEffect(() => {
    for (const of of ["items", "objects"] as Of[]) {
      const own = rows.filter((row) => row.of === of).map(({ row }) => row);
      if (own.length) cards.want(of, own);
    }
  }, [key]);
}

function GroupView({ group, place }: { group: Group; place: number }) {
  const rows = group.rows;
  useCards(rows);
  useEffect(() => {
    document.querySelector(".finding.focus")?.scrollIntoView({ block: "nearest" });
  }, [place, focused.value]);
  const [at, n] = [passing.value.indexOf(place), passing.value.length];
  const { value } = group;
  const one = rows.length === 1 ? rows[0] : undefined;
  return (
    <section class={`group${one ? " single" : ""}`} aria-label={`Group ${at + 1} of ${n}`}>
      <header>
        <button type="button" aria-label="Previous group (p)" onClick={() => step(-1)}>
          <Icon name="left" />
        </button>
        <h2 aria-live="polite">
          {thousands(at + 1)} of {thousands(n)}
        </h2>
        <button type="button" aria-label="Next group (n)" onClick={() => step(1)}>
          <Icon name="right" />
        </button>
        <span class="faint">
          {rows.length > 1 && `${count(rows.length, rows[0]!.of === "objects" ? "object" : "image")}, `}
          {value !== null && `${group.measure} ${value.toFixed(3)}`}
        </span>
        <span class="spring" />
        {rows.length > 1 && rows[0]!.of === "items" && (
          <button type="button" onClick={() => void keepOnly()}>
            Keep only this <kbd>o</kbd>
          </button>
        )}
        {isDone() && hidden.value > 0 && (
          <button type="button" class="primary" onClick={showAll}>
            Show {thousands(hidden.value)} hidden
          </button>
        )}
        {isDone() && !hidden.value && kindAfter() && (
          <button type="button" class="primary" onClick={() => choose(kindAfter())}>
            Next: {kindName(kindAfter())} <kbd>n</kbd>
          </button>
        )}
        {!isDone() && rows.some(({ suggestion }) => suggestion && suggestion !== "review") && (
          <button type="button" class="primary" onClick={() => void acceptGroup()}>
            Accept <kbd>a</kbd>
          </button>
        )}
      </header>
      <ol class="rows">
        {rows.map((row, index) => (
          <Row key={row.index} row={row} at={index} />
        ))}
      </ol>
      {one && <Context row={one} neighbors={group.neighbors ?? []} />}
    </section>
  );
}

export function Review() {
  const kind = currentKind();
  const { outline, groups } = useGroups(kind, here.value);
  useEffect(() => {
    if (kind !== view.value.kind) update({ kind, group: 0 }); // stays when it is done
  }, [kind]);
  const audit = progress.value.audit;
  const entry = store.value?.kinds.find((one) => one.kind === kind);
  if (!kind || !entry)
    return (
      <p class="empty" role="status">
        {audit?.state === "running"
          ? `The dataset is being audited: ${audit.note || "…"}`
          : audit?.state === "failed"
            ? "No audit was made, so there are no findings."
            : "There are no findings: nothing suspicious was found."}
      </p>
    );
  const place = here.value;
  const group = groups.get(place);
  return (
    <div class="reviews">
      <Kinds kind={kind} />
      <div class="reviewing">
        <div class="bar">
          <progress max={entry.groups} value={entry.reviewed} aria-label={`${kindName(kind)} reviewed`} />
          <output>
            {thousands(entry.reviewed)} of {thousands(entry.groups)} reviewed
          </output>
          <span class="spring" />
          <button type="button" onClick={() => showInGrid(kind)}>
            All in the grid
          </button>
          <button type="button" disabled={isDone()} onClick={() => (dialog.value = "accept")}>
            Accept all…
          </button>
          <Threshold />
        </div>
        {group ? (
          <GroupView group={group} place={place} />
        ) : (
          <p class="empty" role="status">
            {place < 0 && outline.values.length ? "No group passes the threshold." : "Loading…"}
          </p>
        )}
      </div>
    </div>
  );
}
