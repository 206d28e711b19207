// Apply the decisions: the command, its plan, and the run into a new folder.

import { useEffect, useState } from "preact/hooks";
import { getCommand, getPlan, type Plan, postApply } from "./api";
import { Dialog } from "./dialogs";
import { progress, sayError, store } from "./state";
import { count } from "./text";

const FORMATS = ["", "coco", "yolo_ultralytics", "voc", "datumaro"];
const POLL_MS = 400;

/** Run, and ask for the plan until it is there. */
function useRun(): [Plan | null, boolean, (out: string, format: string, dryRun: boolean) => void] {
  const [plan, setPlan] = useState<Plan | null>(null);
  const [running, setRunning] = useState(false);
  const run = async (out: string, format: string, dryRun: boolean) => {
    setRunning(true);
    setPlan(null);
    try {
      await postApply(out, format, dryRun);
      for (;;) {
        const got = await getPlan();
        if (got.state !== "running") {
          setPlan(got);
          return;
        }
        await new Promise((resume) => setTimeout(resume, POLL_MS));
      }
    } catch (error) {
      setPlan({ state: "failed", dry_run: dryRun, lines: [], error: error instanceof Error ? error.message : String(error) });
    } finally {
      setRunning(false);
    }
  };
  return [plan, running, (...options) => void run(...options)];
}

function Command() {
  const [command, setCommand] = useState("");
  const [copied, setCopied] = useState(false);
  useEffect(() => {
    getCommand().then((got) => setCommand(got.command), sayError);
  }, []);
  const copy = () =>
    navigator.clipboard.writeText(command).then(
      () => setCopied(true),
      () => sayError(new Error("The browser does not let the page copy. Select the text and copy it.")),
    );
  return (
    <div class="command">
      <code tabIndex={0}>{command}</code>
      <button type="button" onClick={() => void copy()}>
        {copied ? "Copied" : "Copy"}
      </button>
    </div>
  );
}

export function Apply() {
  const [out, setOut] = useState("");
  const [format, setFormat] = useState("");
  const [plan, running, run] = useRun();
  const step = progress.value.apply;
  const known = store.value!;
  return (
    <Dialog title={`Apply ${count(known.decided, "decision")}`} wide>
      <p>Decisions are in {known.findings}. This command writes a new dataset; the source is never changed.</p>
      <Command />
      <form
        class="form"
        onSubmit={(event) => {
          event.preventDefault();
          run(out.trim(), format, false);
        }}
      >
        <label>
          New folder
          <input type="text" required autofocus spellcheck={false} value={out} placeholder="/path/to/new/folder" onInput={(event) => setOut(event.currentTarget.value)} />
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
          <button type="button" disabled={running} onClick={() => run(out.trim(), format, true)}>
            Show the plan
          </button>
          <button type="submit" class="primary" disabled={running}>
            Write the dataset
          </button>
        </div>
      </form>
      {running && (
        <p role="status">
          {step?.note || "Working…"} <progress {...(step?.total ? { max: step.total, value: step.done } : {})} aria-label="Apply" />
        </p>
      )}
      {plan && (
        <div class="plan" role="status">
          {plan.error ? <p class="bad">{plan.error}</p> : <p>{plan.dry_run ? "The plan; nothing is written yet:" : "Written:"}</p>}
          {plan.lines.length > 0 && <pre tabIndex={0}>{plan.lines.join("\n")}</pre>}
        </div>
      )}
    </Dialog>
  );
}
