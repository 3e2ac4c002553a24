// The figures of one picture with all its overlays, on a card and in the large view.
function image(className, source, alt) {
  const element = make("img", className);
  element.loading = "lazy";
  element.decoding = "async";
  element.alt = alt;
  element.src = source;
  return element;
}

// Taxa coarse to fine, without the finest one, which is the title of the card.
function lineage(taxa) {
  const line = make("p", "lineage");
  taxa.slice(data.skip, -1).filter(Boolean).forEach((taxon, i) => {
    if (i) line.append(" › ");
    line.append(make("span", "", taxon));
  });
  return line;
}

function plain(picture) {
  const figure = make("figure", "", image("base", picture.image, picture.name));
  const caption = make("figcaption", "", make("span", "line", "the picture"));
  if (picture.objectArea !== null) {
    caption.append(make("span", "line", `${data.noun}: ${percent(picture.objectArea)} of it`));
  }
  figure.append(caption);
  return figure;
}

// The model may not have the true taxon: then an answer is neither right nor wrong.
const verdict = (right) => (right === null ? "open" : right ? "right" : "wrong");

function sign(right) {
  const element = make("span", "sign");
  element.setAttribute("role", "img");
  element.setAttribute("aria-label", `${verdict(right)}:`);
  return element;
}

function answer(right, name, common) {
  const line = make("span", `line said ${verdict(right)}`, sign(right), " ",
                    make("span", "name", name));
  if (common) line.append(make("br"), make("span", "name common", common));
  line.title = common ? `${name} (${common})` : name;
  return line;
}

// A line for a common name, where any taxon of the page has one: on a card it is cut.
function commonLine(name) {
  if (!data.common.length) return [];
  const line = make("span", "line common name", name || "\u00a0");
  if (name) line.title = name;
  return [line];
}

// A long name is shortened, its probability never.
function heading(name, share) {
  const line = make("span", "line head", make("b", "", name), " ",
                    make("span", "share", percent(share)));
  line.title = name;
  return line;
}

function bar(share, right) {
  const fill = make("div");
  fill.style.width = `${100 * share}%`;
  return make("div", "track " + verdict(right), fill);
}

function stack(picture, heat, degenerate, alt) {
  const layers = make("div", degenerate ? "stack blank" : "stack",
                      image("base", picture.image, heat ? "" : alt));
  if (heat) layers.append(image("heat", heat, alt));
  return layers;
}

function overlay(picture, view, k) {
  const model = data.models[k].name;
  const alt = view.degenerate
    ? `no heatmap of the model ${model} for ${picture.name}`
    : `where the model ${model} looked in the picture of ${picture.name}; ` +
      `prediction: ${view.name}, ${percent(view.p)}`;
  const head = heading(model, view.p);
  let last = "\u00a0";
  if (view.degenerate) last = NO_HEATMAP;
  else if (view.remark) last = view.remark;
  else if (view.energy !== null) {
    last = `${percent(view.energy)} of the energy on the ${data.noun}`;
  }
  const note = make("span", "line about", last);
  note.title = last;
  return make("figure", "", stack(picture, view.heat, view.degenerate, alt),
              make("figcaption", "", head, answer(view.right, view.name, view.common),
                   bar(view.p, view.right), note));
}

function stepFigure(picture, step) {
  if (step.note) { // a taxon without siblings
    const words = [make("b", "line", `→ ${step.rank}`),
                   make("span", "line name", step.name), ...commonLine(step.common),
                   make("span", "line", step.note)];
    const alt = `no step to the ${step.rank} ${step.name}: it has no siblings`;
    return make("figure", "", stack(picture, null, true, alt),
                make("figcaption", "", ...words));
  }
  const alt = step.degenerate
    ? `no heatmap of the step to the ${step.rank} for ${picture.name}`
    : `evidence for the ${step.rank} ${step.name} against its siblings in the ` +
      `picture of ${picture.name}`;
  const head = heading(`→ ${step.rank}`, step.p);
  let last = "\u00a0";
  if (step.degenerate) last = NO_HEATMAP;
  else if (step.remark) last = step.remark;
  return make("figure", "", stack(picture, step.heat, step.degenerate, alt),
              make("figcaption", "", head, answer(step.right, step.name, step.common),
                   bar(step.p, step.right), make("span", "line", last)));
}

// The color bar of maps that share one scale; nothing where each has its own.
function scaleBar(top) {
  if (!top) return [];
  const bar = make("div", "scale", make("span", "", "0"), make("div", "ramp"),
                   make("span", "", top));
  bar.setAttribute("role", "img");
  bar.setAttribute("aria-label", `colors from 0 to ${top}`);
  return [bar];
}

function strip(picture) {
  return make("div", "strip", plain(picture),
              ...picture.views.map((view, k) => overlay(picture, view, k)));
}

function card(picture, index) {
  const title = make("button", "", picture.name);
  title.type = "button";
  title.title = picture.name;
  title.dataset.index = index;
  title.addEventListener("click", () => open(index));
  const names = make("div", "names", make("h3", "", title),
                     ...commonLine(picture.common), lineage(picture.taxa));
  const header = make("header", "", names);
  if (picture.agreement !== null) {
    const badge = make("div", "badge", make("b", "", fixed(picture.agreement, 2)),
                       data.agreementName);
    header.append(badge);
  }
  const pictures = strip(picture);
  pictures.addEventListener("click", () => open(index));
  const article = make("article", "card", header, pictures);
  article.dataset.id = picture.id;
  article.setAttribute("aria-posinset", index + 1);
  article.setAttribute("aria-setsize", state.list.length);
  return article;
}
