// Live search: a text field, terms that add or take away, "more like this", and an image dropped anywhere.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { postImage, thumb } from "./api";
import { isFrozen } from "./frozen";
import { cards } from "./cards";
import { Icon } from "./icon";
import { onlySelected, sayError, searchError, searching, store, update, view } from "./state";
import { nameOf } from "./tile";
import { hasPlus, type Term, typedTerm } from "./url";

const MOST_BYTES = 64_000_000; // what the server takes
const uploading = signal(false);
const dragging = signal(false);
/** Content of the images dropped, by id: part of the address of their thumbnails. */
const contents = signal<Record<string, string>>({});

/** Search for what is like an image of one's own. */
export async function searchImage(image: Blob): Promise<void> {
  uploading.value = true;
  try {
    if (image.size > MOST_BYTES) throw new Error("The image is larger than 64 MB. Choose a smaller one.");
    const { id, v } = await postImage(image);
    contents.value = { ...contents.value, [id]: v };
    onlySelected.value = false;
    update({ tab: "grid", typed: "", terms: [{ type: "image", value: id, minus: false }] });
  } catch (error) {
    sayError(error);
  } finally {
    uploading.value = false;
  }
}

/** Take images that are dropped or pasted on the page. */
export function useDroppedImages(): void {
  useEffect(() => {
    if (isFrozen) return;
    const files = (event: DragEvent) => event.dataTransfer?.types.includes("Files");
    const over = (event: DragEvent) => {
      if (!files(event)) return;
      event.preventDefault();
      dragging.value = true;
    };
    const leave = (event: DragEvent) => {
      if (!event.relatedTarget) dragging.value = false;
    };
    const take = (list: FileList | undefined) => {
      const file = [...(list ?? [])].find((entry) => entry.type.startsWith("image/"));
      if (file) void searchImage(file);
      else if (list?.length) sayError(new Error(`${list[0]!.name} is not an image.`));
    };
    const drop = (event: DragEvent) => {
      dragging.value = false;
      if (!files(event)) return;
      event.preventDefault();
      take(event.dataTransfer?.files);
    };
    const paste = (event: ClipboardEvent) => take(event.clipboardData?.files);
    addEventListener("dragover", over);
    addEventListener("dragleave", leave);
    addEventListener("drop", drop);
    addEventListener("paste", paste);
    return () => {
      removeEventListener("dragover", over);
      removeEventListener("dragleave", leave);
      removeEventListener("drop", drop);
      removeEventListener("paste", paste);
    };
  }, []);
}

export const DropHint = () =>
  dragging.value ? (
    <div class="drop-hint">
      <span>Drop an image to search for what is like it</span>
    </div>
  ) : null;

function LikeName({ row }: { row: number }) {
  const { of } = view.value;
  useEffect(() => cards.want(of, [row]), [of, row]);
  const card = cards.read(of, [row])[0];
  return (
    <>
      {card?.v && <img src={thumb(of, row, card.v, 160)} alt="" />}
      <bdi>{card ? nameOf(card) : `row ${row}`}</bdi>
    </>
  );
}

function TermName({ term }: { term: Term }) {
  if (term.type === "like") return <LikeName row={Number(term.value)} />;
  if (term.type === "text") return <bdi>{term.value}</bdi>;
  const v = contents.value[term.value];
  return (
    <>
      {v && <img src={thumb("query", term.value, v, 160)} alt="" />}
      <span>your image</span>
    </>
  );
}

const change = (at: number, ...instead: Term[]) =>
  update({ terms: view.value.terms.toSpliced(at, 1, ...instead) });

function Chip({ term, at }: { term: Term; at: number }) {
  const toggled = { ...term, minus: !term.minus };
  return (
    <li class={`chip${term.minus ? " minus" : ""}`}>
      <button
        type="button"
        aria-label={term.minus ? "Minus term: make it a plus term" : "Plus term: make it a minus term"}
        title={term.minus ? "Unlike this" : "Like this"}
        onClick={() => change(at, toggled)}
      >
        <Icon name={term.minus ? "minus" : "plus"} />
      </button>
      <TermName term={term} />
      <button type="button" aria-label="Remove the term" onClick={() => change(at)}>
        <Icon name="close" />
      </button>
    </li>
  );
}

/** What is typed becomes a chip; a leading minus makes it a minus term. */
function keepTyped(): void {
  const term = typedTerm(view.value);
  if (term) update({ typed: "", terms: [...view.value.terms, term] });
}

/** What a report has in place of the search. */
export const FindById = () => (
  <div class="search" role="search">
    <div class="field">
      <Icon name="search" />
      <input
        id="search"
        type="search"
        autocomplete="off"
        spellcheck={false}
        maxLength={1000}
        value={view.value.id}
        placeholder="Find by a part of the id"
        aria-label="Find by a part of the id"
        onInput={(event) => update({ id: event.currentTarget.value, tab: view.value.tab === "map" ? "map" : "grid" })}
        onKeyDown={(event) => {
          if (event.key === "Escape") event.currentTarget.blur();
          else if (event.key === "ArrowDown") document.querySelector<HTMLElement>(".grid")?.focus();
          else return;
          event.preventDefault();
        }}
      />
    </div>
  </div>
);

export function Search() {
  const { terms, typed } = view.value;
  const text = store.value?.text !== false;
  const busy = uploading.value ? "Reading the image…" : searching.value;
  const lone = terms.length > 0 && !hasPlus(view.value) ? "Add a plus term: minus terms alone find nothing." : "";
  return (
    <div class="search" role="search">
      <div class="field">
        <Icon name="search" />
        <input
          id="search"
          type="search"
          autocomplete="off"
          spellcheck={false}
          maxLength={1000}
          value={typed}
          disabled={!text}
          placeholder={text ? "Search by text, or drop an image" : "This model reads no text: drop an image"}
          aria-label="Search by text"
          aria-describedby="search-state"
          onInput={(event) => update({ typed: event.currentTarget.value, tab: view.value.tab === "map" ? "map" : "grid" })}
          onKeyDown={(event) => {
            if (event.key === "Enter") keepTyped();
            else if (event.key === "Escape") event.currentTarget.blur();
            else if (event.key === "Backspace" && !typed && terms.length) change(terms.length - 1);
            else if (event.key === "ArrowDown") document.querySelector<HTMLElement>(".grid")?.focus();
            else return;
            event.preventDefault();
          }}
        />
        <label class="upload" title="Search by an image">
          <Icon name="image" />
          <input
            type="file"
            accept="image/*"
            aria-label="Search by an image"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = "";
              if (file) void searchImage(file);
            }}
          />
        </label>
      </div>
      {terms.length > 0 && (
        <ul class="chips" aria-label="Terms of the search">
          {terms.map((term, at) => (
            <Chip key={`${term.type}${term.value}${at}`} term={term} at={at} />
          ))}
        </ul>
      )}
      <p id="search-state" class={searchError.value ? "state bad" : "state"} role="status">
        {busy || searchError.value || lone}
      </p>
    </div>
  );
}
