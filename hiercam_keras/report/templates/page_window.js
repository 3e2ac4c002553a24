// Only the cards near the viewport are in the document, for any number of pictures. All
// cards have the same height, so the position of each is known in advance.
const SPARE = 900; // pixels above and below the view in which cards are ready
const LEAST = 24; // cards, wherever the view is
const shown = new Map(); // index -> card
const grid = { columns: 1, row: 0 };

function measure() {
  const cards = get("cards");
  const style = getComputedStyle(cards);
  grid.columns = style.gridTemplateColumns.split(" ").length;
  const first = cards.firstElementChild;
  if (!first) return;
  grid.row = first.getBoundingClientRect().height + parseFloat(style.rowGap);
}

function clearWindow() {
  shown.clear();
  get("cards").replaceChildren();
}

// The cards from `first` to `last` (not with it) are in the document, in order.
function place(first, last) {
  for (const [index, old] of shown) {
    if (index < first || index >= last) {
      old.remove();
      shown.delete(index);
    }
  }
  let before = null;
  for (let index = last - 1; index >= first; index--) {
    let one = shown.get(index);
    if (!one) {
      one = card(state.list[index], index);
      shown.set(index, one);
      get("cards").insertBefore(one, before);
    }
    before = one;
  }
}

function drawWindow() {
  const count = state.list.length;
  const frame = get("window");
  if (!count) {
    clearWindow();
    frame.style.height = "";
    return;
  }
  if (!shown.size) place(0, 1); // something to measure
  measure();
  const rows = Math.ceil(count / grid.columns);
  const top = frame.getBoundingClientRect().top;
  const low = Math.floor((-top - SPARE) / grid.row);
  const high = Math.ceil((innerHeight - top + SPARE) / grid.row);
  const least = Math.ceil(LEAST / grid.columns);
  const first = Math.max(0, Math.min(rows - least, low));
  const last = Math.min(rows, Math.max(first + least, high));
  frame.style.height = `${rows * grid.row}px`;
  get("cards").style.top = `${first * grid.row}px`;
  place(first * grid.columns, Math.min(count, last * grid.columns));
}

let waiting = false;
function drawSoon() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawWindow();
  });
}
addEventListener("scroll", drawSoon, { passive: true });
addEventListener("resize", drawSoon);

// Brings the keyboard to a card, wherever it is.
function focus(index) {
  if (!state.list.length) return;
  index = Math.max(0, Math.min(state.list.length - 1, index));
  state.at = index;
  const bar = get("controls").getBoundingClientRect();
  const covered = getComputedStyle(get("controls")).position === "sticky"
    ? bar.height : 0;
  const top = get("window").getBoundingClientRect().top +
    Math.floor(index / grid.columns) * grid.row;
  let by = 0;
  if (top < covered + 8) by = top - covered - 8;
  else if (top + grid.row > innerHeight) by = top + grid.row - innerHeight;
  if (by) scrollBy({ top: by, behavior: "instant" });
  drawWindow();
  const button = shown.get(index)?.querySelector("h3 button");
  if (button) button.focus({ preventScroll: true });
}
