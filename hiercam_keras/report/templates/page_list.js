// Which pictures are shown, and in which order.
const prefixText = (taxa, depth) => JSON.stringify(taxa.slice(0, depth + 1));

function sortKeys() {
  const keys = [{ label: "as listed", of: null },
                { label: "lineage", of: (p) => p.taxa.join(" ") + " " + p.name }];
  if (data.pictures.some((p) => p.agreement !== null)) {
    keys.push({ label: data.agreementName, of: (p) => p.agreement });
  }
  if (data.pictures.some((p) => p.objectArea !== null)) {
    keys.push({ label: `area of the ${data.noun}`, of: (p) => p.objectArea });
  }
  data.labels.picture.forEach((label, i) => {
    keys.push({ label, of: (p) => p.numbers[i] });
  });
  data.models.forEach((model, k) => {
    keys.push({ label: `${model.name}: probability`, of: (p) => p.views[k].p });
    if (data.pictures.some((p) => p.views[k].energy !== null)) {
      keys.push({ label: `${model.name}: energy on the ${data.noun}`,
                  of: (p) => p.views[k].energy });
    }
    data.labels.view.forEach((label, i) => {
      if (data.pictures.some((p) => p.views[k].numbers[i] !== null)) {
        keys.push({ label: `${model.name}: ${label}`,
                    of: (p) => p.views[k].numbers[i] });
      }
    });
  });
  return keys.concat(stepKeys());
}

// Sort keys of the steps: their probability and every number that is known.
function stepKeys() {
  const ranks = new Set(data.pictures.flatMap((p) => p.steps.map((s) => s.rank)));
  return [...ranks].flatMap((rank) => {
    const of = (get) => (p) => {
      const step = p.steps.find((s) => s.rank === rank);
      return step ? get(step) : null;
    };
    const numbers = data.labels.step.map((label, i) =>
      ({ label: `step to ${rank}: ${label}`, of: of((s) => s.numbers[i]) }));
    return [{ label: `step to ${rank}: probability`, of: of((s) => s.p) },
            ...numbers.filter((key) => data.pictures.some((p) => key.of(p) !== null))];
  });
}
const keys = sortKeys();

function compare(a, b) {
  if (a === b) return 0;
  if (a === null) return 1; // unknown values come last in both directions
  if (b === null) return -1;
  const order = a < b ? -1 : 1;
  return state.reversed ? -order : order;
}

function fits(picture, words) {
  if (!words.every((word) => picture.text.includes(word))) return false;
  if (state.taxon) {
    const [depth, text] = state.taxon;
    if (prefixText(picture.taxa, depth) !== text) return false;
  }
  return picture.views.every((view, k) => {
    const coherent = state.coherent[k];
    if (coherent && String(view.coherent) !== coherent) return false;
    if (!state.wanted[k]) return true;
    const [want, rank] = state.wanted[k].split(":");
    if (!rank) return (want === "right") === view.right;
    const depth = data.skip + Number(rank);
    return rightAt(view, picture, depth) === (want === "right");
  });
}

function chosen() {
  const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
  const list = sections[state.section].pictures
    .map((i) => data.pictures[i])
    .filter((picture) => fits(picture, words));
  const key = keys[Number(get("sort").value) || 0];
  if (!key.of) return state.reversed ? list.reverse() : list;
  return list.map((p) => [key.of(p), p])
    .sort((a, b) => compare(a[0], b[0]))
    .map((pair) => pair[1]);
}

function showStatus() {
  const all = sections[state.section].pictures.length;
  const parts = [state.list.length === all ? `${all} pictures`
                                           : `${state.list.length} of ${all} pictures`];
  data.models.forEach((model, k) => {
    const right = state.list.filter((p) => p.views[k].right).length;
    parts.push(`${model.name} right in ${right}`);
  });
  get("status").textContent = parts.join(" · ");
  get("note").textContent = sections[state.section].note;
  get("empty").hidden = state.list.length > 0;
}

function update() {
  state.list = chosen();
  state.at = -1;
  showStatus();
  clearWindow();
  drawWindow();
}
