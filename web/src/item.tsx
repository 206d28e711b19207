// One item: the whole image with its boxes, everything known of it, and its nearest neighbors.

import { useEffect, useRef, useState } from "preact/hooks";
import { type Card, getItem, getRows, image, type Item, type ObjectBox, type Of } from "./api";
import { cards } from "./cards";
import { colorClass } from "./colors";
import { decideRows, saved } from "./decisions";
import { isFrozen } from "./frozen";
import { moreLikeThis } from "./grid";
import { Icon } from "./icon";
import { dialog, openCard, sayError, selection, update, view } from "./state";
import { actionText, kindName, thousands } from "./text";
import { ActionBadge, CardPicture, labelsOf, missing, nameOf, Picture } from "./tile";

const NEIGHBORS = 12;

function useItem(row: number): Item | null {
  const [item, setItem] = useState<Item | null>(null);
  const changed = saved.value; // an action was set or undone
  useEffect(() => {
    const control = new AbortController();
    getItem(row, control.signal).then(setItem, sayError);
    return () => control.abort();
  }, [row, changed]);
  return item?.row === row ? item : null;
}

function Near({ row }: { row: number }) {
  const [rows, setRows] = useState<number[]>([]);
  useEffect(() => {
    const control = new AbortController();
    setRows([]);
    getRows(`of=items&like=${row}`, control.signal)
      .then((got) => setRows([...got.rows.subarray(0, NEIGHBORS + 1)].filter((other) => other !== row).slice(0, NEIGHBORS)))
      .catch(() => undefined); // an item without a vector has no neighbors
    return () => control.abort();
  }, [row]);
  useEffect(() => cards.want("items", rows), [rows]);
  const found = cards.read("items", rows).filter((card): card is Card => card !== undefined);
  if (!found.length) return null;
  return (
    <section class="near">
      <h3>Nearest</h3>
      <ul>
        {found.map((card) => (
          <li key={card.row}>
            <button type="button" class="show" aria-label={`Open ${nameOf(card)}`} onClick={() => openCard(card)}>
              <CardPicture of="items" card={card} size={160} />
            </button>
            <bdi>{labelsOf(card).join(", ") || card.id}</bdi>
          </li>
        ))}
      </ul>
    </section>
  );
}

/** Select one row, and ask what is to become of it. */
function ask(of: Of, row: number, what: typeof dialog.value): void {
  update({ of });
  selection.value = new Set([row]);
  dialog.value = what;
}

interface ObjectProps {
  box: ObjectBox;
  mark: (number: number) => void;
}

function ObjectRow({ box, mark }: ObjectProps) {
  return (
    <li onMouseEnter={() => mark(box.number)} onMouseLeave={() => mark(-1)} onFocusCapture={() => mark(box.number)} onBlurCapture={() => mark(-1)}>
      <span class={`dot ${colorClass(box.label)}`} />
      <bdi>{box.label}</bdi>
      {box.object !== null && <ObjectActions row={box.object} label={box.label} />}
    </li>
  );
}

function ObjectActions({ row, label }: { row: number; label: string }) {
  useEffect(() => cards.want("objects", [row]), [row]);
  const action = cards.read("objects", [row])[0]?.action ?? "";
  return (
    <>
      <ActionBadge action={action} />
      <span class="spring" />
      {!isFrozen && (
        <button type="button" class="quiet" onClick={() => moreLikeThis("objects", row)} aria-label={`More like this ${label}`} title="More like this">
          <Icon name="similar" />
        </button>
      )}
      <button type="button" class="quiet" onClick={() => ask("objects", row, "relabel")}>
        Relabel…
      </button>
      <button
        type="button"
        class="quiet"
        aria-pressed={action === "drop"}
        onClick={() => void decideRows("objects", [row], action === "drop" ? "" : "drop")}
      >
        Drop
      </button>
    </>
  );
}

function ItemActions({ item }: { item: Item }) {
  const set = (action: string) => void decideRows("items", [item.row], item.action === action ? "" : action);
  return (
    <div class="actions" role="group" aria-label="Decision">
      <button type="button" aria-pressed={item.action === "keep"} onClick={() => set("keep")}>
        Keep
      </button>
      <button type="button" aria-pressed={item.action === "drop"} onClick={() => set("drop")}>
        Drop
      </button>
      <button type="button" onClick={() => ask("items", item.row, "move")}>
        Move…
      </button>
      <button type="button" onClick={() => ask("items", item.row, "tag")}>
        Tag…
      </button>
      {!isFrozen && (
        <button type="button" onClick={() => moreLikeThis("items", item.row)}>
          <Icon name="similar" /> More like this
        </button>
      )}
    </div>
  );
}

function Facts({ item }: { item: Item }) {
  const facts: [string, string][] = [
    ["Path", item.path],
    ["Size", item.width ? `${item.width} × ${item.height} px` : ""],
    ["Subset", item.subset + (item.split && item.split !== item.subset ? ` (${item.split})` : "")],
    ["Status", item.status + (item.error ? `: ${item.error}` : "") + (item.has_vector ? ", has a vector" : ", no vector")],
    ...Object.entries(item.attributes ?? {}).map(([name, value]): [string, string] => [name, String(value)]),
  ];
  return (
    <dl>
      {facts
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <>
            <dt>
              <bdi>{name}</bdi>
            </dt>
            <dd>
              <bdi>{value}</bdi>
            </dd>
          </>
        ))}
    </dl>
  );
}

/** Annotations that are no box: captions, labels of the whole image, masks. */
function Others({ item }: { item: Item }) {
  const others = item.annotations.filter(({ type }) => type !== "bbox");
  if (!others.length) return null;
  return (
    <section>
      <h3>Other annotations ({others.length})</h3>
      <ul class="list">
        {others.map(({ type, label, text, attributes }) => (
          <li>
            <span class="faint">{type}</span>
            <bdi>{[label, text, ...Object.entries(attributes).map(([name, value]) => `${name}=${value}`)].filter(Boolean).join(", ")}</bdi>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Body({ item }: { item: Item }) {
  const [marked, setMarked] = useState(-1);
  return (
    <>
      <div class="full">
        <Picture
          src={missing(item) ? "" : image(item.row, item.v)}
          alt={nameOf(item)}
          missing={missing(item)}
          frame={item}
          marked={marked < 0 ? view.value.mark : marked}
        />
      </div>
      <ItemActions item={item} />
      {item.findings.length > 0 && (
        <section>
          <h3>Findings</h3>
          <ul class="list">
            {item.findings.map((finding) => (
              <li key={finding.index}>
                <span>
                  <strong>{kindName(finding.kind)}</strong> <bdi>{finding.reason}</bdi>
                </span>
                <span class="spring" />
                <ActionBadge action={finding.action} />
                {!finding.action && finding.suggestion && finding.suggestion !== "review" && <span class="faint">{actionText(finding.suggestion)}?</span>}
              </li>
            ))}
          </ul>
        </section>
      )}
      {item.boxes.length > 0 && (
        <section>
          <h3>
            Objects ({thousands(item.n_boxes)}
            {item.n_boxes > item.boxes.length ? `, the first ${item.boxes.length} shown` : ""})
          </h3>
          <ul class="list">
            {item.boxes.map((box) => (
              <ObjectRow key={box.number} box={box} mark={setMarked} />
            ))}
          </ul>
        </section>
      )}
      <Others item={item} />
      <Facts item={item} />
      {!isFrozen && <Near row={item.row} />}
    </>
  );
}

export function ItemPanel() {
  const row = view.value.open;
  const item = useItem(row);
  const panel = useRef<HTMLElement>(null);
  useEffect(() => panel.current?.scrollTo(0, 0), [row]);
  return (
    <aside ref={panel} class="item" aria-label="Item">
      <header>
        <h2>
          <bdi>{item ? nameOf(item) : "…"}</bdi>
        </h2>
        <button type="button" class="quiet" aria-label="Close (Esc)" onClick={() => update({ open: -1, mark: -1 })}>
          <Icon name="close" />
        </button>
      </header>
      {item ? <Body key={row} item={item} /> : <p class="empty">Loading…</p>}
    </aside>
  );
}
