(() => {
"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const n = data.id.length;
const NONE = 65535;
const COLOURS = ["#4269d0", "#d98a00", "#e5534b", "#2f9e8f", "#3ca951", "#e0569b", "#9b5de5", "#4aa8e0", "#9c6b4e", "#7d8a2e"];
const SYMBOLS = ["circle", "square", "diamond", "triangle-up", "cross", "star", "pentagon", "hexagon", "triangle-down", "x"];
const MARKS = ["●", "■", "◆", "▲", "✚", "★", "⬟", "⬢", "▼", "✖"];

function unpack(text, Kind) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Kind(bytes.buffer);
}
const subset = unpack(data.subset, Uint16Array), split = unpack(data.split, Uint8Array);
const mainLabel = unpack(data.main_label, Uint16Array), finding = unpack(data.finding, Uint8Array);
const labelOffsets = unpack(data.label_offsets, Uint32Array), labels = unpack(data.labels, Uint16Array);
const width = unpack(data.width, Uint32Array), height = unpack(data.height, Uint32Array);
const maps = data.maps.map((map) => ({...map, x: unpack(map.x, Uint16Array), y: unpack(map.y, Uint16Array)}));
const columns = {
  main_label: [mainLabel, data.label_names], split: [split, data.split_names],
  subset: [subset, data.subset_names], finding: [finding, data.finding_names],
};
let map = maps[0], categories = [], hidden = new Set(), current = -1, mode = "lasso", selected = [];

const keyOf = (i) => data.subset_names[subset[i]] + "/" + data.id[i];
const labelsOf = (i) => Array.from(labels.subarray(labelOffsets[i], labelOffsets[i + 1]), (c) => data.label_names[c]);
const counted = (n, one, many) => n.toLocaleString("en") + " " + (n === 1 ? one : many);
const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}
function picture(i) {
  const found = data.thumbnails[i];
  return found ? element("img", {src: "data:image/webp;base64," + found, alt: keyOf(i)}) : null;
}

function categorise(column) {
  const [codes, names] = columns[column];
  const counts = new Map();
  for (const code of codes) counts.set(code, (counts.get(code) || 0) + 1);
  const ranked = [...counts].sort((a, b) => (a[0] === NONE) - (b[0] === NONE) || b[1] - a[1] || a[0] - b[0]);
  const named = ranked.filter(([code]) => code !== NONE);
  const limit = named.length > COLOURS.length ? COLOURS.length - 1 : COLOURS.length;
  const place = new Map();
  categories = named.slice(0, limit).map(([code], k) => {
    place.set(code, k);
    return {name: names[code], colour: COLOURS[k], symbol: SYMBOLS[k], mark: MARKS[k], points: []};
  });
  if (column === "finding") for (const c of categories) if (c.name === data.finding_names[0]) c.colour = null;
  if (column === "split") for (const c of categories) c.colour = css("--" + c.name) || c.colour;
  if (ranked.length > categories.length) {
    const rest = named.length - limit;
    const name = rest > 0 ? "other labels (" + rest + ")" : "no label";
    categories.push({name, colour: null, symbol: "circle-open", mark: "○", points: []});
  }
  const last = categories.length - 1;
  for (let i = 0; i < n; i++) categories[place.has(codes[i]) ? place.get(codes[i]) : last].points.push(i);
  hidden = new Set();
}

const symbolOf = (category) => (n > 20000 ? "circle" : category.symbol);
function traces() {
  const size = n <= 300 ? 12 : n <= 2000 ? 9 : n <= 8000 ? 6 : n <= 40000 ? 4 : 3;
  const type = data.webgl ? "scattergl" : "scatter";
  const chosen = selected.length ? new Set(selected) : null;
  const drawn = categories.map((category, k) => ({
    type, mode: "markers", hoverinfo: "none", visible: !hidden.has(k), name: category.name,
    x: Array.from(category.points, (i) => map.x[i]), y: Array.from(category.points, (i) => map.y[i]),
    customdata: category.points,
    selectedpoints: chosen ? category.points.flatMap((i, j) => (chosen.has(i) ? [j] : [])) : undefined,
    selected: {marker: {opacity: 1}}, unselected: {marker: {opacity: 0.15}},
    marker: {color: category.colour || css("--other-point"), symbol: symbolOf(category), size,
      opacity: n > 20000 ? 0.65 : 0.88, // An open symbol is its line: without one WebGL draws nothing.
      line: {width: symbolOf(category).endsWith("-open") ? 1.5 : n > 2000 ? 0 : 1, color: css("--card")}},
  }));
  // Rare categories are drawn last, above common ones.
  return drawn.map((trace, k) => [trace, k]).sort((a, b) => b[0].x.length - a[0].x.length).map(([trace]) => trace);
}
function layout() {
  const blank = {visible: false, zeroline: false, showgrid: false, range: [-3500, 69000], autorange: false};
  return {
    margin: {l: 0, r: 0, t: 0, b: 0}, showlegend: false, hovermode: "closest", dragmode: mode,
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", hoverdistance: 14,
    xaxis: {...blank, ...extent(map.x)}, yaxis: {...blank, ...extent(map.y), scaleanchor: "x"},
    newselection: {line: {color: css("--ink"), width: 2, dash: "dot"}}, uirevision: map.name,
  };
}
function extent(values) {
  let low = 65535, high = 0;
  for (const v of values) { if (v < low) low = v; if (v > high) high = v; }
  const pad = Math.max(high - low, 2000) * 0.06;
  return {range: [low - pad, high + pad]};
}
function draw() {
  // Drawing a lasso leaves an outline; a redraw by us takes it away.
  return Plotly.react(plot, traces(), {...layout(), selections: []}, {displayModeBar: false, responsive: true, scrollZoom: true, doubleClick: false}).then(moveRing);
}
function legend() {
  $("key").replaceChildren(...categories.map((category, k) => {
    const mark = element("span", {className: "mark", textContent: n > 20000 ? "●" : category.mark, ariaHidden: "true"});
    mark.style.color = category.colour || css("--other-point");
    const button = element("button", {type: "button"}, mark, category.name, " ",
      element("span", {className: "n", textContent: category.points.length.toLocaleString("en")}));
    button.setAttribute("aria-pressed", String(!hidden.has(k)));
    button.onclick = () => {
      if (hidden.has(k)) hidden.delete(k); else hidden.add(k);
      button.setAttribute("aria-pressed", String(!hidden.has(k)));
      draw();
    };
    return element("li", {}, button);
  }));
}

// One item -------------------------------------------------------------------------------------
function describe(i) {
  const names = labelsOf(i);
  const pairs = [["subset", data.subset_names[subset[i]]], ["split", data.split_names[split[i]]],
    ["labels", names.join(", ") || "none"], ["size", width[i] ? width[i] + " × " + height[i] : "unknown"],
    ["status", data.finding_names[finding[i]]]];
  const list = element("dl", {}, ...pairs.flatMap(([name, value]) => [element("dt", {textContent: name}), element("dd", {textContent: value})]));
  const add = element("button", {type: "button", textContent: selected.includes(i) ? "Remove from selection" : "Add to selection"});
  add.onclick = () => { toggle(i); };
  $("detail").replaceChildren(...[picture(i), element("b", {textContent: data.id[i]}), list, add].filter(Boolean));
}
function show(i, {scroll = false} = {}) {
  current = i;
  describe(i);
  moveRing();
  if (scroll) $("map").scrollIntoView();
}
function pixel(i) {
  const {xaxis, yaxis} = plot._fullLayout;
  return [xaxis._offset + xaxis.d2p(map.x[i]), yaxis._offset + yaxis.d2p(map.y[i])];
}
function moveRing() {
  drawTiles();
  $("ring").hidden = current < 0;
  if (current < 0) return;
  const [x, y] = pixel(current);
  $("ring").style.left = x + "px";
  $("ring").style.top = y + "px";
}
// Pictures on the map: a point shows its own where none is near, so none hides another.
const CELL = 68;
let tilesAsked = false;
function drawTiles() {
  if (tilesAsked) return;
  tilesAsked = true;
  requestAnimationFrame(() => { tilesAsked = false; tilesNow(); });
}
function tilesNow() {
  const box = $("tiles");
  box.hidden = !$("pictures").checked;
  if (box.hidden) return box.replaceChildren();
  const chosen = selected.length ? new Set(selected) : null, made = [];
  categories.forEach((category, k) => {
    if (hidden.has(k)) return;
    for (const i of category.points) {
      if (!data.thumbnails[i]) continue;
      const [x, y] = pixel(i);
      if (x < 0 || y < 0 || x > box.clientWidth || y > box.clientHeight) continue;
      if (made.length > 300 || made.some(([u, v]) => Math.abs(u - x) < CELL && Math.abs(v - y) < 52)) continue;
      const image = element("img", {src: "data:image/webp;base64," + data.thumbnails[i], alt: ""});
      image.style.cssText = `left:${x}px;top:${y}px;border-color:${category.colour || css("--other-point")}`;
      if (chosen && !chosen.has(i)) image.className = "dim";
      made.push([x, y, image]);
    }
  });
  return box.replaceChildren(...made.map(([, , image]) => image));
}
function hover(i) {
  const box = $("hover"), [x, y] = pixel(i), stage = $("canvas");
  const names = labelsOf(i).slice(0, 4).join(", ");
  const parts = [picture(i), element("b", {textContent: data.id[i]}),
    element("div", {textContent: [data.subset_names[subset[i]], names].filter(Boolean).join(" · ")})];
  box.replaceChildren(...parts.filter(Boolean));
  box.dataset.point = i;
  box.hidden = false;
  box.style.left = Math.max(4, x + 190 > stage.clientWidth ? x - 188 : x + 16) + "px";
  box.style.top = Math.max(4, Math.min(y - 40, stage.clientHeight - box.offsetHeight - 6)) + "px";
}

// Selection ------------------------------------------------------------------------------------
function select(points, {redraw = true} = {}) {
  selected = points;
  $("count").textContent = counted(points.length, "item", "items");
  $("ids").value = points.map(keyOf).join("\n");
  $("copy").disabled = $("clear").disabled = points.length === 0;
  $("copied").textContent = "";
  $("strip").replaceChildren(...points.filter((i) => data.thumbnails[i]).slice(0, 60).map(picture));
  if (current >= 0) describe(current);
  if (redraw) draw(); else drawTiles();
}
const toggle = (i) => select(selected.includes(i) ? selected.filter((j) => j !== i) : [...selected, i].sort((a, b) => a - b));
async function copy() {
  try { await navigator.clipboard.writeText($("ids").value); }
  catch { $("ids").select(); document.execCommand("copy"); }
  $("copied").textContent = "Copied";
}

// Search ---------------------------------------------------------------------------------------
function find() {
  const words = $("find").value.trim().toLowerCase();
  const list = $("found");
  list.hidden = !words;
  if (!words) return list.replaceChildren();
  const wanted = new Set(data.label_names.flatMap((name, code) => (name.toLowerCase().includes(words) ? [code] : [])));
  const matches = [];
  for (let i = 0; i < n; i++) {
    if (keyOf(i).toLowerCase().includes(words) || labels.subarray(labelOffsets[i], labelOffsets[i + 1]).some((c) => wanted.has(c))) matches.push(i);
  }
  const all = element("button", {type: "button", textContent: "Select " + counted(matches.length, "match", "matches")});
  all.onclick = () => select(matches);
  const some = matches.slice(0, 40).map((i) => {
    const button = element("button", {type: "button", textContent: keyOf(i)});
    button.onclick = () => show(i);
    return element("li", {}, button);
  });
  return list.replaceChildren(element("li", {}, matches.length ? all : "No matches."), ...some);
}

// Keyboard -------------------------------------------------------------------------------------
function step(dx, dy) {
  if (current < 0) return show(0);
  let best = -1, least = Infinity;
  for (let i = 0; i < n; i++) {
    const x = map.x[i] - map.x[current], y = map.y[i] - map.y[current];
    const along = x * dx + y * dy, across = Math.abs(x * dy) + Math.abs(y * dx);
    if (i === current || along <= 0 || across > along) continue;
    const distance = along + 2 * across;
    if (distance < least) { least = distance; best = i; }
  }
  return best >= 0 ? show(best) : undefined;
}
function zoom(factor) {
  const {xaxis, yaxis} = plot._fullLayout;
  const range = (axis, at) => axis.range.map((edge) => at + (edge - at) * factor);
  const middle = (axis) => (axis.range[0] + axis.range[1]) / 2;
  const x = current >= 0 ? map.x[current] : middle(xaxis), y = current >= 0 ? map.y[current] : middle(yaxis);
  Plotly.relayout(plot, {"xaxis.range": range(xaxis, x), "yaxis.range": range(yaxis, y)});
}
const KEYS = {
  ArrowRight: () => step(1, 0), ArrowLeft: () => step(-1, 0), ArrowUp: () => step(0, 1), ArrowDown: () => step(0, -1),
  Enter: () => current >= 0 && toggle(current), " ": () => current >= 0 && toggle(current),
  "+": () => zoom(0.7), "=": () => zoom(0.7), "-": () => zoom(1.4), Escape: () => { current = -1; moveRing(); select([]); },
};

// Start ----------------------------------------------------------------------------------------
const plot = $("plot");
if (data.webgl && !document.createElement("canvas").getContext("webgl")) data.webgl = false;
function note() {
  $("map-note").textContent = counted(n, "item", "items") + ". Items close together have similar embeddings. " + map.name + ": " + map.note;
}
$("projection").replaceChildren(...maps.map((m, k) => element("option", {value: k, textContent: m.name})));
$("projection-box").hidden = maps.length < 2;
if (maps.length < 2) $("projection-box").style.display = "none";
if (!data.label_names.length) $("colour").value = "split";
$("colour").onchange = () => { categorise($("colour").value); legend(); draw(); };
$("projection").onchange = () => { map = maps[$("projection").value]; note(); draw().then(reset); };
const reset = () => Plotly.relayout(plot, {"xaxis.range": extent(map.x).range, "yaxis.range": extent(map.y).range});
$("reset").onclick = reset;
for (const button of document.querySelectorAll("[data-mode]")) {
  button.onclick = () => {
    mode = button.dataset.mode;
    for (const other of document.querySelectorAll("[data-mode]")) other.setAttribute("aria-pressed", String(other === button));
    Plotly.relayout(plot, {dragmode: mode});
  };
}
$("pictures").checked = n <= 3000 && Object.keys(data.thumbnails).length > 0;
$("pictures").onchange = drawTiles;
$("find").oninput = find;
$("copy").onclick = copy;
$("clear").onclick = () => select([]);
$("canvas").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  event.preventDefault();
  KEYS[event.key]();
});
for (const button of document.querySelectorAll("button[data-point]")) button.onclick = () => show(Number(button.dataset.point), {scroll: true});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { categorise($("colour").value); legend(); draw(); });

categorise($("colour").value);
legend();
note();
draw().then(() => {
  plot.on("plotly_hover", (event) => hover(event.points[0].customdata));
  plot.on("plotly_unhover", () => { $("hover").hidden = true; });
  plot.on("plotly_click", (event) => show(event.points[0].customdata));
  plot.on("plotly_selected", (event) => { if (event && event.points) select(event.points.map((p) => p.customdata).sort((a, b) => a - b), {redraw: false}); });
  plot.on("plotly_deselect", () => select([], {redraw: false}));
  plot.on("plotly_relayout", moveRing);
  plot.on("plotly_relayouting", moveRing);
  document.documentElement.dataset.ready = "1";
});
})();
