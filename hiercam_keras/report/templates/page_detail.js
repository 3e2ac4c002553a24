// The large view of one picture: all ranks and steps side by side, and its numbers.
function table(caption, header, rows) {
  const head = make("tr", "", ...header.map((text) => {
    const cell = make("th", "", text);
    cell.scope = "col";
    return cell;
  }));
  const body = rows.map(([label, ...cells]) => {
    const first = make("th", "", label);
    first.scope = "row";
    return make("tr", "", first, ...cells.map((cell) =>
      cell instanceof Node ? cell : make("td", "", cell)));
  });
  const region = make("div", "scroll", make("table", "", make("thead", "", head),
                                            make("tbody", "", ...body)));
  region.tabIndex = 0;
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", caption);
  return make("div", "", hinted(region), region);
}

// The finest taxon is shown by its display name: an epithet alone is not a name.
const finest = (taxa, depth, name) => (depth === taxa.length - 1 ? name : taxa[depth]);
// A name with the common name in brackets.
const titled = (name, common) => (common ? `${name} (${common})` : name);

function lineages(picture) {
  const header = ["rank", "true", ...data.models.map((m) => m.name)];
  const rows = data.ranks.map((rank, i) => {
    const depth = data.skip + i;
    const truth = finest(picture.taxa, depth, picture.name);
    const known = truth ? titled(truth, commonOf(picture.true, depth)) : "–";
    const cells = picture.views.map((view) => {
      const taxon = finest(view.taxa, depth, view.name);
      if (!taxon) return make("td", "", "–"); // no answer there, or no such rank
      const right = rightAt(view, picture, depth);
      return make("td", verdict(right), sign(right), " ",
                  make("span", "name", titled(taxon, commonOf(view.predicted, depth))));
    });
    return [rank, make("td", "name", known), ...cells];
  });
  return table("The answers at every rank", header, rows);
}

function numbers(picture) {
  const rows = [["probability", ...picture.views.map((v) => percent(v.p))]];
  if (picture.views.some((v) => v.energy !== null)) {
    rows.push([`energy on the ${data.noun}`,
               ...picture.views.map((v) => v.degenerate ? NO_HEATMAP : percent(v.energy))]);
  }
  if (picture.views.some((v) => v.coherent !== null)) {
    const words = { true: "coherent", false: "incoherent", null: "undecided" };
    rows.push(["the map is", ...picture.views.map((v) => words[v.coherent])]);
  }
  data.labels.view.forEach((label, i) => {
    if (picture.views.some((v) => v.numbers[i] !== null)) {
      rows.push([label, ...picture.views.map(
        (v) => v.degenerate ? NO_HEATMAP : short(v.numbers[i]))]);
    }
  });
  return table("The numbers of this picture", ["", ...data.models.map((m) => m.name)],
               rows);
}

function steps(picture) {
  if (!picture.steps.length) return [];
  const row = make("div", "strip steps",
                   ...picture.steps.map((step) => stepFigure(picture, step)));
  const title = make("h3", "", "The steps");
  const note = make("p", "note",
    `The evidence of the ${data.stepsOf} model for each taxon against its siblings; ` +
    "the share is the taxon's probability within its parent.");
  const parts = [title, note, row, ...scaleBar(picture.stepsTop)];
  if (data.labels.step.length) {
    const rows = data.labels.step.map((label, i) =>
      [label, ...picture.steps.map(
        (step) => step.degenerate ? NO_HEATMAP : short(step.numbers[i]))]);
    parts.push(table("The numbers of the steps",
                     ["", ...picture.steps.map((s) => `→ ${s.rank}`)], rows));
  }
  return parts;
}

function open(index) {
  const picture = state.list[index];
  if (!picture) return;
  state.open = index;
  const facts = [picture.split + " split"];
  if (picture.agreement !== null) {
    facts.push(`${data.agreementName} ${fixed(picture.agreement, 3)}`);
  }
  data.labels.picture.forEach((label, i) => {
    if (picture.numbers[i] !== null) facts.push(`${label} ${short(picture.numbers[i])}`);
  });
  if (picture.credit) facts.push(picture.credit);
  get("detail-title").textContent = titled(picture.name, picture.common);
  get("detail-body").replaceChildren(
    make("p", "id", `${index + 1} of ${state.list.length} · ${picture.id}`),
    make("p", "note", facts.join(" · ")),
    strip(picture), ...steps(picture), make("p", "note", data.scales), lineages(picture), numbers(picture));
  get("previous").disabled = index === 0;
  get("next").disabled = index === state.list.length - 1;
  if (!get("detail").open) {
    get("detail").showModal();
    get("detail").focus(); // a focused slider would consume the arrow keys
  }
  get("detail").scrollTop = 0;
}
