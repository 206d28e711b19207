// The report: answers what the server would, from what is in the page itself. page/frozen.py writes it.

import type { Box, Card, CardFinding, Decided, Entry, Group, GroupRow, Item, Kind, ObjectBox, Of, Store } from "./api";

type Cell = string | number | null;

interface Known {
  store: Omit<Store, "kinds" | "decided"> & { fingerprint: string };
  summary: unknown;
  items: {
    id: string[];
    subset: number[];
    split: number[];
    status: number[];
    width: number[];
    height: number[];
    sha256: string; // of all, 32 bytes each, base64
    errors: Record<number, string>;
    ends: number[]; // where the labels of each item end
    labels: number[];
    first: number[]; // the label that most annotations have; -1 none
    whole: number[]; // the one label of the whole image; -1 none or several
  };
  objects: { ends: number[]; box: number[]; label: number[]; status: number[] };
  subset_names: string[];
  split_names: string[];
  status_names: string[];
  object_status_names: string[];
  maps: Partial<Record<Of, { rows: number[]; x: number[]; y: number[]; method: string }>>;
  columns: string[];
  findings: Cell[][];
  places: ([of: Of, row: number, item: number] | null)[];
  near: Record<number, number[]>;
}

interface Finding {
  cells: Record<string, Cell>;
  of: Of;
  row: number;
  item: number;
  known: boolean; // the store has it
  action: string;
}

const PICKED = "picked";
const MOST_BOXES = 200;
const STEPS = 65_535;

const element = (id: string) => document.getElementById(id);

/** Whether the page is a report: a file, and no server behind it. */
export const isFrozen = element("data") !== null;

type Pictures = Record<Of, Record<number, string>>;
const pictures: Pictures = isFrozen ? JSON.parse(element("pictures")!.textContent!) : { items: {}, objects: {} };

function bytesOf(base64: string): Uint8Array<ArrayBuffer> {
  const text = atob(base64);
  return Uint8Array.from({ length: text.length }, (_, at) => text.charCodeAt(at));
}

async function unpack(): Promise<Report> {
  const packed = new Blob([bytesOf(element("data")!.textContent!)]);
  const text = await new Response(packed.stream().pipeThrough(new DecompressionStream("gzip"))).text();
  return (opened = new Report(JSON.parse(text) as Known));
}

let opened: Report | undefined;
let opening: Promise<Report> | undefined;

/** Answer a request as the server does. */
export async function answer(path: string, init?: RequestInit): Promise<Response> {
  const report = await (opening ??= unpack());
  const { pathname, searchParams } = new URL(path, "http://report/");
  return report.answer(pathname.slice(5), searchParams, init?.body);
}

/** The findings file with all decisions. */
export const findingsFile = () => opened!.toCsv();

/** Address of a picture: the part around an object is cut out of its item's, where it has none. */
export function picture(of: Of, row: number): string {
  const own = pictures[of][row];
  if (own) return `data:image/webp;base64,${own}`;
  return of === "objects" ? opened!.crop(row) : "";
}

const json = (content: unknown) => new Response(JSON.stringify(content));
const bytes = (parts: ArrayBufferView<ArrayBuffer>[], headers: Record<string, string> = {}) => new Response(new Blob(parts), { headers });
const refuse = (sentence: string) => new Response(JSON.stringify({ error: sentence }), { status: 400 });

/** ASCII letters of either case are the same, as for the server. */
const folded = (text: string) => text.replace(/[A-Z]/g, (letter) => letter.toLowerCase());

class Report {
  private readonly findings: Finding[];
  private readonly byItem = new Map<number, number[]>();
  private readonly owners: Int32Array; // of each object
  private readonly hashes: Uint8Array;

  constructor(private readonly known: Known) {
    const { ends } = known.objects;
    this.owners = new Int32Array(ends.at(-1) ?? 0);
    ends.forEach((end, item) => this.owners.fill(item, ends[item - 1] ?? 0, end));
    this.hashes = bytesOf(known.items.sha256);
    this.findings = known.findings.map((row, index) => {
      const [of, at, item] = known.places[index] ?? ["items", -1, -1];
      const cells = Object.fromEntries(known.columns.map((name, column) => [name, row[column]!]));
      return { cells, of: of as Of, row: at as number, item: item as number, known: known.places[index] !== null, action: String(cells.action) };
    });
    this.findings.forEach(({ item, known: there }, index) => there && this.note(item, index));
  }

  private note(item: number, index: number): void {
    const known = this.byItem.get(item);
    if (known) known.push(index);
    else this.byItem.set(item, [index]);
  }

  answer(name: string, query: URLSearchParams, body: unknown): Response {
    const of = (query.get("of") ?? "items") as Of;
    const kind = query.get("kind") ?? "";
    switch (name) {
      case "store":
        return json({ ...this.known.store, kinds: this.kinds(), decided: this.decided() });
      case "summary":
        return json(this.known.summary);
      case "progress":
        return json({});
      case "rows":
        return this.rows(of, query);
      case "cards":
        return json((query.get("rows") ?? "").split(",").filter(Boolean).map((row) => this.card(of, Number(row))));
      case "item":
        return json(this.item(Number(query.get("row"))));
      case "map":
        return this.map(of);
      case "codes": {
        const [codes, names] = this.codes(of, query.get("by") ?? "label");
        return query.get("names") ? json(names) : bytes([codes]);
      }
      case "groups":
        return query.get("outline") ? json(this.outline(kind)) : json(this.groups(kind, Number(query.get("offset")), Number(query.get("limit"))));
      case "decide":
        return json(this.decide((JSON.parse(String(body)) as { set: Entry[] }).set));
      default:
        return refuse("A report is a file. Run datumaro-embed explore for this.");
    }
  }

  // Rows ------------------------------------------------------------------------------------------

  private readonly count = (of: Of) => (of === "items" ? this.known.items.id.length : this.owners.length);
  private readonly itemOf = (of: Of, row: number) => (of === "items" ? row : this.owners[row]!);
  private readonly status = (of: Of, row: number) =>
    of === "items" ? this.known.status_names[this.known.items.status[row]!]! : (this.known.object_status_names[this.known.objects.status[row]!] ?? "ok");

  private labels(of: Of, row: number): string[] {
    const { items, objects, store } = this.known;
    const codes = of === "objects" ? [objects.label[row]!] : items.labels.slice(items.ends[row - 1] ?? 0, items.ends[row]);
    return codes.filter((code) => code >= 0).map((code) => store.labels[code]!.name);
  }

  private rows(of: Of, query: URLSearchParams): Response {
    if (["like", "unlike", "text", "nottext", "image", "notimage"].some((name) => query.has(name)))
      return refuse("A report compares no vectors. Run datumaro-embed explore to search by text, image or example.");
    const { items, subset_names, split_names } = this.known;
    const tests: ((row: number) => boolean)[] = [];
    const test = (name: string, valueOf: (row: number) => string[]) => {
      const wanted = new Set(query.getAll(name));
      if (wanted.size) tests.push((row) => valueOf(row).some((value) => wanted.has(value)));
    };
    test("subset", (row) => [subset_names[items.subset[this.itemOf(of, row)]!]!]);
    test("split", (row) => [split_names[items.split[this.itemOf(of, row)]!]!]);
    test("label", (row) => this.labels(of, row));
    test("status", (row) => [this.status(of, row)]);
    const part = folded(query.get("id") ?? "");
    if (part) tests.push((row) => folded(items.id[this.itemOf(of, row)]!).includes(part));
    const [kinds, actions, decided] = [query.getAll("kind"), query.getAll("action"), query.getAll("decided")];
    if (decided.length === 1) {
      const has = new Set(this.rowsOf(of, this.chosen(kinds, [], true)));
      tests.push((row) => has.has(row) === (decided[0] === "yes"));
    }
    const from = kinds.length || actions.length ? this.rowsOf(of, this.chosen(kinds, actions)) : Array(this.count(of)).keys();
    const found = Int32Array.from([...from].filter((row) => tests.every((passes) => passes(row))));
    if (query.get("sort") === "row") found.sort();
    return bytes([found], { "X-Count": String(found.length), "X-Scored": "0" });
  }

  /** Rows of some findings, each once; of items, those of objects count too. */
  private rowsOf(of: Of, indices: number[]): Set<number> {
    const found = indices.map((index) => this.findings[index]!);
    return new Set(of === "items" ? found.map(({ item }) => item) : found.filter((one) => one.of === of).map(({ row }) => row));
  }

  // Cards -----------------------------------------------------------------------------------------

  private boxes(item: number): ObjectBox[] {
    const { objects, items, store } = this.known;
    const [first, end] = [objects.ends[item - 1] ?? 0, objects.ends[item] ?? 0];
    const [width, height] = [items.width[item] || 1, items.height[item] || 1];
    return Array.from({ length: end - first }, (_, number) => {
      const [x, y, w, h] = objects.box.slice(4 * (first + number), 4 * (first + number) + 4) as [number, number, number, number];
      const label = store.labels[objects.label[first + number]!]?.name ?? "";
      const object = store.objects ? first + number : null;
      return { object, number, label, x: x / width, y: y / height, w: w / width, h: h / height };
    });
  }

  private numberOf(object: number): number {
    return object - (this.known.objects.ends[this.owners[object]! - 1] ?? 0);
  }

  /** What is drawn of an object where the file has no picture of its own. */
  crop(object: number): string {
    const item = this.owners[object]!;
    const whole = pictures.items[item];
    const box: Box = this.boxes(item)[this.numberOf(object)]!;
    const [width, height] = [this.known.items.width[item]!, this.known.items.height[item]!];
    if (!whole || !width || !height) return "";
    const margin = 0.15 * Math.max(box.w * width, box.h * height);
    const view = [box.x * width - margin, box.y * height - margin, box.w * width + 2 * margin, box.h * height + 2 * margin];
    const image = `<image href="data:image/webp;base64,${whole}" width="${width}" height="${height}" preserveAspectRatio="none"/>`;
    const size = `width="${Math.max(1, view[2]!)}" height="${Math.max(1, view[3]!)}"`;
    return `data:image/svg+xml;base64,${btoa(`<svg xmlns="http://www.w3.org/2000/svg" ${size} viewBox="${view.join(" ")}">${image}</svg>`)}`;
  }

  private card(of: Of, row: number): Card {
    const { items, subset_names, split_names } = this.known;
    const item = this.itemOf(of, row);
    const boxes = this.boxes(item);
    const object = of === "objects" ? boxes[this.numberOf(row)]! : null;
    const indices = (this.byItem.get(item) ?? []).filter((index) => {
      const one = this.findings[index]!;
      return this.isKept(one) && (of === "items" || (one.of === of && one.row === row));
    });
    const findings = indices.map((index): CardFinding => {
      const { cells, action } = this.findings[index]!;
      return { index, action, kind: String(cells.kind), object: cells.object as number | null, suggestion: String(cells.suggestion), reason: String(cells.reason) };
    });
    return {
      row,
      item,
      subset: subset_names[items.subset[item]!]!,
      id: items.id[item]!,
      split: split_names[items.split[item]!]!,
      status: this.status("items", item),
      error: items.errors[item] ?? "",
      labels: this.labels(of, row),
      width: items.width[item]!,
      height: items.height[item]!,
      v: pictures.items[item] || (of === "objects" && pictures.objects[row]) ? "report" : "",
      boxes: boxes.slice(0, MOST_BOXES),
      n_boxes: boxes.length,
      object,
      findings,
      action: findings.find(({ action, object: number }) => action && number === (object?.number ?? null))?.action ?? "",
    };
  }

  private item(row: number): Item {
    const has_vector = this.status("items", row) === "ok";
    return { ...this.card("items", row), path: "", has_vector, attributes: {}, n_annotations: 0, annotations: [] };
  }

  // Map -------------------------------------------------------------------------------------------

  private map(of: Of): Response {
    const found = this.known.maps[of]!;
    const place = (steps: number[]) => Float32Array.from(steps, (step) => (2 * step) / STEPS - 1);
    const parts = [Int32Array.of(found.rows.length), Int32Array.from(found.rows), place(found.x), place(found.y)];
    return bytes(parts, { "X-Method": found.method, "X-Final": "1" });
  }

  private codes(of: Of, by: string): [Uint16Array<ArrayBuffer>, string[]] {
    const { items, objects, store, subset_names, split_names, status_names, object_status_names } = this.known;
    const each = (valueOf: (row: number) => number) => Uint16Array.from({ length: this.count(of) }, (_, row) => Math.min(valueOf(row), STEPS));
    switch (by) {
      case "subset":
        return [each((row) => items.subset[this.itemOf(of, row)]!), subset_names];
      case "split":
        return [each((row) => items.split[this.itemOf(of, row)]!), split_names];
      case "status":
        return of === "items" ? [each((row) => items.status[row]!), status_names] : [each((row) => objects.status[row]!), object_status_names];
      case "label":
        return [each((row) => (of === "items" ? items.first : objects.label)[row]! + 1), ["", ...store.labels.map(({ name }) => name)]];
      default:
        return this.kindCodes(of);
    }
  }

  private kindCodes(of: Of): [Uint16Array<ArrayBuffer>, string[]] {
    const codes = new Uint16Array(this.count(of));
    const names = [""];
    for (const index of this.chosen()) {
      const { cells, of: own, row, item } = this.findings[index]!;
      if (of === "objects" && own !== of) continue;
      const kind = String(cells.kind);
      if (!names.includes(kind)) names.push(kind);
      codes[of === "items" ? item : row] ||= names.indexOf(kind);
    }
    return [codes, names];
  }

  // Findings --------------------------------------------------------------------------------------

  /** What was picked is in the file while it is decided. */
  private readonly isKept = ({ cells, action }: Finding) => cells.kind !== PICKED || action !== "";

  private chosen(kinds: string[] = [], actions: string[] = [], decided = false): number[] {
    return [...this.findings.keys()].filter((index) => {
      const one = this.findings[index]!;
      const verb = one.action.split(" ")[0]!;
      const fits = (!kinds.length || kinds.includes(String(one.cells.kind))) && (!actions.length || actions.includes(verb));
      return one.known && this.isKept(one) && fits && (!decided || this.isDecided(index));
    });
  }

  private readonly isDecided = (index: number) => Boolean(this.findings[index]!.action || this.covering(index));

  /** The action that settles a finding from elsewhere; `covering` of page/decisions.py. */
  private covering(index: number): string {
    const own = this.findings[index]!;
    for (const other of this.byItem.get(own.item) ?? []) {
      const one = this.findings[other]!;
      const same = one.of === own.of && one.row === own.row;
      if (other !== index && same && (one.cells.kind === PICKED || one.action === "drop") && one.action) return one.action;
      if (one.of === "items" && one.action === "drop") return "drop";
    }
    return "";
  }

  private readonly decided = () => this.findings.filter(({ action }) => action).length;
  private readonly groupOf = (index: number) => (this.findings[index]!.cells.group as number | null) ?? -1 - index;

  private kinds(): Kind[] {
    const all = this.chosen();
    const kinds = new Set(all.map((index) => String(this.findings[index]!.cells.kind)));
    const of = (kind: string) => all.filter((index) => this.findings[index]!.cells.kind === kind);
    return [...kinds].map((kind) => {
      const groups = new Set(of(kind).map(this.groupOf));
      const open = new Set(of(kind).filter((index) => !this.isDecided(index)).map(this.groupOf));
      return { kind, findings: of(kind).length, groups: groups.size, reviewed: groups.size - open.size };
    });
  }

  /** The findings of a kind by group, most suspicious first. */
  private grouped(kind: string): number[][] {
    const rank = (index: number) => (this.findings[index]!.cells.rank as number | null) || 2 ** 31;
    const sorted = this.chosen([kind]).sort((a, b) => rank(a) - rank(b) || this.groupOf(a) - this.groupOf(b));
    const found: number[][] = [];
    for (const index of sorted) {
      const last = found.at(-1);
      if (last && this.groupOf(last[0]!) === this.groupOf(index)) last.push(index);
      else found.push([index]);
    }
    return found;
  }

  private value(indices: number[]): number | null {
    const values = indices.map((index) => this.findings[index]!.cells.value as number | null).filter((value) => value !== null);
    return values.length ? values.reduce((a, b) => Math.max(a, b)) : null;
  }

  private outline(kind: string) {
    const found = this.grouped(kind);
    return {
      measures: found.map(([first]) => String(this.findings[first!]!.cells.measure)),
      values: found.map((indices) => this.value(indices)),
      decided: found.map((indices) => indices.every(this.isDecided)),
    };
  }

  private groups(kind: string, offset: number, limit: number): { groups: Group[] } {
    const found = this.grouped(kind).slice(offset, offset + limit);
    return {
      groups: found.map((indices) => {
        const { cells } = this.findings[indices[0]!]!;
        const rows = indices.map((index): GroupRow => {
          const { of, row, item, action, cells: own } = this.findings[index]!;
          return { index, of, row, item, action, covered: this.covering(index), suggestion: String(own.suggestion), reason: String(own.reason), value: own.value as number | null };
        });
        const { group, rank, measure } = cells as { group: number | null; rank: number | null; measure: string };
        return { kind, group, rank, measure, value: this.value(indices), rows, neighbors: this.known.near[indices[0]!] ?? [] };
      }),
    };
  }

  // Decisions -------------------------------------------------------------------------------------

  private decide(entries: Entry[]): Decided {
    const before = new Map<number, string>();
    const set = (index: number, action: string) => {
      const one = this.findings[index]!;
      if (!before.has(index)) before.set(index, one.action);
      one.action = action;
    };
    for (const { of, row, action, ...entry } of entries) {
      const index = entry.index ?? this.picked(of, row);
      for (const other of action ? (this.byItem.get(this.itemOf(of, row)) ?? []) : []) {
        const one = this.findings[other]!;
        if (other !== index && one.of === of && one.row === row && contradict({ ...this.findings[index]!, action }, one)) set(other, "");
      }
      set(index, action);
    }
    const previous = [...before].map(([index, action]) => ({ index, of: this.findings[index]!.of, row: this.findings[index]!.row, action }));
    return { previous, decided: this.decided(), problems: [], kinds: this.kinds() };
  }

  /** The finding of what was picked; a new one where there is none. */
  private picked(of: Of, row: number): number {
    const item = this.itemOf(of, row);
    const known = (this.byItem.get(item) ?? []).find((index) => {
      const one = this.findings[index]!;
      return one.cells.kind === PICKED && one.of === of && one.row === row;
    });
    if (known !== undefined) return known;
    const { columns, items, objects, store, subset_names } = this.known;
    const hash = this.hashes.subarray(32 * item, 32 * item + 32);
    const cells: Record<string, Cell> = Object.fromEntries(columns.map((name) => [name, ""]));
    Object.assign(cells, {
      kind: PICKED,
      group: null,
      rank: null,
      value: null,
      object: of === "objects" ? this.numberOf(row) : null,
      subset: subset_names[items.subset[item]!]!,
      id: items.id[item]!,
      label: of === "objects" ? this.labels(of, row).join() : (store.labels[items.whole[item]!]?.name ?? ""),
      box: of === "objects" ? objects.box.slice(4 * row, 4 * row + 4).join(" ") : "",
      content_sha256: hash.some(Boolean) ? Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("") : "",
      store: store.uuid,
      model: store.fingerprint,
    });
    this.findings.push({ cells, of, row, item, known: true, action: "" });
    this.note(item, this.findings.length - 1);
    return this.findings.length - 1;
  }

  toCsv(): Blob {
    const { columns } = this.known;
    const lines = this.findings.filter(this.isKept).map(({ cells, action }) => columns.map((name) => (name === "action" ? action : cells[name]!)));
    return new Blob(["\ufeff", [columns, ...lines].map((cells) => `${cells.map(csvCell).join()}\n`).join("")], { type: "text/csv" });
  }
}

/** Whether two actions on one row cannot both be carried out; `contradict` of findings/actions.py. */
function contradict(one: Finding, other: Finding): boolean {
  const [[slot, value], [otherSlot, otherValue]] = [slotOf(one), slotOf(other)];
  const verbs = new Set([one, other].map(({ action }) => split(action)[0]).filter((verb) => verb && verb !== "review"));
  return (verbs.has("drop") && verbs.size > 1) || (slot === otherSlot && value !== otherValue);
}

/** What an action sets, and the value that it sets it to. */
function slotOf({ of, action, cells }: Finding): [string, string] {
  const [verb, name] = split(action);
  if (verb !== "attribute") return [`${verb} ${of === "items" ? cells.label : ""}`, name];
  const [key = "", ...value] = name.split("=");
  return [`${verb} ${key}`, value.join("=")];
}

function split(action: string): [string, string] {
  const [verb = "", ...rest] = action.trim().split(" ");
  return [verb.toLowerCase(), rest.join(" ").trim()];
}

const MONTHS = /^(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)/;
const MARKS = ["e", "am", "pm", "a", "p", "h", "t", "z", "true", "false"];

/** Escape as `sheet_cell` of escaping.py does, so that a spreadsheet keeps the text; then as CSV. */
function csvCell(cell: Cell): string {
  if (typeof cell !== "string") return cell === null ? "" : String(cell);
  let text = cell.replaceAll("\\", "\\\\").replace(/[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/gu, escaped);
  const words: string[] = text.toLowerCase().match(/\p{L}+/gu) ?? [];
  const number = /\p{Nd}/u.test(text) || ["true", "false"].includes(words.join(" "));
  if (/^[=+@'-]/.test(text) || (number && words.every((word) => MARKS.includes(word) || MONTHS.test(word)))) text = `'${text}`;
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function escaped(letter: string): string {
  const code = letter.codePointAt(0)!;
  const hex = code.toString(16);
  if (code < 0x100) return `\\x${hex.padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}
