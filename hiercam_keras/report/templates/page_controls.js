// Tabs, filters, order, slider and keys.
const START = 75; // strength of the heat, percent

function option(value, text) {
  const element = make("option", "", text);
  element.value = value;
  return element;
}

function strengthen(value) {
  const strength = Math.max(0, Math.min(100, value));
  for (const id of ["strength", "strength-large"]) get(id).value = strength;
  document.documentElement.style.setProperty("--strength", strength / 100);
}

sections.forEach((section, number) => {
  const button = make("button", "", `${section.title} (${section.pictures.length})`);
  button.type = "button";
  button.setAttribute("aria-pressed", String(number === 0));
  button.addEventListener("click", () => {
    state.section = number;
    for (const other of get("tabs").children) {
      other.setAttribute("aria-pressed", String(other === button));
    }
    update();
  });
  get("tabs").append(button);
});

// Every true taxon of the page, below its parent.
function taxonOptions() {
  const counts = new Map();
  for (const picture of data.pictures) {
    for (let depth = data.skip; depth < picture.taxa.length; depth++) {
      if (!picture.taxa[depth]) continue; // a rank that the lineage skips
      const text = prefixText(picture.taxa, depth);
      const last = depth === picture.taxa.length - 1;
      const known = counts.get(text);
      if (known) known.count += 1;
      else {
        counts.set(text, { depth, text, count: 1, taxa: picture.taxa,
                           name: titled(last ? picture.name : picture.taxa[depth],
                                        commonOf(picture.true, depth)) });
      }
    }
  }
  const path = (one) => one.taxa.slice(0, one.depth + 1).join("\u0000");
  return [...counts.values()].sort((a, b) => (path(a) < path(b) ? -1 : 1));
}
const taxa = taxonOptions();
taxa.forEach((taxon, number) => {
  const indent = "\u2003".repeat(taxon.depth - data.skip);
  get("taxon").append(option(number, `${indent}${taxon.name} (${taxon.count})`));
});
get("taxon").addEventListener("change", () => {
  const taxon = taxa[get("taxon").value];
  state.taxon = taxon ? [taxon.depth, taxon.text] : null;
  update();
});

data.models.forEach((model, k) => {
  const select = make("select", "", option("", "any"), option("right", "right"),
                      option("wrong", "wrong"));
  const own = data.ranks.indexOf(model.rank);
  for (let i = own - 1; i >= 0; i--) {
    for (const want of ["right", "wrong"]) {
      select.append(option(`${want}:${i}`, `${data.ranks[i]} ${want}`));
    }
  }
  select.dataset.model = model.name;
  select.addEventListener("change", () => {
    state.wanted[k] = select.value;
    update();
  });
  get("filters").append(make("label", "", make("span", "name", model.name), " ", select));
});
data.models.forEach((model, k) => {
  if (data.pictures.every((p) => p.views[k].coherent === null)) return;
  const select = make("select", "", option("", "any"), option("true", "coherent"),
                      option("false", "incoherent"), option("null", "undecided"));
  select.dataset.coherent = model.name;
  select.addEventListener("change", () => {
    state.coherent[k] = select.value;
    update();
  });
  get("filters").append(
    make("label", "", make("span", "name", `${model.name}: map`), " ", select));
});

keys.forEach((key, number) => get("sort").append(option(number, key.label)));
get("search").addEventListener("input", (event) => {
  state.query = event.target.value;
  update();
});
get("sort").addEventListener("change", update);
get("direction").addEventListener("click", () => {
  state.reversed = !state.reversed;
  get("direction").setAttribute("aria-pressed", String(state.reversed));
  get("direction").textContent = state.reversed ? "↑" : "↓";
  update();
});
for (const id of ["strength", "strength-large"]) {
  get(id).addEventListener("input", (event) => strengthen(+event.target.value));
}
get("clear").addEventListener("click", () => {
  get("controls").reset();
  Object.assign(state, { query: "", taxon: null });
  state.wanted.fill("");
  state.coherent.fill("");
  if (state.reversed) get("direction").click();
  strengthen(START);
  update();
});
get("controls").addEventListener("submit", (event) => event.preventDefault());
get("theme").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
});

get("previous").addEventListener("click", () => open(state.open - 1));
get("next").addEventListener("click", () => open(state.open + 1));
get("close").addEventListener("click", () => get("detail").close());
get("detail").addEventListener("click", (event) => {
  if (event.target === get("detail")) get("detail").close();
});
// The browser gives the focus back to the card that was opened: not where we are now.
get("detail").addEventListener("close", () => focus(state.open));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input, select")) {
    if (event.key === "Escape" && event.target.id === "search") event.target.blur();
    return;
  }
  // In a table or figure that is wider than its place the arrows move it.
  const sideways = event.target.closest(".scroll, .sideways");
  const step = sideways ? 0 : { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  const end = { Home: 0, End: state.list.length - 1 }[event.key];
  if (get("detail").open) {
    if (step) event.preventDefault();
    if (step && state.list[state.open + step]) open(state.open + step);
  } else if (step) {
    event.preventDefault();
    focus(state.at < 0 && step < 0 ? state.list.length - 1
                                   : Math.max(state.at + step, 0));
  } else if (end !== undefined && document.activeElement?.dataset?.index) {
    event.preventDefault();
    focus(end);
  } else if (event.key === "/") {
    event.preventDefault();
    get("search").focus();
  }
  if (event.key === "+" || event.key === "-") {
    strengthen(+get("strength").value + (event.key === "+" ? 10 : -10));
  }
});
get("cards").addEventListener("focusin", (event) => {
  const index = event.target.dataset.index;
  if (index !== undefined) state.at = Number(index);
});

update();
