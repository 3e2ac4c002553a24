// The photos of this visit, in a strip of small pictures.

const STATES = { waiting: "waiting", working: "reading …", failed: "no picture" };
const SMALL = 64; // side of a small picture, CSS pixels

function showPhotos(photos, current, choose) {
  get("photos").hidden = photos.length < 2;
  const items = photos.map((photo) => {
    const picture = photo.seen ? smallPicture(photo) : element("span", { class: "none", "aria-hidden": "true" },
      photo.state === "failed" ? "!" : "…");
    const line = photo.answer?.lines.at(-1);
    const about = line ? `${percent(line.share)} ${line.taxon.name}` : STATES[photo.state];
    const button = element("button", {
      type: "button", class: "photo", onclick: () => choose(photo),
      "aria-current": photo === current ? "true" : "false",
    }, picture, element("span", { class: "what" },
      element("span", { class: "file" }, photo.name), element("span", { class: "said" }, about)));
    return element("li", {}, button);
  });
  const focused = [...get("strip").querySelectorAll("button")].indexOf(document.activeElement);
  fill(get("strip"), ...items);
  if (focused >= 0) get("strip").querySelectorAll("button")[focused]?.focus();
}

function smallPicture(photo) {
  photo.small ||= cutPreview(photo.seen, 2 * SMALL);
  photo.small.setAttribute("aria-hidden", "true");
  return photo.small;
}

// Arrow keys move along the strip.
function moveInStrip(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
  const buttons = [...get("strip").querySelectorAll("button")];
  const next = buttons[buttons.indexOf(document.activeElement) + step];
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.click();
}
