// The answer at every rank, as radio buttons: the chosen one is the one with the map.

function showRanks(photo, view) {
  const { lines, known, believed: deepest } = photo.answer;
  const rows = lines.map((line) => {
    const choice = element("input", {
      type: "radio", name: "rank", value: line.rank, checked: line.rank === view.rank,
    });
    const unsure = known && !line.sure && !line.single;
    const last = line.sure && line.rank === deepest.rank;
    const mark = last ? element("span", { class: "badge" }, "believed") : null;
    const doubt = unsure ? element("span", { class: "doubt" }, "not believed") : null;
    const common = line.taxon.common_name;
    return element("label", { class: `row${unsure ? " unsure" : ""}` },
      choice,
      element("span", { class: "rank" }, line.rank),
      element("span", { class: "taxon" },
        element("span", { class: isItalic(line.rank, line.taxon) ? "name latin" : "name" }, line.taxon.name),
        common && common !== line.taxon.name ? element("span", { class: "common" }, common) : null),
      element("span", { class: "marks" }, mark, doubt),
      element("span", { class: line.single ? "share single" : "share" },
        line.single ? "the only one" : percent(line.share)),
      line.single ? null : bar(line.share));
  });
  fill(get("ranks"), ...rows);
  showVerdict(photo.answer);
}

function isItalic(rank, { name }) {
  return !name.endsWith(" sp.") && ["genus", "species", "subspecies", "epithet"].includes(rank);
}

function showVerdict({ lines, known, believed: deepest, others }) {
  const verdict = get("verdict");
  const last = lines[lines.length - 1];
  if (others) {
    fill(verdict, element("b", {}, known ? "No name is believed." : "The answer may be far from right."),
      ` Taxa that this page leaves out have ${percent(others)} of the probability; the names below are ` +
      "the likeliest of the others.");
    return;
  }
  if (!known) {
    fill(verdict, element("b", {}, withCommon(last.taxon)),
      ` is the likeliest ${last.rank}, at ${percent(last.share)}. This network was not calibrated: ` +
      "down to which rank the answer can be believed is not known.");
  } else if (!deepest) {
    fill(verdict, element("b", {}, "No name is believed."),
      " At no rank does the probability reach the threshold of this network: " +
      "the photo may show something that it does not know.");
  } else {
    const more = lines.some((line) => line.rank === deepest.rank && line.sure)
      ? " Finer names are the likeliest ones, but not sure enough to be believed."
      : ` The likeliest ${last.rank} is of another ${deepest.rank}.`;
    fill(verdict, "Believed: ", element("b", {}, withCommon(deepest.taxon)),
      ` (${deepest.rank}, ${percent(deepest.share)}).`,
      last.sure ? "" : more);
  }
}

// The likeliest taxa of a rank.
function showBest(line, taxonomy) {
  get("best-title").textContent = `Likeliest ${plural(line.rank)}`;
  fill(get("best"), ...line.best.map(({ label, share }) => {
    const taxon = taxonomy.taxon(line.rank, label);
    return element("li", { class: label === line.label ? "own" : "" },
      element("span", { class: isItalic(line.rank, taxon) ? "name latin" : "name" }, taxon.name),
      taxon.common_name ? element("span", { class: "common" }, taxon.common_name) : null,
      element("span", { class: "share" }, percent(share)),
      bar(share));
  }));
}

// The two questions that a map answers; gives the one that is shown.
function showKinds(line, taxonomy, view, withSteps) {
  const parent = taxonomy.parent(line.rank, line.label);
  const among = parent ? `in ${parent.taxon.name}` : "of this network";
  get("kind-taxon-text").textContent = line.taxon.name;
  get("kind-step-text").textContent = line.alone
    ? `(no choice: the only ${line.rank} ${among})`
    : `among the ${listed(taxonomy.ranksOfChildren(line.rank, line.label).map(plural))} ${among}`;
  get("kind-step").disabled = line.alone || !withSteps;
  const kind = get("kind-step").disabled ? "taxon" : view.kind;
  get("kind-taxon").checked = kind === "taxon";
  get("kind-step").checked = kind === "step";
  return kind;
}
