// The few icons, drawn as strokes of a 16 px square.

const PATHS = {
  check: "M3 8.5 6.5 12 13 4.5",
  close: "M4 4l8 8M12 4l-8 8",
  minus: "M3 8h10",
  plus: "M8 3v10M3 8h10",
  search: "M11 11l3.5 3.5M12 7A5 5 0 1 1 2 7a5 5 0 0 1 10 0",
  similar: "M2 2h6v6H2zM8 8h6v6H8z",
  image: "M2 3h12v10H2zM2 11l4-4 3 3 2-2 3 3",
  filter: "M2 3h12M4.5 8h7M7 13h2",
  left: "M10 3 5 8l5 5",
  right: "M6 3l5 5-5 5",
  undo: "M3 6h7a3.5 3.5 0 0 1 0 7H6M6 3 3 6l3 3",
};

export const Icon = ({ name }: { name: keyof typeof PATHS }) => (
  <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
    <path d={PATHS[name]} />
  </svg>
);
