// A report keeps decisions only while it is open: they are downloaded as the findings file that `apply` reads.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { saved } from "./decisions";
import { findingsFile } from "./frozen";
import { say, store } from "./state";
import { thousands } from "./text";

const unsaved = signal(false);

function download(): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(findingsFile());
  link.download = store.value!.findings;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  unsaved.value = false;
  say(`Downloaded ${link.download}: pass it to datumaro-embed apply.`);
}

export function Download() {
  const changes = saved.value;
  const { decided } = store.value!;
  useEffect(() => {
    unsaved.value ||= changes.length > 0;
  }, [changes]);
  useEffect(() => {
    const warn = (event: BeforeUnloadEvent) => unsaved.value && event.preventDefault();
    addEventListener("beforeunload", warn);
    return () => removeEventListener("beforeunload", warn);
  }, []);
  return (
    <button type="button" class="primary" disabled={!decided} onClick={download}>
      {decided ? `Download ${thousands(decided)} decided` : "Download decisions"}
    </button>
  );
}
