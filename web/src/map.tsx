// Map of all items or objects: lasso or box → selection; colors by label, split, finding, or one label against the rest.

import { signal } from "@preact/signals";
import { useEffect, useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { getCodes, getMap, getRows, type MapPoints, type Of } from "./api";
import { cards } from "./cards";
import { COLORS, colorOf, isFrequent } from "./colors";
import { Grid, useBox } from "./grid";
import { type Corner, LAYER, Scatter } from "./scatter";
import { onlySelected, openCard, progress, result, sayError, selection, shown, store, update, view } from "./state";
import { count, thousands } from "./text";
import { CardPicture, labelsOf, nameOf } from "./tile";

const RETRY_MS = 700;
const CLICK_PX = 4; // less than that is no lasso
const GRAY = "#8b949e";
const ACCENT = "#e0218a";

const BY = { label: "Label", subset: "Subset", split: "Split", finding: "Finding", status: "Status" };
type Mode = "lasso" | "box" | "pan";
const mode = signal<Mode>("lasso");

const bytesOf = (color: string) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

/** Points as they come: PCA at once, then UMAP. */
function usePoints(of: Of): MapPoints | null {
  const [points, setPoints] = useState<MapPoints | null>(null);
  useEffect(() => {
    let [timer, current] = [0, true];
    setPoints(null);
    const ask = () =>
      getMap(of)
        .then((got) => {
          if (!current) return;
          if (got) setPoints(got);
          if (!got?.final) timer = setTimeout(ask, RETRY_MS);
        })
        .catch(sayError);
    void ask();
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [of]);
  return points;
}

interface Coloring {
  codes: Uint16Array; // by row of the whole table
  legend: { name: string; color: string; n: number }[];
  shades: string[]; // by code
}

/** The most frequent names get colors, labels those of their boxes; the others are gray. */
function coloring(codes: Uint16Array, names: string[], rows: Int32Array, areLabels = false): Coloring {
  const counts = new Array<number>(names.length).fill(0);
  for (const row of rows) counts[codes[row]!]! += 1;
  const order = [...names.keys()].filter((code) => counts[code]).sort((a, b) => counts[b]! - counts[a]!);
  const shades = names.map(() => GRAY);
  const named = order.filter((code) => names[code] && (!areLabels || isFrequent(names[code]!))).slice(0, COLORS.length);
  named.forEach((code, at) => (shades[code] = areLabels ? colorOf(names[code]!) : COLORS[at]!));
  const legend = named.map((code) => ({ name: names[code]!, color: shades[code]!, n: counts[code]! }));
  const rest = order.filter((code) => !named.includes(code));
  const n = rest.reduce((sum, code) => sum + counts[code]!, 0);
  if (n) legend.push({ name: rest.length > 1 ? `${rest.length} others` : names[rest[0]!] || "none", color: GRAY, n });
  return { codes, legend, shades };
}

function useColoring(of: Of, points: MapPoints | null): Coloring | null {
  const [made, setMade] = useState<Coloring | null>(null);
  const { color, against } = view.value;
  const decided = store.value?.kinds; // findings may have come
  useEffect(() => {
    if (!points) return;
    const control = new AbortController();
    const one = async () => {
      const { rows } = await getRows(new URLSearchParams({ of, label: against }).toString(), control.signal);
      const codes = new Uint16Array(store.value![of]);
      for (const row of rows) codes[row] = 1;
      const got = coloring(codes, ["the rest", against], points.rows);
      got.shades = [GRAY, colorOf(against)];
      got.legend = got.legend
        .map((entry) => ({ ...entry, color: entry.name === against ? colorOf(against) : GRAY }))
        .sort((a, b) => Number(a.color === GRAY) - Number(b.color === GRAY));
      return got;
    };
    const each = async () => {
      const by = color in BY ? color : "label";
      const { codes, names } = await getCodes(of, by);
      return coloring(codes, names, points.rows, by === "label");
    };
    void (against ? one() : each()).then((got) => !control.signal.aborted && setMade(got), sayError);
    return () => control.abort();
  }, [of, points, color, against, decided?.length]);
  return points && made ? made : null;
}

/** One byte for each row of the table: whether it is among these. */
function maskOf(rows: Iterable<number>): Uint8Array {
  const mask = new Uint8Array(store.value![view.value.of]);
  for (const row of rows) mask[row] = 1;
  return mask;
}

/** Red, green, blue and layer of each point: filters dim, a selection comes to the front. */
function paint(points: MapPoints, colors: Coloring, found: Int32Array, selected: ReadonlySet<number>): Uint8Array {
  const { rows } = points;
  const rgb = new Uint8Array(4 * rows.length);
  const bytes = colors.shades.map(bytesOf);
  const [gray, accent] = [bytesOf(GRAY), bytesOf(ACCENT)];
  const visible = found.length < store.value![view.value.of] ? maskOf(found) : null;
  const chosen = selected.size ? maskOf(selected) : null;
  for (let at = 0; at < rows.length; at++) {
    const row = rows[at]!;
    const dim = visible !== null && !visible[row];
    const layer = chosen?.[row] ? LAYER.chosen : dim || chosen ? LAYER.dim : LAYER.usual;
    const color = layer === LAYER.chosen ? accent : dim ? gray : (bytes[colors.codes[row]!] ?? gray);
    for (let part = 0; part < 3; part++) rgb[4 * at + part] = color[part]!;
    rgb[4 * at + 3] = layer;
  }
  return rgb;
}

function Hover({ of, row, at }: { of: Of; row: number; at: Corner }) {
  useEffect(() => cards.want(of, [row]), [of, row]);
  const card = cards.read(of, [row])[0];
  return (
    <div class="hover" style={{ left: `${at[0] + 14}px`, top: `${at[1] + 14}px` }}>
      {card && (
        <>
          <CardPicture of={of} card={card} size={160} />
          <bdi>{labelsOf(card).join(", ")}</bdi>
          <bdi class="faint">{nameOf(card)}</bdi>
        </>
      )}
    </div>
  );
}

const Ring = ({ at: [x, y] }: { at: Corner }) => (
  <svg class="lasso" aria-hidden="true">
    <circle cx={x} cy={y} r={7} />
  </svg>
);

const boxOf = ([x0, y0]: Corner, [x1, y1]: Corner): Corner[] => [
  [x0, y0],
  [x1, y0],
  [x1, y1],
  [x0, y1],
];

function Points({ points, of, colors }: { points: MapPoints; of: Of; colors: Coloring }) {
  const [box, size] = useBox();
  const canvas = useRef<HTMLCanvasElement>(null);
  const scatter = useRef<Scatter | null>(null);
  const drag = useRef<Corner | null>(null);
  const [line, setLine] = useState<Corner[]>([]);
  const [pointed, setPointed] = useState(-1);

  // Before the browser hands out events: a pointer may be over the map already.
  useLayoutEffect(() => {
    scatter.current ??= new Scatter(canvas.current!);
    scatter.current.setPoints(points.x, points.y);
  }, [points]);
  useEffect(() => scatter.current!.resize(size.width, size.height), [size]);
  const [found, chosen] = [result.value.rows, selection.value];
  useEffect(
    () => scatter.current!.setColors(paint(points, colors, found, chosen)),
    [points, colors, found, chosen],
  );
  useEffect(() => {
    // Not by the attribute: such listeners are passive, and the page would scroll as well.
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      scatter.current!.zoomBy(1.0015 ** -event.deltaY, [event.offsetX, event.offsetY]);
    };
    const element = canvas.current!;
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, []);

  const place = (event: PointerEvent): Corner => [event.offsetX, event.offsetY];
  const take = (polygon: readonly Corner[], more: boolean) => {
    const found = scatter.current!.inside(polygon).map((point) => points.rows[point]!);
    selection.value = new Set(more ? [...selection.value, ...found] : found);
    onlySelected.value = found.length > 0;
  };
  // Events come faster than the component is drawn: the path is kept in a reference as well.
  const path = useRef<Corner[]>([]);
  const draw = (corners: Corner[]) => setLine((path.current = corners));
  const down = (event: PointerEvent) => {
    canvas.current!.setPointerCapture(event.pointerId);
    drag.current = place(event);
    setPointed(-1);
    if (mode.value !== "pan" && event.button === 0) draw([place(event)]);
  };
  const go = (event: PointerEvent) => {
    const at = place(event);
    const [begin] = path.current;
    if (!drag.current) setPointed(scatter.current!.nearest(at));
    else if (begin) draw(mode.value === "box" ? boxOf(begin, at) : [...path.current, at]);
    else {
      scatter.current!.pan(at[0] - drag.current[0], at[1] - drag.current[1]);
      drag.current = at;
    }
  };
  const up = (event: PointerEvent) => {
    const far = path.current.some(([x, y]) => Math.hypot(x - path.current[0]![0], y - path.current[0]![1]) > CLICK_PX);
    if (far) take(path.current, event.shiftKey);
    else if (path.current.length) click(place(event));
    drag.current = null;
    draw([]);
  };
  const click = (at: Corner) => {
    const point = scatter.current!.nearest(at);
    if (point < 0) {
      selection.value = new Set();
      onlySelected.value = false;
      return;
    }
    openCard(cards.read(of, [points.rows[point]!])[0]);
  };
  const inView = () => take(boxOf([0, 0], [size.width, size.height]), false);
  const onKeyDown = (event: KeyboardEvent) => {
    const it = scatter.current!;
    const keys: Record<string, () => void> = {
      ArrowLeft: () => it.pan(60, 0),
      ArrowRight: () => it.pan(-60, 0),
      ArrowUp: () => it.pan(0, 60),
      ArrowDown: () => it.pan(0, -60),
      "+": () => it.zoomBy(1.3),
      "=": () => it.zoomBy(1.3),
      "-": () => it.zoomBy(1 / 1.3),
      "0": () => it.fit(),
      Enter: inView,
    };
    const act = keys[event.key];
    if (!act || event.ctrlKey || event.metaKey) return;
    act();
    event.preventDefault();
    event.stopPropagation();
  };

  return (
    <div ref={box} class="scatter">
      <canvas
        ref={canvas}
        data-drag={mode.value}
        tabIndex={0}
        role="img"
        aria-label={`Map of ${count(points.rows.length, of.slice(0, -1))}. Arrows move, plus and minus zoom, 0 shows all, Enter selects what is in view.`}
        onPointerDown={down}
        onPointerMove={go}
        onPointerUp={up}
        onPointerCancel={() => draw([])}
        onPointerLeave={() => setPointed(-1)}
        onDblClick={() => scatter.current!.fit()}
        onContextMenu={(event) => event.preventDefault()}
        onKeyDown={onKeyDown}
      />
      {line.length > 1 && (
        <svg class="lasso" aria-hidden="true">
          <polygon points={line.map((corner) => corner.join()).join(" ")} />
        </svg>
      )}
      {pointed >= 0 && !drag.current && <Ring at={scatter.current!.toPixel(pointed)} />}
      {pointed >= 0 && !drag.current && (
        <Hover of={of} row={points.rows[pointed]!} at={scatter.current!.toPixel(pointed)} />
      )}
      <div class="tools">
        <div class="switch" role="group" aria-label="What dragging does">
          {(["lasso", "box", "pan"] as const).map((what) => (
            <button type="button" aria-pressed={mode.value === what} onClick={() => (mode.value = what)}>
              {{ lasso: "Lasso", box: "Box", pan: "Pan" }[what]}
            </button>
          ))}
        </div>
        <button type="button" onClick={inView}>
          Select in view
        </button>
        <button type="button" onClick={() => scatter.current!.fit()}>
          Show all
        </button>
      </div>
    </div>
  );
}

function Legend({ legend }: { legend: Coloring["legend"] }) {
  const { color, against, of } = view.value;
  const labels = store.value?.labels ?? [];
  return (
    <div class="coloring">
      <label>
        Color by
        <select value={against ? "label" : color} onChange={(event) => update({ color: event.currentTarget.value, against: "" })}>
          {Object.entries(BY).map(([value, text]) => (
            <option value={value}>{text}</option>
          ))}
        </select>
      </label>
      <label>
        One label
        <select value={against} onChange={(event) => update({ against: event.currentTarget.value })}>
          <option value="">All labels</option>
          {labels.map(({ name }) => (
            <option value={name}>{name}</option>
          ))}
        </select>
      </label>
      <ul class="legend" aria-label={`Colors of the ${of}`}>
        {legend.map(({ name, color: shade, n }) => (
          <li>
            <svg class="dot" viewBox="0 0 10 10" aria-hidden="true">
              <circle cx="5" cy="5" r="5" fill={shade} />
            </svg>
            <bdi>{name}</bdi> <span class="n">{thousands(n)}</span>
          </li>
        ))}
      </ul>
    </div>
  );
}

export function MapTab() {
  const { of, size } = view.value;
  const points = usePoints(of);
  const colors = useColoring(of, points);
  const step = progress.value.map;
  const method = points && { pca: "PCA", umap: "UMAP" }[points.method];
  const rows = useMemo(() => shown.value, [shown.value]);
  return (
    <div class="map-tab">
      <div class="plane">
        {points && colors ? (
          <Points points={points} of={of} colors={colors} />
        ) : (
          <p class="empty" role="status">
            Making the map{step?.note ? `: ${step.note}` : ""}…
          </p>
        )}
        <div class="under">
          {colors && <Legend legend={colors.legend} />}
          <p class="faint">
            {points && `${count(points.rows.length, of.slice(0, -1))} by ${method}`}
            {points && (points.method === "pca" ? ": distances along the two main directions of variation" : ": neighbors stay close, distances between groups mean nothing")}
            {points && !points.final && <span role="status">, UMAP is being made…</span>}
          </p>
        </div>
      </div>
      <Grid rows={rows} of={of} size={Math.min(size, 160)} label={`${of} of the map`} />
    </div>
  );
}
