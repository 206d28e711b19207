// Words and numbers as the page writes them.

export const thousands = (n: number) => n.toLocaleString("en-US");
export const count = (n: number, thing: string) => `${thousands(n)} ${thing}${n === 1 ? "" : "s"}`;

const KINDS: Record<string, string> = {
  failed: "Failed images",
  duplicate: "Duplicates",
  leak: "Leaks between splits",
  conflict: "Conflicting labels",
  mislabel: "Suspect labels",
  systematic: "Systematic mistakes",
  odd_pair: "Odd label pairs",
  box: "Odd boxes",
  quality: "Image quality",
  outlier: "Outliers",
  copy: "Copies",
  changed: "Changed",
  relabeled: "Relabeled",
  added: "Added",
  removed: "Removed",
  novel: "New content",
  label: "Suggested labels",
  selected: "Selected",
  picked: "Your selection",
};
export const kindName = (kind: string) => KINDS[kind] ?? kind;

/** Kinds in the order in which to review them: what is certain first. */
export const byReviewOrder = (a: { kind: string }, b: { kind: string }) => place(a.kind) - place(b.kind);
const ORDER = Object.keys(KINDS);
const place = (kind: string) => (ORDER.includes(kind) ? ORDER.indexOf(kind) : ORDER.length);

/** "drop", "keep", "→ dog": an action or a suggestion in few letters. */
export function actionText(action: string): string {
  const [verb, ...rest] = action.split(" ");
  if (verb === "label") return `→ ${rest.join(" ")}`;
  if (verb === "subset") return `move to ${rest.join(" ")}`;
  if (verb === "attribute") return rest.join(" ");
  return action;
}

export const actionClass = (action: string) => `action-${action.split(" ")[0] || "none"}`;
