// A picture with its boxes, and the tile of the grid around it.

import { useEffect, useState } from "preact/hooks";
import { type Card, type ObjectBox, type Of, thumb } from "./api";
import { colorClass } from "./colors";
import { isFrozen } from "./frozen";
import { actionClass, actionText } from "./text";

interface Boxed extends Pick<Card, "width" | "height" | "boxes"> {}

/** Boxes over a picture, in fractions of it; `marked` is the number of the object to stress. */
export function Boxes({ boxes, marked = -1 }: { boxes: readonly ObjectBox[]; marked?: number }) {
  if (!boxes.length) return null;
  return (
    <svg class="boxes" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">
      {boxes.map((box) => (
        <g class={box.number === marked ? "marked" : ""}>
          <rect class="halo" x={box.x} y={box.y} width={box.w} height={box.h} />
          <rect class={`line ${colorClass(box.label)}`} x={box.x} y={box.y} width={box.w} height={box.h} />
        </g>
      ))}
    </svg>
  );
}

/** Why a picture is not shown: the server's sentence, or that the image has gone. */
function useReason(failed: string): string {
  const [reason, setReason] = useState("");
  useEffect(() => {
    setReason("");
    if (!failed) return;
    let current = true;
    const unknown = "The image cannot be shown.";
    fetch(failed)
      .then((answer) => (answer.ok ? null : answer.json()))
      .then((said: { error?: string } | null) => current && setReason(said?.error || unknown))
      .catch(() => current && setReason(unknown));
    return () => (current = false) as unknown as void;
  }, [failed]);
  return reason;
}

interface PictureProps {
  src: string; // empty: there is no picture
  alt: string;
  missing?: string; // why there is none
  frame?: Boxed | undefined; // where boxes are to be drawn
  marked?: number;
}

/** A picture that fits its parent, with its boxes; or a tile that says why there is none. */
export function Picture({ src, alt, missing, frame, marked = -1 }: PictureProps) {
  const [failed, setFailed] = useState("");
  const reason = useReason(failed === src ? src : "");
  if (!src || failed === src)
    return (
      <div class="gone" role="img" aria-label={`${alt}: ${missing || reason || "no picture"}`}>
        <span>{missing || reason || "…"}</span>
      </div>
    );
  const img = <img src={src} alt={alt} decoding="async" draggable={false} onError={() => setFailed(src)} />;
  if (!frame?.boxes.length || !frame.width || !frame.height) return <div class="picture">{img}</div>;
  return (
    <div class="picture">
      <div class="frame" style={{ "--ratio": frame.width / frame.height }}>
        {img}
        <Boxes boxes={frame.boxes} marked={marked} />
      </div>
    </div>
  );
}

export const nameOf = (card: Card) =>
  `${card.subset}/${card.id}${card.object ? ` #${card.object.number}` : ""}`;

const READ = ["ok", "inference_failed"];
const noImage = (card: Card) => card.error || (isFrozen ? "No picture in this report" : `No image (${card.status})`);

/** Why there is no picture of a card, as the store says; empty if there should be one. */
export const missing = (card: Card) => (card.v && READ.includes(card.status) ? "" : noImage(card));

export const labelsOf = (card: Card) => (card.object ? [card.object.label] : [...new Set(card.labels)]);

/** The picture of a card in the grid or in a group. */
export function CardPicture({ of, card, size, marked = -1 }: { of: Of; card: Card; size: number; marked?: number }) {
  const wanted = size > 320 ? 640 : size > 160 ? 320 : 160;
  return (
    <Picture
      src={missing(card) ? "" : thumb(of, card.row, card.v, wanted)}
      alt={nameOf(card)}
      missing={missing(card)}
      frame={of === "items" ? card : undefined}
      marked={marked}
    />
  );
}

/** What was decided, as a word: color alone says nothing. */
export function ActionBadge({ action }: { action: string }) {
  return action ? <span class={`badge ${actionClass(action)}`}>{actionText(action)}</span> : null;
}

interface TileProps {
  of: Of;
  card: Card | undefined;
  size: number;
  score?: number | undefined;
}

export function TileFace({ of, card, size, score }: TileProps) {
  if (!card) return <div class="picture waiting" />;
  return (
    <>
      <CardPicture of={of} card={card} size={size} />
      <div class="badges">
        <ActionBadge action={card.action} />
        {size > 110 && !card.action && card.findings[0] && <span class="badge">{card.findings[0].kind}</span>}
      </div>
      {size > 110 && (
        <div class="caption">
          <bdi>{labelsOf(card).join(", ") || card.id}</bdi>
          {score !== undefined && <span class="score">{score.toFixed(3)}</span>}
        </div>
      )}
    </>
  );
}
