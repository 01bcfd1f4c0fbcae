const queue = JSON.parse(document.getElementById("queue").textContent);
const tiles = queue.tiles;
const KEY = `crack-review-${queue.id}`;
const element = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("[data-answer]")];

// answers: tile -> answer. order: the tiles in the order of their answers, each with its previous answer, or null.
let answers = {};
let order = [];
let position = 0;
let shown = false; // the person asked to see the label of this tile

function keep() {
  try {
    localStorage.setItem(KEY, JSON.stringify({ answers, order }));
  } catch {
    element("storage").hidden = false;
  }
}

function restore() {
  try {
    const kept = JSON.parse(localStorage.getItem(KEY) || "{}");
    answers = kept.answers || {};
    order = kept.order || [];
  } catch {
    element("storage").hidden = false;
  }
}

function draw() {
  const tile = tiles[position];
  const answered = tiles.filter((one) => one.tile in answers).length;
  element("tile").src = tile.image;
  element("progress").max = tiles.length;
  element("progress").value = answered;
  const done = answered === tiles.length ? ". All tiles are answered. Save the answers" : "";
  element("count").textContent = `Tile ${position + 1} of ${tiles.length}, ${answered} answered${done}`;

  const answer = answers[tile.tile];
  for (const button of buttons) {
    button.classList.toggle("chosen", button.dataset.answer === answer);
    button.setAttribute("aria-pressed", String(button.dataset.answer === answer));
  }
  element("label").replaceChildren();
  if (shown || answer !== undefined) {
    const label = document.createElement("strong");
    label.textContent = tile.label;
    const sentence = tile.label ? ["The label is ", label, ". "] : ["This tile has no label yet. "];
    element("label").append(...sentence, tile.facts);
  }
  element("back").disabled = position === 0;
  element("next").disabled = position === tiles.length - 1;
  element("undo").disabled = order.length === 0;
  element("show").disabled = answer !== undefined;
  element("save").disabled = answered === 0;
}

function go(to) {
  if (to < 0 || to >= tiles.length) return;
  position = to;
  shown = false;
  draw();
}

function nextOpen(from) {
  for (let step = 1; step <= tiles.length; step += 1) {
    const to = (from + step) % tiles.length;
    if (!(tiles[to].tile in answers)) return to;
  }
  return from;
}

function give(answer) {
  const tile = tiles[position].tile;
  order.push({ tile, before: answers[tile] ?? null });
  answers[tile] = answer;
  keep();
  go(nextOpen(position));
}

function undo() {
  const last = order.pop();
  if (!last) return;
  if (last.before === null) delete answers[last.tile];
  else answers[last.tile] = last.before;
  keep();
  go(tiles.findIndex((one) => one.tile === last.tile));
}

function show() {
  shown = !shown;
  draw();
}

function cell(text) {
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

function save() {
  const given = tiles.filter((one) => one.tile in answers).map((one) => [one.tile, answers[one.tile]]);
  if (given.length === 0) return;
  const rows = [queue.file.columns, ...queue.file.given, ...given];
  const lines = rows.map((row) => row.map(cell).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
  link.download = queue.file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

const KEYS = {
  ArrowLeft: () => go(position - 1), ArrowRight: () => go(position + 1), z: undo, l: show, s: save,
};
for (const button of buttons) {
  KEYS[button.dataset.key] = () => give(button.dataset.answer);
  button.addEventListener("click", () => give(button.dataset.answer));
}
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action) {
    event.preventDefault();
    action();
  }
});
element("back").addEventListener("click", () => go(position - 1));
element("next").addEventListener("click", () => go(position + 1));
element("undo").addEventListener("click", undo);
element("show").addEventListener("click", show);
element("save").addEventListener("click", save);

restore();
position = nextOpen(-1 + tiles.length);
draw();
