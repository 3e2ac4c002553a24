// What the page is told, and small makers of elements. Names are data: they reach the
// page as text nodes only.
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
const short = (x) => (x === null ? "–" : String(Number(x.toPrecision(3))));

for (const picture of data.pictures) {
  picture.taxa = data.lineages[picture.true];
  for (const view of picture.views) view.taxa = data.lineages[view.predicted];
}

// Text that is searched: what a picture is, and what was said of it.
const lineageText = data.lineages.map((taxa) => taxa.join("\n").toLowerCase());
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
  list: [], // the pictures that fit, in order
  at: -1, // where the keyboard is
  open: -1, // the picture that is shown large
};

// Whether a lineage that was said is the true one down to a rank; null: not said.
function rightAt(said, truth, depth) {
  if (said.length <= depth) return null;
  for (let i = 0; i <= depth; i++) if (said[i] !== truth[i]) return false;
  return true;
}
