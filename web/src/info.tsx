// What the store holds, in numbers: subsets, labels by split, image sizes, failures, typical items.

import { useEffect, useState } from "preact/hooks";
import { getSummary, type Store, type Summary } from "./api";
import { cards } from "./cards";
import { openCard, progress, sayError, store, update, view } from "./state";
import { count, thousands } from "./text";
import { CardPicture, labelsOf, nameOf } from "./tile";
import { emptyView, type Facet } from "./url";

const SIDE = 260; // of the plot of sizes
const LISTED_SIZES = 12;

/** Show in the grid what has one value of a filter. */
function showOnly(facet: Facet, value: string): void {
  update({ ...emptyView(), size: view.value.size, filters: { ...emptyView().filters, [facet]: [value] } });
}

function Pictured({ row }: { row: number }) {
  useEffect(() => cards.want("items", [row]), [row]);
  const card = cards.read("items", [row])[0];
  if (!card) return <div class="picture waiting" />;
  return (
    <button type="button" class="show" aria-label={`Open ${nameOf(card)}`} title={labelsOf(card).join(", ")} onClick={() => openCard(card)}>
      <CardPicture of="items" card={card} size={160} />
    </button>
  );
}

function Numbers({ known, summary }: { known: Store; summary: Summary }) {
  const types = Object.entries(summary.annotations).map(([type, n]) => `${thousands(n)} ${type}`);
  const facts: [string, string][] = [
    ["Items", thousands(known.items)],
    ["With a vector", thousands(known.embedded)],
    ["Objects", known.objects ? thousands(known.objects) : ""],
    ["Annotations", types.join(", ")],
    ["Labels", thousands(known.labels.length)],
    ["Findings", thousands(known.kinds.reduce((sum, { findings }) => sum + findings, 0))],
    ["Model", known.model],
    ["Store", known.path],
  ];
  return (
    <dl class="numbers">
      {facts
        .filter(([, value]) => value)
        .map(([name, value]) => (
          <div>
            <dt>{name}</dt>
            <dd>
              <bdi>{value}</bdi>
            </dd>
          </div>
        ))}
    </dl>
  );
}

function Subsets({ known }: { known: Store }) {
  return (
    <table>
      <thead>
        <tr>
          <th scope="col">Subset</th>
          <th scope="col">Split</th>
          <th scope="col" class="n">
            Items
          </th>
        </tr>
      </thead>
      <tbody>
        {known.subsets.map(({ name, split, items }) => (
          <tr>
            <th scope="row">
              <button type="button" class="link" onClick={() => showOnly("subset", name)}>
                <bdi>{name}</bdi>
              </button>
            </th>
            <td>{split}</td>
            <td class="n">{thousands(items)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Labels({ labels }: { labels: Summary["labels"] }) {
  const [all, setAll] = useState(false);
  const splits = [...new Set(labels.flatMap((label) => Object.keys(label.splits)))];
  const shown = all ? labels : labels.slice(0, 30);
  return (
    <>
      <table>
        <thead>
          <tr>
            <th scope="col">Typical item</th>
            <th scope="col">Label</th>
            <th scope="col" class="n">
              Annotations
            </th>
            <th scope="col" class="n">
              Items
            </th>
            {splits.length > 1 &&
              splits.map((split) => (
                <th scope="col" class="n">
                  in {split}
                </th>
              ))}
          </tr>
        </thead>
        <tbody>
          {shown.map((label) => (
            <tr>
              <td class="small-picture">{label.example !== null && <Pictured row={label.example} />}</td>
              <th scope="row">
                <button type="button" class="link" onClick={() => showOnly("label", label.name)}>
                  <bdi>{label.name}</bdi>
                </button>
              </th>
              <td class="n">{thousands(label.annotations)}</td>
              <td class="n">{thousands(label.items)}</td>
              {splits.length > 1 && splits.map((split) => <td class="n">{thousands(label.splits[split] ?? 0)}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
      {labels.length > shown.length && (
        <button type="button" class="link" onClick={() => setAll(true)}>
          All {thousands(labels.length)}
        </button>
      )}
    </>
  );
}

/** Width against height; the area of a dot is the number of items. */
function Sizes({ sizes }: { sizes: Summary["sizes"] }) {
  const { counts } = sizes;
  const longest = counts.reduce((most, [width, height]) => Math.max(most, width, height), 1);
  const most = counts[0]?.[2] ?? 1;
  const shapes = (["landscape", "portrait", "square", "unknown"] as const).filter((shape) => sizes[shape]);
  return (
    <>
      <p>
        {count(sizes.different, "different size")}: {shapes.map((shape) => `${thousands(sizes[shape])} ${shape}`).join(", ")}
      </p>
      <div class="sizes">
        <svg viewBox={`-10 -10 ${SIDE + 20} ${SIDE + 20}`} width={SIDE} height={SIDE} role="img" aria-label={`Widths and heights, up to ${longest} pixels`}>
          <path d={`M0 0V${SIDE}H${SIDE}M0 ${SIDE}L${SIDE} 0`} class="axes" />
          {counts.map(([width, height, n]) => (
            <circle cx={(SIDE * width) / longest} cy={SIDE - (SIDE * height) / longest} r={2 + 8 * Math.sqrt(n / most)} class="size-dot" />
          ))}
        </svg>
        <table>
          <thead>
            <tr>
              <th scope="col">Width × height</th>
              <th scope="col" class="n">
                Items
              </th>
            </tr>
          </thead>
          <tbody>
            {counts.slice(0, LISTED_SIZES).map(([width, height, n]) => (
              <tr>
                <td>
                  {width} × {height}
                </td>
                <td class="n">{thousands(n)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </>
  );
}

function Failures({ failures }: { failures: Summary["failures"] }) {
  return (
    <>
      {failures.map(({ status, cause, items, examples }) => (
        <details>
          <summary>
            {thousands(items)} × <strong>{status}</strong>: <bdi>{cause}</bdi>
          </summary>
          <ul class="list">
            {examples.map(({ row, name, detail }) => (
              <li>
                <button type="button" class="link" onClick={() => update({ open: row, mark: -1 })}>
                  <bdi>{name}</bdi>
                </button>
                <bdi class="faint">{detail}</bdi>
              </li>
            ))}
          </ul>
          {items > examples.length && (
            <button type="button" class="link" onClick={() => showOnly("status", status)}>
              All in the grid
            </button>
          )}
        </details>
      ))}
    </>
  );
}

export function Info() {
  const known = store.value!;
  const [summary, setSummary] = useState<Summary | null>(null);
  useEffect(() => void getSummary().then(setSummary, sayError), []);
  if (!summary)
    return (
      <p class="empty" role="status">
        Counting{progress.value.map?.state === "running" ? " while the map is made" : ""}…
      </p>
    );
  return (
    <div class="info" tabIndex={0} role="region" aria-label="Numbers">
      <Numbers known={known} summary={summary} />
      <div class="halves">
        <div>
          <section>
            <h2>Subsets</h2>
            <Subsets known={known} />
          </section>
          {summary.failures.length > 0 && (
            <section>
              <h2>Failures</h2>
              <Failures failures={summary.failures} />
            </section>
          )}
          <section>
            <h2>Image sizes</h2>
            <Sizes sizes={summary.sizes} />
          </section>
          {summary.typical.length > 0 && (
            <section>
              <h2>Most typical items</h2>
              <p class="faint">Most similar to the mean of all vectors. For unusual items, see Outliers in the review.</p>
              <div class="typical">
                {summary.typical.map((row) => (
                  <Pictured row={row} />
                ))}
              </div>
            </section>
          )}
        </div>
        {summary.labels.length > 0 && (
          <section>
            <h2>Labels</h2>
            <Labels labels={summary.labels} />
          </section>
        )}
      </div>
    </div>
  );
}
