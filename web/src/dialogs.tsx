// Dialogs that ask for a label, a subset or a tag, and the list of keys. The browser keeps focus inside them.

import type { ComponentChildren } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Entry, GroupRow } from "./api";
import { decide, decideRows } from "./decisions";
import { Filters } from "./filters";
import { Icon } from "./icon";
import { KEYS } from "./keys";
import { decideFocused, focusedRow, suggestionsShown } from "./review";
import { dialog, sayError, selection, store, view } from "./state";
import { actionText, count, thousands } from "./text";

interface DialogProps {
  title: string;
  children: ComponentChildren;
  wide?: boolean;
}

export function Dialog({ title, children, wide = false }: DialogProps) {
  const element = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => { // before the next key
    const before = document.activeElement as HTMLElement | null;
    element.current!.showModal();
    element.current!.querySelector<HTMLElement>("[data-first]")?.focus(); // not `autofocus`: the page has a focus already
    return () => before?.focus();
  }, []);
  const close = () => (dialog.value = "");
  return (
    <dialog
      ref={element}
      class={wide ? "wide" : ""}
      aria-labelledby="dialog-title"
      onClose={close}
      onClick={(event) => event.target === element.current && close()}
    >
      <div class="dialog">
        <header>
          <h2 id="dialog-title">{title}</h2>
          <button type="button" class="quiet" aria-label="Close (Esc)" onClick={close}>
            <Icon name="close" />
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}

const reviewing = () => view.value.tab === "review";

/** The finding in focus when the dialog was opened: an answer of the server may move the focus meanwhile. */
let asked: GroupRow | undefined;
dialog.subscribe((name) => {
  if (name) asked = reviewing() ? focusedRow() : undefined;
});

/** What a dialog acts on: the selection, or that finding. */
function target(): { of: "items" | "objects"; n: number } {
  return asked ? { of: asked.of, n: 1 } : { of: view.value.of, n: selection.value.size };
}

function act(action: string): void {
  dialog.value = "";
  if (asked) void decideFocused(action, asked);
  else void decideRows(view.value.of, selection.value, action);
}

interface PickProps {
  title: string;
  names: string[];
  verb: string;
  free: boolean; // other names are possible
  suggested?: string | undefined;
}

/** A list that is searched by typing: arrows choose, Enter takes. */
function Pick({ title, names, verb, free, suggested }: PickProps) {
  const [typed, setTyped] = useState("");
  const [at, setAt] = useState(0);
  const sought = typed.trim().toLowerCase();
  const found = names.filter((name) => name.toLowerCase().includes(sought));
  found.sort((a, b) => Number(b.toLowerCase().startsWith(sought)) - Number(a.toLowerCase().startsWith(sought)));
  if (suggested && !sought) found.unshift(...found.splice(found.indexOf(suggested), 1));
  if (free && sought && !names.includes(typed.trim())) found.push(typed.trim());
  const shown = found.slice(0, 200);
  const current = Math.min(at, shown.length - 1);
  const take = (name: string | undefined) => name && act(`${verb} ${name}`);
  return (
    <Dialog title={title}>
      <input
        type="text"
        role="combobox"
        data-first
        spellcheck={false}
        value={typed}
        placeholder="Type to find"
        aria-label={title}
        aria-expanded="true"
        aria-controls="choices"
        aria-activedescendant={shown.length ? `choice-${current}` : undefined}
        onInput={(event) => {
          setTyped(event.currentTarget.value);
          setAt(0);
        }}
        onKeyDown={(event) => {
          if (event.key === "ArrowDown") setAt(Math.min(current + 1, shown.length - 1));
          else if (event.key === "ArrowUp") setAt(Math.max(current - 1, 0));
          else if (event.key === "Enter") take(shown[current]);
          else return;
          event.preventDefault();
        }}
      />
      <ul id="choices" class="options" role="listbox" aria-label={title}>
        {shown.map((name, index) => (
          <li
            key={name}
            id={`choice-${index}`}
            role="option"
            aria-selected={index === current}
            ref={(element) => {
              if (index === current) element?.scrollIntoView({ block: "nearest" });
            }}
            onClick={() => take(name)}
          >
            <bdi>{name}</bdi>
            {name === suggested && <span class="faint">suggested</span>}
            {!names.includes(name) && <span class="faint">new</span>}
          </li>
        ))}
      </ul>
    </Dialog>
  );
}

function Relabel() {
  const { of, n } = target();
  const suggestion = asked?.suggestion;
  return (
    <Pick
      title={of === "objects" ? `Relabel ${count(n, "object")}` : `Label ${count(n, "item")}`}
      names={(store.value?.labels ?? []).map(({ name }) => name)}
      verb="label"
      free={false}
      suggested={suggestion?.startsWith("label ") ? suggestion.slice(6) : undefined}
    />
  );
}

function Tag() {
  const [name, setName] = useState("");
  const [value, setValue] = useState("");
  return (
    <Dialog title={`Tag ${count(target().n, "item")}`}>
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          act(`attribute ${name.trim()}=${value.trim()}`);
        }}
      >
        <label>
          Name
          <input type="text" required data-first pattern="[^=]*[^=\s][^=]*" value={name} onInput={(event) => setName(event.currentTarget.value)} />
        </label>
        <label>
          Value
          <input type="text" required value={value} onInput={(event) => setValue(event.currentTarget.value)} />
        </label>
        <p class="faint">The tag becomes an attribute of the items. Not every format can hold attributes.</p>
        <button type="submit" class="primary">
          Tag
        </button>
      </form>
    </Dialog>
  );
}

/** What "Accept all" would do, before it is done. */
function AcceptAll() {
  const [entries, setEntries] = useState<Entry[] | null>(null);
  useEffect(() => {
    suggestionsShown().then(setEntries, sayError);
  }, []);
  const counts = new Map<string, number>();
  for (const { action } of entries ?? []) counts.set(action, (counts.get(action) ?? 0) + 1);
  return (
    <Dialog title="Accept all suggestions">
      {!entries && <p role="status">Collecting the suggestions…</p>}
      {entries && !entries.length && <p>Nothing to accept: what is left has to be looked at.</p>}
      {entries && entries.length > 0 && (
        <>
          <p>Suggestions for the groups shown that are not decided yet:</p>
          <ul class="list counts">
            {[...counts].map(([action, n]) => (
              <li>
                <bdi>{actionText(action)}</bdi>
                <span class="spring" />
                <span class="n">{thousands(n)}</span>
              </li>
            ))}
          </ul>
          <button
            type="button"
            class="primary"
            data-first
            onClick={() => {
              dialog.value = "";
              void decide(entries);
            }}
          >
            Accept {thousands(entries.length)}
          </button>
        </>
      )}
    </Dialog>
  );
}

function Help() {
  return (
    <Dialog title="Keys" wide>
      <div class="keys">
        {KEYS.map(({ title, keys }) => (
          <section>
            <h3>{title}</h3>
            <dl>
              {keys.map(([key, text]) => (
                <>
                  <dt>
                    {key.split(" ").map((name) => (
                      <kbd>{name}</kbd>
                    ))}
                  </dt>
                  <dd>{text}</dd>
                </>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}

/** The dialog that is open; the one to apply is in apply.tsx. */
export function OpenDialog() {
  switch (dialog.value) {
    case "relabel":
      return <Relabel />;
    case "move":
      return (
        <Pick
          title={`Move ${count(target().n, "item")} to a subset`}
          names={(store.value?.subsets ?? []).map(({ name }) => name)}
          verb="subset"
          free
        />
      );
    case "accept":
      return <AcceptAll />;
    case "tag":
      return <Tag />;
    case "help":
      return <Help />;
    case "filters":
      return (
        <Dialog title="Filters">
          <Filters />
        </Dialog>
      );
    default:
      return null;
  }
}
