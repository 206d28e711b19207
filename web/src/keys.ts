// The keys, as the help lists them; keyboard.ts and the components act on them.

import { isFrozen } from "./frozen";

interface Section {
  title: string;
  keys: [keys: string, text: string][];
}

const ALL: Section[] = [
  {
    title: "Anywhere",
    keys: [
      ["/", isFrozen ? "Find by id" : "Search"],
      ["g m r i", "Grid, map, review, info"],
      ["f", "Filters"],
      ["u", "Undo the last decision"],
      ["Esc", "Close the item, clear the selection"],
      ["?", "These keys"],
    ],
  },
  {
    title: "Search field",
    keys: [
      ["Enter", "Keep the text as a term; a leading - makes it a minus term"],
      ["Backspace", "In the empty field: remove the last term"],
      ["↓", "To the grid"],
    ],
  },
  {
    title: "Grid",
    keys: [
      ["← → ↑ ↓", "Move"],
      ["Space", "Select; with Shift: up to here"],
      ["Ctrl+A", "Select all"],
      ["Enter", "Open"],
      ["s", "More like this"],
    ],
  },
  {
    title: "Selection",
    keys: [
      ["d x", "Drop, keep"],
      ["l v t", "Label, move, tag"],
      ["c", "Clear the decision"],
    ],
  },
  {
    title: "Map",
    keys: [
      ["← → ↑ ↓", "Move"],
      ["+ - 0", "Zoom in, zoom out, show all"],
      ["Enter", "Select what is in view"],
    ],
  },
  {
    title: "Review",
    keys: [
      ["n p", "Next and previous group"],
      ["N", "Next group that is left to review"],
      ["← →", "Row of the group"],
      ["a", "Accept the suggestions of the group"],
      ["d x", "Drop, keep the row"],
      ["w", "Drop the whole image of an object"],
      ["o", "Keep only this row, drop the others"],
      ["l v", "Label, move"],
      ["c", "Clear the decision"],
      ["Enter", "Open"],
    ],
  },
];

const SEARCH = ["Search field", "s"]; // what a report does not have

export const KEYS = isFrozen
  ? ALL.filter(({ title }) => !SEARCH.includes(title)).map(({ title, keys }) => ({ title, keys: keys.filter(([key]) => !SEARCH.includes(key)) }))
  : ALL;
