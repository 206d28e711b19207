// Virtual grid: only rows in sight exist; keyboard and mouse select, open and search for more like this.

import { Component } from "preact";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import type { Card, Of, Rows } from "./api";
import { cards } from "./cards";
import { isFrozen } from "./frozen";
import { Icon } from "./icon";
import { onlySelected, openCard, selection, store, update, view } from "./state";
import { count, thousands } from "./text";
import { nameOf, TileFace } from "./tile";

const GAP_PX = 8;
const CAPTION_PX = 22;
const TALLEST_PX = 12_000_000; // browsers lay out no more; beyond it, scrolling is scaled
const OVERSCAN = 2;

/** Width and height of an element, as they change. */
export function useBox(): [{ current: HTMLDivElement | null }, { width: number; height: number }] {
  const ref = useRef<HTMLDivElement>(null);
  const [box, setBox] = useState({ width: 0, height: 0 });
  useLayoutEffect(() => {
    const look = () => {
      const { clientWidth: width, clientHeight: height } = ref.current!;
      setBox((old) => (old.width === width && old.height === height ? old : { width, height }));
    };
    look(); // so that the first frame is drawn to size
    const seen = new ResizeObserver(look);
    seen.observe(ref.current!);
    return () => seen.disconnect();
  }, []);
  return [ref, box];
}

/** Select what lies between two places of the list, or one more, or one less. */
function choose(rows: Int32Array, from: number, to: number, extend: boolean): void {
  const next = new Set(selection.value);
  if (extend) for (let at = Math.min(from, to); at <= Math.max(from, to); at++) next.add(rows[at]!);
  else if (!next.delete(rows[to]!)) next.add(rows[to]!);
  selection.value = next;
  if (!next.size) onlySelected.value = false;
}

interface TileProps {
  of: Of;
  row: number;
  place: number;
  column: number;
  card: Card | undefined;
  score: number | undefined;
  side: number;
  height: number;
  focused: boolean;
  chosen: boolean;
  pick: (event: MouseEvent, place: number, check: boolean) => void;
}

/** Drawn again only when something of it has changed: while scrolling, most have not. */
class Tile extends Component<TileProps> {
  override shouldComponentUpdate(next: TileProps): boolean {
    return (Object.keys(next) as (keyof TileProps)[]).some((key) => key !== "pick" && next[key] !== this.props[key]);
  }

  override render({ of, row, place, column, card, score, side, height, focused, chosen }: TileProps) {
    const pick = (check: boolean) => (event: MouseEvent) => {
      event.stopPropagation();
      this.props.pick(event, place, check);
    };
    return (
      <div
        id={`${of}-cell-${place}`}
        class={`tile${focused ? " focus" : ""}${chosen ? " chosen" : ""}`}
        role="gridcell"
        aria-selected={chosen}
        aria-colindex={column + 1}
        title={card && nameOf(card)}
        style={{ width: `${side}px`, height: `${height}px` }}
        onClick={pick(false)}
      >
        <TileFace of={of} card={card} size={side} score={score} />
        <span class="check" title="Select (space)" onClick={pick(true)}>
          {chosen && <Icon name="check" />}
        </span>
        {card?.v && !isFrozen && (
          <span
            class="more"
            title={`More like ${nameOf(card)} (s)`}
            onClick={(event) => {
              event.stopPropagation();
              moreLikeThis(of, row);
            }}
          >
            <Icon name="similar" />
          </span>
        )}
      </div>
    );
  }
}

/** Where tiles are: columns, sizes, and how far scrolling is scaled. */
function layoutOf(box: { width: number; height: number }, size: number, n: number) {
  const columns = Math.max(1, Math.floor((box.width - GAP_PX) / (size + GAP_PX)));
  const side = box.width ? Math.floor((box.width - GAP_PX) / columns) - GAP_PX : size;
  const lineHeight = side + (side > 110 ? CAPTION_PX : 0) + GAP_PX;
  const lines = Math.ceil(n / columns);
  const full = lines * lineHeight + GAP_PX;
  const height = Math.min(full, TALLEST_PX);
  const stretch = height < full ? (full - box.height) / (height - box.height) : 1;
  return { columns, side, lineHeight, lines, height, stretch };
}

interface GridProps {
  rows: Rows;
  of: Of;
  size: number;
  label: string;
}

export function Grid({ rows: { rows, scores }, of, size, label }: GridProps) {
  const [ref, box] = useBox();
  const [top, setTop] = useState(0); // of the line that is first in sight; of the window where scrolling is scaled
  const [focus, setFocus] = useState(0);
  const anchor = useRef(0);
  const { columns, side, lineHeight, lines, height, stretch } = useMemo(
    () => layoutOf(box, size, rows.length),
    [box, size, rows.length],
  );
  const at = top * stretch; // where the window is among all the lines
  const first = Math.max(0, Math.floor(at / lineHeight) - OVERSCAN);
  const below = Math.min(lines, Math.ceil((at + box.height) / lineHeight) + 1 + OVERSCAN);
  const end = box.width ? below : first; // before it has a size, nothing is fetched
  const inSight = useMemo(
    () => Array.from(rows.subarray(first * columns, end * columns)),
    [rows, first, end, columns],
  );

  useEffect(() => cards.want(of, inSight), [of, inSight]);
  const shown = cards.read(of, inSight);
  const missing = shown.some((card) => !card);
  useEffect(() => {
    if (!missing) return;
    const timer = setInterval(() => cards.want(of, inSight), 1000); // what failed or was pushed out
    return () => clearInterval(timer);
  }, [missing, of, inSight]);

  // Other rows: begin at the top. The list itself changes with every answer, so compare its content.
  const head = `${of}${rows.length}:${rows[0]}:${rows[rows.length - 1]}`;
  useLayoutEffect(() => {
    ref.current!.scrollTop = 0;
    setTop(0);
    setFocus(0);
    anchor.current = 0;
  }, [head]);

  const current = Math.min(focus, Math.max(0, rows.length - 1));
  const scrollTo = (place: number) => {
    const element = ref.current!;
    const [now, lineTop] = [element.scrollTop * stretch, Math.floor(place / columns) * lineHeight];
    if (lineTop < now) element.scrollTop = lineTop / stretch;
    else if (lineTop + lineHeight + GAP_PX > now + box.height)
      element.scrollTop = (lineTop + lineHeight + GAP_PX - box.height) / stretch;
  };
  const move = (place: number, extend: boolean) => {
    const next = Math.max(0, Math.min(rows.length - 1, place));
    if (extend) choose(rows, anchor.current, next, true);
    else anchor.current = next;
    setFocus(next);
    scrollTo(next);
  };
  const openRow = (place: number) => openCard(cards.read(of, [rows[place]!])[0]);

  const onKeyDown = (event: KeyboardEvent) => {
    const page = Math.max(1, Math.floor(box.height / lineHeight)) * columns;
    const steps: Record<string, number> = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -columns,
      ArrowDown: columns,
      PageUp: -page,
      PageDown: page,
      Home: -rows.length,
      End: rows.length,
    };
    if (!rows.length || event.altKey) return;
    if (event.key in steps) move(current + steps[event.key]!, event.shiftKey);
    else if (event.key === " ") choose(rows, anchor.current, current, event.shiftKey);
    else if (event.key === "Enter") openRow(current);
    else if (event.key === "a" && (event.ctrlKey || event.metaKey)) selection.value = new Set(rows);
    else if (event.key === "s" && !isFrozen && !event.ctrlKey && !event.metaKey) moreLikeThis(of, rows[current]!);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };

  const pick = (event: MouseEvent, place: number, check: boolean) => {
    setFocus(place);
    if (check || event.shiftKey || event.ctrlKey || event.metaKey) choose(rows, anchor.current, place, event.shiftKey);
    else openRow(place);
    anchor.current = place;
  };

  return (
    <div
      ref={ref}
      class="grid"
      role="grid"
      tabIndex={0}
      aria-label={label}
      aria-rowcount={lines}
      aria-colcount={columns}
      aria-multiselectable="true"
      aria-activedescendant={rows.length ? `${of}-cell-${current}` : undefined}
      onKeyDown={onKeyDown}
      onScroll={({ currentTarget: { scrollTop } }) =>
        setTop(stretch === 1 ? Math.floor(scrollTop / lineHeight) * lineHeight : scrollTop)
      }
    >
      <div class="canvas" role="presentation" style={{ height: `${height}px` }}>
        {Array.from({ length: Math.max(0, end - first) }, (_, index) => {
          const line = first + index;
          return (
            <div
              key={line}
              class="line"
              role="row"
              aria-rowindex={line + 1}
              style={{ transform: `translateY(${Math.round(line * lineHeight + GAP_PX - at + top)}px)` }}
            >
              {Array.from(rows.subarray(line * columns, (line + 1) * columns), (row, column) => {
                const place = line * columns + column;
                return (
                  <Tile
                    key={row}
                    of={of}
                    row={row}
                    place={place}
                    column={column}
                    card={shown[place - first * columns]}
                    score={scores?.[place]}
                    side={side}
                    height={lineHeight - GAP_PX}
                    focused={place === current}
                    chosen={selection.value.has(row)}
                    pick={pick}
                  />
                );
              })}
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** Search for what is like a row; minus takes its likeness away. */
export function moreLikeThis(of: Of, row: number, minus = false): void {
  const terms = view.value.terms.filter((term) => term.type !== "like" || term.value !== String(row));
  const kept = of === view.value.of ? terms : [];
  const typed = minus ? view.value.typed : "";
  update({ tab: "grid", of, typed, terms: [...(minus ? kept : []), { type: "like", value: String(row), minus }] });
  onlySelected.value = false;
}

/** "120 of 2,985 items", and the size of the tiles. */
export function GridBar({ rows }: { rows: Rows }) {
  const known = store.value;
  if (!known) return null;
  const { of, size } = view.value;
  const all = known[of];
  const some = rows.rows.length === all ? count(all, of.slice(0, -1)) : `${thousands(rows.rows.length)} of ${count(all, of.slice(0, -1))}`;
  return (
    <div class="bar">
      <div class="switch" role="group" aria-label="What to show">
        {(["items", "objects"] as const).map((what) => (
          <button type="button" aria-pressed={of === what} disabled={!known[what]} onClick={() => update({ of: what })}>
            {what === "items" ? "Items" : "Objects"}
          </button>
        ))}
      </div>
      <output class="total">
        {some}
        {rows.scores ? ", most similar first" : ""}
        {onlySelected.value ? ", selected only" : ""}
      </output>
      <label class="size">
        <span>Size</span>
        <input
          type="range"
          min={80}
          max={480}
          step={20}
          value={size}
          aria-label="Size of the pictures"
          onInput={(event) => update({ size: Number(event.currentTarget.value) })}
        />
      </label>
    </div>
  );
}
