"use strict";
// The browser of pictures. Names are data: they reach the page as text nodes only.
(() => {
  const BATCH = 24;
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const state = { section: 0, query: "", right: data.models.map(() => ""),
                  reversed: false, shown: 0, list: [], open: -1 };

  // ---- small helpers -------------------------------------------------------
  function make(tag, className, ...children) {
    const element = document.createElement(tag);
    if (className) element.className = className;
    element.append(...children);
    return element;
  }
  const percent = (x) => (x === null ? "–" : Math.round(100 * x) + "\u00a0%");
  const short = (x) => (x === null ? "–" : String(Number(x.toPrecision(3))));
  const sections = [...data.sections];
  if (sections.length !== 1) {
    sections.push({ title: "all", note: "Every picture of this page, once.",
                    pictures: data.pictures.map((_, i) => i) });
  }
  for (const picture of data.pictures) {
    const words = [...picture.true, picture.name, picture.id];
    for (const view of picture.views) words.push(...view.predicted, view.name);
    picture.text = words.join("\n").toLowerCase();
  }

  // ---- what can be sorted by ----------------------------------------------
  const keys = [{ label: "as chosen", of: null },
                { label: "lineage", of: (p) => p.true.join(" ") + " " + p.name }];
  const labels = new Set(data.pictures.flatMap((p) => Object.keys(p.numbers)));
  if (data.pictures.some((p) => p.agreement !== null)) {
    keys.push({ label: data.agreementName, of: (p) => p.agreement });
  }
  if (data.pictures.some((p) => p.birdArea !== null)) {
    keys.push({ label: "size of the bird", of: (p) => p.birdArea });
  }
  for (const label of labels) {
    keys.push({ label, of: (p) => p.numbers[label] ?? null });
  }
  data.models.forEach((model, k) => {
    keys.push({ label: model.name + ": probability", of: (p) => p.views[k].p });
    if (data.pictures.some((p) => p.views[k].energy !== null)) {
      keys.push({ label: model.name + ": heat on the bird",
                  of: (p) => p.views[k].energy });
    }
    const own = new Set(data.pictures.flatMap((p) => Object.keys(p.views[k].numbers)));
    for (const label of own) {
      keys.push({ label: model.name + ": " + label,
                  of: (p) => p.views[k].numbers[label] ?? null });
    }
  });

  function compare(a, b) {
    if (a === b) return 0;
    if (a === null) return 1; // what is not known comes last, either way
    if (b === null) return -1;
    const order = a < b ? -1 : 1;
    return state.reversed ? -order : order;
  }

  // ---- the list ------------------------------------------------------------
  function update() {
    const words = state.query.toLowerCase().split(/\s+/).filter(Boolean);
    let list = sections[state.section].pictures.map((i) => data.pictures[i]);
    list = list.filter((p) =>
      words.every((word) => p.text.includes(word)) &&
      state.right.every((want, k) => !want || (want === "right") === p.views[k].right));
    const key = keys[Number(get("sort").value) || 0];
    if (key.of) {
      list = list.map((p) => [key.of(p), p]);
      list.sort((a, b) => compare(a[0], b[0]));
      list = list.map((pair) => pair[1]);
    } else if (state.reversed) {
      list.reverse();
    }
    state.list = list;
    state.shown = 0;
    get("cards").replaceChildren();
    showMore();
    tell();
  }

  function tell() {
    const all = sections[state.section].pictures.length;
    const parts = [state.list.length === all ? `${all} pictures`
                                             : `${state.list.length} of ${all} pictures`];
    data.models.forEach((model, k) => {
      const right = state.list.filter((p) => p.views[k].right).length;
      parts.push(`${model.name} right in ${right}`);
    });
    get("status").textContent = parts.join(" · ");
    get("note").textContent = sections[state.section].note;
    if (!state.list.length) {
      get("cards").append(make("p", "empty", "No picture fits these filters."));
    }
  }

  function showMore() {
    const end = Math.min(state.list.length, state.shown + BATCH);
    const cards = [];
    for (let i = state.shown; i < end; i++) cards.push(card(state.list[i], i));
    get("cards").append(...cards);
    state.shown = end;
    const left = state.list.length - end;
    get("more").textContent = left ? `${left} more below …` : "";
  }
  new IntersectionObserver((entries) => {
    if (entries.some((e) => e.isIntersecting) && state.shown < state.list.length) {
      showMore();
    }
  }, { rootMargin: "1200px" }).observe(get("more"));

  // ---- one picture ---------------------------------------------------------
  function image(className, source, alt) {
    const element = make("img", className);
    element.loading = "lazy";
    element.decoding = "async";
    element.alt = alt;
    element.src = source;
    return element;
  }

  // Taxa coarse to fine; the finest stands above as the name of the picture.
  function lineage(taxa) {
    const line = make("p", "lineage");
    taxa.slice(data.skip, -1).forEach((taxon, i) => {
      if (i) line.append(" › ");
      line.append(make("span", "", taxon));
    });
    return line;
  }

  function plain(picture) {
    const figure = make("figure", "", image("base", picture.image, picture.name));
    const caption = make("figcaption", "", "the picture");
    if (picture.birdArea !== null) {
      caption.append(make("br"), `bird: ${percent(picture.birdArea)} of it`);
    }
    figure.append(caption);
    return figure;
  }

  function overlay(picture, view) {
    const says = `${view.name}, ${percent(view.p)}`;
    const alt = view.degenerate
      ? `the map of the model ${view.model} says nothing of ${picture.name}`
      : `where the model ${view.model} looked in the picture of ${picture.name}; ` +
        `it says ${says}`;
    const stack = make("div", view.degenerate ? "stack blank" : "stack",
                       image("base", picture.image, ""), image("heat", view.heat, alt));
    const sign = make("span", "sign");
    sign.setAttribute("role", "img");
    sign.setAttribute("aria-label", view.right ? "right:" : "wrong:");
    const answer = make("span", view.right ? "right" : "wrong", sign, " ",
                        make("span", "name", view.name));
    const fill = make("div");
    fill.style.width = `${100 * view.p}%`;
    const track = make("div", "track " + (view.right ? "right" : "wrong"), fill);
    const caption = make("figcaption", "", make("b", "", view.model), ` ${percent(view.p)}`,
                         make("br"), answer, track);
    if (view.degenerate) caption.append("the map says nothing");
    else if (view.energy !== null) caption.append(`${percent(view.energy)} of the heat on the bird`);
    return make("figure", "", stack, caption);
  }

  function strip(picture) {
    return make("div", "strip", plain(picture),
                ...picture.views.map((view) => overlay(picture, view)));
  }

  function card(picture, index) {
    const title = make("button", "", picture.name);
    title.type = "button";
    title.dataset.index = index;
    title.addEventListener("click", () => open(index));
    const names = make("div", "", make("h3", "", title), lineage(picture.true));
    const header = make("header", "", names);
    if (picture.agreement !== null) {
      const badge = make("div", "badge", make("b", "", picture.agreement.toFixed(2)),
                         data.agreementName);
      header.append(badge);
    }
    const pictures = strip(picture);
    pictures.addEventListener("click", () => open(index));
    const article = make("article", "card", header, pictures);
    article.dataset.id = picture.id;
    return article;
  }

  // ---- one picture, large --------------------------------------------------
  function table(header, rows) {
    const head = make("tr", "", ...header.map((text) => make("th", "", text)));
    const body = rows.map(([label, ...cells]) => {
      const first = make("th", "", label);
      first.scope = "row";
      return make("tr", "", first, ...cells.map((cell) =>
        cell instanceof Node ? cell : make("td", "", cell)));
    });
    const region = make("div", "scroll", make("table", "", make("thead", "", head),
                                              make("tbody", "", ...body)));
    region.tabIndex = 0;
    return region;
  }

  // An epithet alone is no name: the finest taxon is shown by its display name.
  const finest = (taxa, depth, name) => (depth === taxa.length - 1 ? name : taxa[depth]);

  function lineages(picture) {
    const header = ["rank", "true", ...data.models.map((m) => m.name)];
    const rows = data.ranks.map((rank, i) => {
      const depth = data.skip + i;
      const truth = finest(picture.true, depth, picture.name) ?? "–";
      const cells = picture.views.map((view) => {
        const taxon = finest(view.predicted, depth, view.name);
        if (taxon === undefined) return make("td", "", "–");
        const same = view.predicted.slice(0, depth + 1)
          .every((name, k) => name === picture.true[k]);
        return make("td", same ? "right" : "wrong", make("span", "sign"), " ",
                    make("span", "name", taxon));
      });
      return [rank, make("td", "name", truth), ...cells];
    });
    return table(header, rows);
  }

  function numbers(picture) {
    const rows = [["probability", ...picture.views.map((v) => percent(v.p))]];
    if (picture.views.some((v) => v.energy !== null)) {
      rows.push(["heat on the bird", ...picture.views.map((v) => percent(v.energy))]);
    }
    const own = new Set(picture.views.flatMap((v) => Object.keys(v.numbers)));
    for (const label of own) {
      rows.push([label, ...picture.views.map((v) => short(v.numbers[label] ?? null))]);
    }
    return table(["", ...data.models.map((m) => m.name)], rows);
  }

  function open(index) {
    const picture = state.list[index];
    if (!picture) return;
    state.open = index;
    const facts = [picture.split + " split"];
    if (picture.agreement !== null) {
      facts.push(`${data.agreementName} ${picture.agreement.toFixed(3)}`);
    }
    for (const [label, value] of Object.entries(picture.numbers)) {
      facts.push(`${label} ${short(value)}`);
    }
    get("detail-title").textContent = picture.name;
    get("detail-body").replaceChildren(
      make("p", "id", `${index + 1} of ${state.list.length} · ${picture.id}`),
      make("p", "note", facts.join(" · ")),
      strip(picture), lineages(picture), numbers(picture));
    get("previous").disabled = index === 0;
    get("next").disabled = index === state.list.length - 1;
    if (!get("detail").open) get("detail").showModal();
  }

  function focus(index) {
    index = Math.max(0, Math.min(state.list.length - 1, index));
    while (state.shown <= index && state.shown < state.list.length) showMore();
    const button = get("cards").querySelector(`button[data-index="${index}"]`);
    if (!button) return;
    button.focus({ preventScroll: true });
    button.closest(".card").scrollIntoView({ block: "nearest" });
  }

  // ---- controls ------------------------------------------------------------
  function strengthen(value) {
    const strength = Math.max(0, Math.min(100, value));
    get("strength").value = strength;
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
  data.models.forEach((model, k) => {
    const select = make("select");
    for (const [value, text] of [["", "any"], ["right", "right"], ["wrong", "wrong"]]) {
      const option = make("option", "", text);
      option.value = value;
      select.append(option);
    }
    select.dataset.model = model.name;
    select.addEventListener("change", () => {
      state.right[k] = select.value;
      update();
    });
    get("filters").append(make("label", "", model.name, " ", select));
  });
  keys.forEach((key, number) => {
    const option = make("option", "", key.label);
    option.value = number;
    get("sort").append(option);
  });
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
  get("strength").addEventListener("input", (event) => strengthen(+event.target.value));
  get("clear").addEventListener("click", () => {
    get("controls").reset();
    state.query = "";
    state.right.fill("");
    if (state.reversed) get("direction").click();
    strengthen(75);
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
  get("detail").addEventListener("close", () => focus(state.open));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.matches("input, select, textarea")) {
      if (event.key === "Escape" && event.target.id === "search") event.target.blur();
      return;
    }
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (get("detail").open) {
        open(state.open + step);
      } else {
        const at = document.activeElement?.dataset?.index;
        focus(at === undefined ? (step > 0 ? 0 : state.list.length - 1) : +at + step);
      }
    } else if (event.key === "/" && !get("detail").open) {
      event.preventDefault();
      get("search").focus();
    } else if (event.key === "+" || event.key === "-") {
      strengthen(+get("strength").value + (event.key === "+" ? 10 : -10));
    }
  });

  update();
})();
