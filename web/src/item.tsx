// One item: the whole image with its boxes, everything known of it, and what is near it.

import { useEffect, useRef, useState } from "preact/hooks";
import { type Card, getItem, getRows, image, type Item, type ObjectBox, type Of } from "./api";
import { cards } from "./cards";
import { decideRows, saved } from "./decisions";
import { moreLikeThis } from "./grid";
import { Icon } from "./icon";
import { dialog, sayError, selection, update, view } from "./state";
import { actionText, colorOf, kindName } from "./text";
import { ActionBadge, CardPicture, labelsOf, nameOf, Picture } from "./tile";

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
            <button type="button" class="show" aria-label={`Open ${nameOf(card)}`} onClick={() => update({ open: card.item })}>
              <CardPicture of="items" card={card} size={160} />
            </button>
            <bdi>{labelsOf(card).join(", ") || card.id}</bdi>
          </li>
        ))}
      </ul>
    </section>
  );
}

function relabel(of: Of, row: number, what: typeof dialog.value): void {
  update({ of });
  selection.value = new Set([row]);
  dialog.value = what;
}

function ObjectRow({ box, mark }: { box: ObjectBox; mark: (row: number) => void }) {
  useEffect(() => cards.want("objects", [box.object]), [box.object]);
  const card = cards.read("objects", [box.object])[0];
  return (
    <li onMouseEnter={() => mark(box.object)} onMouseLeave={() => mark(-1)} onFocusCapture={() => mark(box.object)} onBlurCapture={() => mark(-1)}>
      <span class={`dot color-${colorOf(box.label)}`} />
      <bdi>{box.label}</bdi>
      <ActionBadge action={card?.action ?? ""} />
      <span class="spring" />
      <button type="button" class="quiet" onClick={() => moreLikeThis("objects", box.object)} aria-label={`More like this ${box.label}`} title="More like this">
        <Icon name="similar" />
      </button>
      <button type="button" class="quiet" onClick={() => relabel("objects", box.object, "relabel")}>
        Relabel…
      </button>
      <button
        type="button"
        class="quiet"
        aria-pressed={card?.action === "drop"}
        onClick={() => void decideRows("objects", [box.object], card?.action === "drop" ? "" : "drop")}
      >
        Drop
      </button>
    </li>
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
      <button type="button" onClick={() => relabel("items", item.row, "move")}>
        Move…
      </button>
      <button type="button" onClick={() => relabel("items", item.row, "tag")}>
        Tag…
      </button>
      <button type="button" onClick={() => moreLikeThis("items", item.row)}>
        <Icon name="similar" /> More like this
      </button>
    </div>
  );
}

function Facts({ item }: { item: Item }) {
  const facts: [string, string][] = [
    ["Path", item.path],
    ["Size", item.width ? `${item.width} × ${item.height} px` : ""],
    ["Subset", item.subset + (item.split && item.split !== item.subset ? ` (${item.split})` : "")],
    ["Status", item.status + (item.error ? `: ${item.error}` : "")],
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

function Body({ item }: { item: Item }) {
  const [marked, setMarked] = useState(-1);
  return (
    <>
      <div class="full">
        <Picture
          src={item.v && image(item.row, item.v)}
          alt={nameOf(item)}
          missing={item.v ? "" : item.error || `No image (${item.status})`}
          frame={item}
          marked={marked}
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
                {!finding.action && finding.suggestion && <span class="faint">{actionText(finding.suggestion)}?</span>}
              </li>
            ))}
          </ul>
        </section>
      )}
      {item.boxes.length > 0 && (
        <section>
          <h3>Objects ({item.boxes.length})</h3>
          <ul class="list">
            {item.boxes.map((box) => (
              <ObjectRow key={box.object} box={box} mark={setMarked} />
            ))}
          </ul>
        </section>
      )}
      {item.annotations?.length > 0 && !item.boxes.length && (
        <section>
          <h3>Annotations</h3>
          <ul class="list">
            {item.annotations.map((text) => (
              <li>
                <bdi>{text}</bdi>
              </li>
            ))}
          </ul>
        </section>
      )}
      <Facts item={item} />
      <Near row={item.row} />
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
        <button type="button" class="quiet" aria-label="Close (Esc)" onClick={() => update({ open: -1 })}>
          <Icon name="close" />
        </button>
      </header>
      {item ? <Body key={row} item={item} /> : <p class="empty">Loading…</p>}
    </aside>
  );
}
