// The model card, from card.json: fields become lists, records become tables.

const FIRST = ["accuracy", "limits", "data", "licence", "attributions", "taxonomy", "network", "preprocessing"];
const ELSEWHERE = ["schema_version", "title", "ranks", "heads", "taxonomy_source"]; // or of no interest

function showCard(card) {
  const rest = Object.keys(card).filter((name) => !FIRST.includes(name) && !ELSEWHERE.includes(name));
  const names = [...FIRST, ...rest].filter((name) => name in card && card[name] !== null);
  fill(get("card"), ...names.flatMap((name) => [
    element("dt", {}, words(name)), element("dd", {}, shown(card[name])),
  ]));
}

function words(name) {
  const text = name.replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

function shown(value) {
  if (value === null || value === undefined || value === "") return "not stated";
  if (typeof value === "number") return inDigits(value);
  if (typeof value !== "object") return String(value);
  if (Array.isArray(value)) {
    if (!value.length) return "none";
    if (value.every((one) => typeof one === "number")) return value.map(shown).join(" to ");
    if (value.every((one) => one && typeof one === "object" && !Array.isArray(one))) return tableFrom(value);
    return element("ul", {}, ...value.map((one) => element("li", {}, shown(one))));
  }
  return element("dl", {}, ...Object.entries(value).flatMap(([name, inner]) => [
    element("dt", {}, words(name)), element("dd", {}, shown(inner)),
  ]));
}

function inDigits(value) {
  if (Number.isInteger(value)) return String(value);
  return Math.abs(value) < 1e-3 ? value.toExponential(1) : String(Number(value.toPrecision(4)));
}

function tableFrom(records) {
  const names = [...new Set(records.flatMap(Object.keys))];
  const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, words(name))));
  const body = records.map((record) =>
    element("tr", {}, ...names.map((name) => element("td", {}, shown(record[name])))));
  return element("div", { class: "scroll", tabIndex: 0, role: "region", "aria-label": "Table" },
    element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}
