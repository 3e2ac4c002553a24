// The whole picture of a patch, with the heatmap and a frame around the patch.
const get = (id) => document.getElementById(id);
const patches = [...document.querySelectorAll("button.patch")];
let at = -1;

function strengthen(value) {
  const strength = Math.max(0, Math.min(100, value));
  get("strength").value = strength;
  document.documentElement.style.setProperty("--strength", strength / 100);
}

function show(index) {
  const patch = patches[index];
  if (!patch) return;
  at = index;
  const { picture, whole, heat, box, name, sure, credit, remark, top: hottest } =
    patch.dataset;
  get("large-title").textContent = name;
  get("picture").src = picture;
  get("picture").alt = `a picture of ${name}`;
  get("heat").src = heat;
  get("heat").alt = "heatmap of the step";
  get("whole").hidden = !whole;
  get("place").src = whole || "data:,";
  get("place").alt = whole ? `the whole photograph of ${name}` : "";
  const [left, top, width, height] = box.split(" ");
  Object.assign(get("frame").style, { left: `${left}%`, top: `${top}%`,
                                      width: `${width}%`, height: `${height}%` });
  get("credit").textContent =
    [`${index + 1} of ${patches.length}`, `sure: ${sure}`, remark, credit]
      .filter(Boolean).join(" · ");
  get("scale").hidden = !hottest;
  get("scale").setAttribute("aria-label", `colors from 0 to ${hottest}`);
  get("top").textContent = hottest;
  get("previous").disabled = index === 0;
  get("next").disabled = index === patches.length - 1;
  if (!get("large").open) {
    get("large").showModal();
    get("large").focus();
  }
}

patches.forEach((patch, index) => patch.addEventListener("click", () => show(index)));
get("strength").addEventListener("input", (event) => strengthen(+event.target.value));
get("previous").addEventListener("click", () => show(at - 1));
get("next").addEventListener("click", () => show(at + 1));
get("close").addEventListener("click", () => get("large").close());
get("large").addEventListener("click", (event) => {
  if (event.target === get("large")) get("large").close();
});
get("large").addEventListener("close", () => patches[at].focus());

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input")) return;
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (get("large").open) {
    if (step) event.preventDefault();
    if (step) show(at + step);
    if (event.key === "+" || event.key === "-") {
      strengthen(+get("strength").value + (event.key === "+" ? 10 : -10));
    }
  } else if (step) {
    const index = patches.indexOf(document.activeElement);
    if (index < 0) return;
    event.preventDefault();
    patches[Math.max(0, Math.min(patches.length - 1, index + step))].focus();
  }
});
strengthen(55);
