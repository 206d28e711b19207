// What the server answers, and how to ask it. Addresses are relative: the token is in the page's own.
// In a report, which has no server, frozen.ts answers the same.

import { answer as frozenAnswer, isFrozen, picture } from "./frozen";

export type Of = "items" | "objects";

export interface Named {
  name: string;
  items: number;
}

export interface Kind {
  kind: string;
  findings: number;
  groups: number;
  reviewed: number; // groups in which nothing is left to decide
}

export interface Store {
  frozen: boolean; // a report: nothing but the file
  name: string;
  path: string;
  uuid: string;
  model: string;
  items: number;
  objects: number;
  embedded: number;
  subsets: (Named & { split: string })[];
  labels: (Named & { objects: number })[];
  statuses: Named[];
  text: boolean;
  kinds: Kind[];
  findings: string;
  decided: number;
  dataset: string | null;
  read_only: string; // why decisions are refused
  problems: string[]; // of the decisions together: contradictions, pictures of which no copy stays
  replaced: boolean; // another store is at the path now
}

export interface Box {
  x: number; // fractions of the upright picture
  y: number;
  w: number;
  h: number;
}

export interface ObjectBox extends Box {
  object: number | null; // row of the objects' table
  number: number;
  label: string;
}

export interface CardFinding {
  index: number;
  kind: string;
  object: number | null; // its number in the item; null: the item itself
  suggestion: string;
  action: string;
  reason: string;
}

export interface Card {
  row: number;
  item: number;
  subset: string;
  id: string;
  split: string;
  status: string;
  error: string;
  labels: string[];
  width: number;
  height: number;
  v: string; // of the image's content; empty without one
  boxes: ObjectBox[]; // the first 200
  n_boxes: number;
  object: (Box & { number: number; label: string }) | null;
  findings: CardFinding[];
  action: string;
}

export interface Annotation {
  type: string;
  label: string;
  text: string;
  coords: number[];
  attributes: Record<string, string>;
}

export interface Item extends Card {
  path: string;
  has_vector: boolean;
  attributes: Record<string, string>;
  n_annotations: number;
  annotations: Annotation[]; // the first 500
}

export interface GroupRow {
  index: number;
  of: Of;
  row: number;
  item: number;
  suggestion: string;
  action: string;
  covered: string; // the action of another decision that settles it
  reason: string;
  value: number | null;
}

export interface Group {
  kind: string;
  group: number | null;
  rank: number | null;
  measure: string;
  value: number | null;
  rows: GroupRow[];
  neighbors: number[];
}

/** All groups of a kind in few bytes: what a threshold and "next open group" need. */
export interface Outline {
  measures: string[];
  values: (number | null)[];
  decided: boolean[];
}

export interface Entry {
  index?: number;
  of: Of;
  row: number;
  action: string;
}

export interface Decided {
  previous: Entry[];
  decided: number;
  problems: string[];
  kinds: Kind[];
}

export interface Step {
  state: string; // idle, running, done, failed
  done: number;
  total: number;
  note: string;
}

export type Progress = Record<string, Step>;

export interface Rows {
  rows: Int32Array;
  scores: Float32Array | null;
}

export interface MapPoints {
  rows: Int32Array;
  x: Float32Array;
  y: Float32Array;
  method: string;
  final: boolean;
}

/** An answer that is not 200; the message is the server's sentence. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

const SILENT = "The server does not answer. Start datumaro-embed explore again and open the address that it prints.";
const RETRY_MS = 500;

async function ask(path: string, init?: RequestInit): Promise<Response> {
  const answer = await (isFrozen ? frozenAnswer : fetch)(path, init).catch((error: unknown) => {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new ApiError(isFrozen ? String(error) : SILENT, 0);
  });
  if (answer.ok) return answer;
  const said: unknown = await answer.json().catch(() => null);
  const sentence = said && typeof said === "object" && "error" in said ? String(said.error) : "";
  throw new ApiError(sentence || `The server answered ${answer.status}.`, answer.status);
}

async function json<T>(path: string, init?: RequestInit): Promise<T> {
  return (await ask(path, init)).json() as Promise<T>;
}

function post<T>(path: string, body: unknown): Promise<T> {
  return json<T>(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
}

const pause = (ms: number) => new Promise((resume) => setTimeout(resume, ms));

export const getStore = () => json<Store>("api/store");
export const getProgress = () => json<Progress>("api/progress");
export const getItem = (row: number, signal: AbortSignal) => json<Item>(`api/item?row=${row}`, { signal });
export const postDecisions = (set: Entry[]) => post<Decided>("api/decide", { set });

/** Rows in order; `onWait` hears what the server is still loading (the text encoder). */
export async function getRows(
  query: string,
  signal: AbortSignal,
  onWait: (sentence: string) => void = () => {},
): Promise<Rows> {
  for (;;) {
    try {
      const answer = await ask(`api/rows?${query}`, { signal });
      const count = Number(answer.headers.get("X-Count"));
      const bytes = await answer.arrayBuffer();
      const scored = answer.headers.get("X-Scored") === "1";
      return {
        rows: new Int32Array(bytes, 0, count),
        scores: scored ? new Float32Array(bytes, 4 * count, count) : null,
      };
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 503) throw error;
      onWait(error.message);
      await pause(RETRY_MS);
      signal.throwIfAborted();
    }
  }
}

export const getCards = (of: Of, rows: number[]) => json<Card[]>(`api/cards?of=${of}&rows=${rows.join()}`);

/** The map as far as it is made; null while there is none. */
export async function getMap(of: Of): Promise<MapPoints | null> {
  const answer = await ask(`api/map?of=${of}`);
  if (answer.status === 202) return null;
  const bytes = await answer.arrayBuffer();
  const n = new DataView(bytes).getInt32(0, true);
  return {
    rows: new Int32Array(bytes, 4, n),
    x: new Float32Array(bytes, 4 + 4 * n, n),
    y: new Float32Array(bytes, 4 + 8 * n, n),
    method: answer.headers.get("X-Method") ?? "",
    final: answer.headers.get("X-Final") !== "0",
  };
}

/** One code for each row of the whole table, and the codes' names. */
export async function getCodes(of: Of, by: string): Promise<{ codes: Uint16Array; names: string[] }> {
  const query = `api/codes?of=${of}&by=${by}`;
  const [answer, names] = await Promise.all([ask(query), json<string[]>(`${query}&names=1`)]);
  return { codes: new Uint16Array(await answer.arrayBuffer()), names };
}

const groupsOf = (kind: string, rest: string) => `api/groups?kind=${encodeURIComponent(kind)}&${rest}`;

export const getGroups = async (kind: string, offset: number, limit: number) =>
  (await json<{ groups: Group[] }>(groupsOf(kind, `offset=${offset}&limit=${limit}`))).groups;

export const getOutline = (kind: string) => json<Outline>(groupsOf(kind, "outline=1"));

export interface ApplyRun {
  dataset: string;
  out: string;
  format: string;
  dry_run: boolean;
}

export const postApply = (run: ApplyRun) => post<unknown>("api/apply", run);

export interface Plan {
  plan?: string[];
  verified?: string;
}

export const getPlan = () => json<Plan>("api/plan");

export const postImage = (image: Blob) =>
  json<{ id: string; v: string }>("api/image", {
    method: "POST",
    headers: { "Content-Type": image.type || "application/octet-stream" },
    body: image,
  });

export const thumb = (of: Of | "query", row: number | string, v: string, size = 320) =>
  isFrozen ? picture(of as Of, Number(row)) : `thumb/${of}/${row}/${v}?size=${size}`;
export const image = (item: number, v: string) => (isFrozen ? picture("items", item) : `image/${item}/${v}`);

export interface Summary {
  annotations: Record<string, number>; // by type
  labels: { name: string; annotations: number; items: number; splits: Record<string, number>; example: number | null }[];
  sizes: {
    counts: [width: number, height: number, items: number][]; // the commonest
    different: number;
    landscape: number;
    portrait: number;
    square: number;
    unknown: number;
  };
  failures: { status: string; cause: string; items: number; examples: { row: number; name: string; detail: string }[] }[];
  typical: number[];
}

export const getSummary = () => json<Summary>("api/summary");
