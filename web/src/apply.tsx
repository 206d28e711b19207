// Apply the decisions: the command, its plan, and the run into a new folder.

import { useState } from "preact/hooks";
import { type ApplyRun, getPlan, getProgress, postApply } from "./api";
import { Dialog } from "./dialogs";
import { progress, sayError, store } from "./state";

const FORMATS = ["", "coco", "yolo_ultralytics", "voc", "datumaro"];
const POLL_MS = 300;

interface Ran {
  /** What it was run with. */
  of: ApplyRun;
  lines: string[];
  error: string;
}

/** Run, and ask until it has ended. */
function useRun(): [Ran | null, boolean, (run: ApplyRun) => void] {
  const [ran, setRan] = useState<Ran | null>(null);
  const [running, setRunning] = useState(false);
  const carryOut = async (run: ApplyRun): Promise<string[]> => {
    await postApply(run);
    for (;;) {
      progress.value = await getProgress();
      const { state, note } = progress.value.apply!;
      if (state === "failed") throw new Error(note);
      if (state !== "running") break;
      await new Promise((resume) => setTimeout(resume, POLL_MS));
    }
    const { plan = [], verified = "" } = await getPlan();
    return [...plan, verified].filter(Boolean);
  };
  const run = (options: ApplyRun) => {
    setRunning(true);
    setRan(null);
    const ended = { of: options, lines: [], error: "" };
    carryOut(options)
      .then(
        (lines) => setRan({ ...ended, lines }),
        (error: unknown) => setRan({ ...ended, error: error instanceof Error ? error.message : String(error) }),
      )
      .finally(() => setRunning(false));
  };
  return [ran, running, run];
}

const quote = (word: string) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'"'"'`)}'`);

/** The command that does what the form says. */
function commandOf({ dataset, out, format }: Omit<ApplyRun, "dry_run">): string {
  const words = ["datumaro-embed", "apply", store.value!.findings, dataset || "DATASET", "-o", out || "OUT"];
  return [...words, ...(format ? ["-f", format] : [])].map(quote).join(" ");
}

function Command({ text }: { text: string }) {
  const [copied, setCopied] = useState("");
  const copy = () =>
    navigator.clipboard.writeText(text).then(
      () => setCopied(text),
      () => sayError(new Error("The browser does not let the page copy. Select the text and copy it.")),
    );
  return (
    <div class="command">
      <code tabIndex={0}>{text}</code>
      <button type="button" onClick={() => void copy()}>
        {copied === text ? "Copied" : "Copy"}
      </button>
    </div>
  );
}

export function Apply() {
  const [out, setOut] = useState("");
  const [format, setFormat] = useState("");
  const known = store.value!;
  const [dataset, setDataset] = useState(known.dataset ?? "");
  const [ran, running, run] = useRun();
  const step = progress.value.apply;
  const form = { dataset: dataset.trim(), out: out.trim(), format };
  const start = (dry_run: boolean) => run({ ...form, dry_run });
  const isPlanned = ran && !ran.error && JSON.stringify(ran.of) === JSON.stringify({ ...form, dry_run: true });
  return (
    <Dialog title="Apply the decisions" wide>
      <p>Decisions are in {known.findings}. This command writes a new dataset; the source is never changed.</p>
      <Command text={commandOf(form)} />
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          start(true);
        }}
      >
        <label>
          Dataset
          <input type="text" required spellcheck={false} value={dataset} placeholder="/path/to/dataset:format" onInput={(event) => setDataset(event.currentTarget.value)} />
        </label>
        <label>
          New folder
          <input type="text" required data-first spellcheck={false} value={out} placeholder="/path/to/new/folder" onInput={(event) => setOut(event.currentTarget.value)} />
        </label>
        <label>
          Format
          <select value={format} onChange={(event) => setFormat(event.currentTarget.value)}>
            {FORMATS.map((name) => (
              <option value={name}>{name || "as the source"}</option>
            ))}
          </select>
        </label>
        <div class="buttons">
          <button type="submit" class={isPlanned ? "" : "primary"} disabled={running}>
            Show the plan
          </button>
          <button type="button" class={isPlanned ? "primary" : ""} disabled={running || !isPlanned} onClick={() => start(false)}>
            Write the dataset
          </button>
        </div>
      </form>
      {running && (
        <p role="status">
          {step?.note || "Working…"} <progress {...(step?.total ? { max: step.total, value: step.done } : {})} aria-label="Apply" />
        </p>
      )}
      {ran && (
        <div class="plan" role="status">
          {ran.error ? <p class="bad">{ran.error}</p> : <p>{ran.of.dry_run ? "The plan; nothing is written yet:" : `Written. ${ran.lines.at(-1) ?? ""}`}</p>}
          {ran.lines.length > 0 && <pre tabIndex={0}>{ran.lines.join("\n")}</pre>}
        </div>
      )}
    </Dialog>
  );
}
