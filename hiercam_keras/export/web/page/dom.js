// Small helpers for elements. Text is always set as text: names come from anywhere.

const get = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "class") made.className = value;
    else if (name.startsWith("aria-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

function fill(parent, ...children) {
  parent.replaceChildren(...children.filter(Boolean));
}

function say(text) {
  get("status").textContent = text;
}

function bar(share) {
  const inner = element("span");
  inner.style.width = `${(100 * share).toFixed(2)}%`;
  return element("span", { class: "bar-of", "aria-hidden": "true" }, inner);
}

function listed(words) {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`;
}

function withCommon(taxon) {
  const common = taxon.common_name && taxon.common_name !== taxon.name ? taxon.common_name : "";
  return common ? `${taxon.name} (${common})` : taxon.name;
}

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}
