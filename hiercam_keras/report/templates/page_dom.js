// The data of the page, its state, and makers of elements. Names are data: they reach
// the page as text nodes only.
const data = JSON.parse(document.getElementById("data").textContent);
const get = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children);
  return element;
}

const percent = (x) => (x === null ? "–" : Math.round(100 * x) + "\u00a0%");
const fixed = (x, digits) => x.toFixed(digits).replace(/^-(?=[0.]*$)/, "");
const NO_HEATMAP = "no heatmap"; // of a degenerate map
const short = (x) => (x === null ? "–" : String(Number(x.toPrecision(3))));

for (const picture of data.pictures) {
  picture.taxa = data.lineages[picture.true];
  for (const view of picture.views) view.taxa = data.lineages[view.predicted];
}

// Common name of a taxon of a lineage, by the lineage's number; "" for none.
const commonOf = (number, depth) => (data.common[number] ?? [])[depth] ?? "";

// Text that is searched: true and predicted lineages of a picture, and its id.
const lineageText = data.lineages.map((taxa, number) =>
  [...taxa, ...(data.common[number] ?? [])].join("\n").toLowerCase());
for (const picture of data.pictures) {
  const words = [lineageText[picture.true], picture.name.toLowerCase(),
                 picture.id.toLowerCase()];
  for (const view of picture.views) {
    words.push(lineageText[view.predicted], view.name.toLowerCase());
  }
  picture.text = words.join("\n");
}

const sections = [...data.sections];
if (sections.length !== 1) {
  sections.push({ title: "all", note: "Every picture of this page, once.",
                  pictures: data.pictures.map((_, i) => i) });
}

const state = {
  section: 0,
  query: "",
  taxon: null, // [depth, lineage prefix as text]
  wanted: data.models.map(() => ""), // right or wrong, at which rank
  coherent: data.models.map(() => ""),
  reversed: false,
  list: [], // the pictures that match the filters, in order
  at: -1, // index of the focused card
  open: -1, // index of the picture in the large view
};

// Whether a model's answer is right down to a depth; null: it ends above it, or the
// picture has no taxon there, or the model no name for it.
function rightAt(view, picture, depth) {
  if (view.taxa.length <= depth || !picture.taxa[depth]) return null;
  if (view.known !== null && view.known <= depth) return null;
  for (let i = 0; i <= depth; i++) {
    if (view.taxa[i] !== picture.taxa[i]) return false;
  }
  return true;
}
