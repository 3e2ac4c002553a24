// The page: photos come in, are answered one after the other, and one of them is shown.

const about = JSON.parse(get("taxonomy").textContent);
const card = JSON.parse(get("card-data").textContent);
const assets = JSON.parse(get("assets").textContent);
const taxonomy = new Taxonomy(about);
const photos = [];
const view = { rank: taxonomy.ranks.at(-1), kind: "taxon", strength: 0.75, layer: null, title: "" };
let engine = null;
let current = null;
let working = false;

// Loading.

async function start() {
  const missing = missingFeatures();
  if (missing.length) {
    throw new Error(
      `this browser lacks ${missing.join(", ")}. Use a current Firefox, Chrome, Edge or Safari.`);
  }
  const { threads: asked, webgpu } = optionsOf(location.search);
  const { worker } = await load(["worker"]);
  engine = new Engine(worker);
  const facts = {
    image: about.image,
    batch: typeof about.batch === "number" ? about.batch : 1,
    taxaAtOnce: fixedTaxa(),
    leaves: taxonomy.count(taxonomy.finest),
    nothing: [0, 1],
  };
  const gpu = assets.gpuRuntime && webgpu !== "off" ? await startGpu(facts, webgpu === "software") : {};
  const provider = gpu.started ? "webgpu" : "wasm";
  const threads = gpu.started ? 1 : await startWasm(facts, asked, gpu.keepsModel);
  get("loading").hidden = true;
  showEngine({ provider, threads, asked, problem: gpu.problem });
  Object.assign(document.documentElement.dataset, { ready: "yes", threads, provider });
  say("The network is ready.");
  work();
}

// How many taxa the file takes at once; 0 for any number.
function fixedTaxa() {
  const shape = about.input.taxa || [];
  return typeof shape[0] === "number" ? shape[0] : 0;
}

function showFailure(error) {
  get("loading").hidden = true;
  fill(get("problem"), element("b", {}, "The network cannot be started: "), String(error.message || error));
  get("problem").hidden = false;
  document.documentElement.dataset.ready = "failed";
}

// Photos.

function add(files) {
  for (const file of files) {
    photos.push({ id: photos.length, name: file.name || "pasted picture", file, state: "waiting" });
  }
  if (!files.length) return;
  current = photos[photos.length - files.length];
  document.body.classList.add("has-photos");
  showCurrent();
  work();
}

async function work() {
  if (working || document.documentElement.dataset.ready !== "yes") return;
  working = true;
  for (;;) {
    const photo = photos.find(({ state }) => state === "waiting");
    if (!photo) break;
    photo.state = "working";
    refresh(photo);
    try {
      photo.seen = await engine.call("look", { photo: photo.id, file: photo.file });
      photo.answer = answerOf(photo.seen.outputs, taxonomy);
      photo.state = "done";
      say(`${photo.name}: ${spoken(photo.answer)}`);
    } catch (error) {
      photo.state = "failed";
      photo.failure = error.kind === "photo" ? error.message : `${error.message}${advice()}`;
      say(`${photo.name}: ${photo.failure}`);
    }
    photo.file = null;
    refresh(photo);
  }
  working = false;
}

// A graphics processor may be taken away at any time.
function advice() {
  return document.documentElement.dataset.provider === "webgpu"
    ? " To compute without the graphics processor, add ?webgpu=off to the address of this page." : "";
}

function spoken({ lines, known, believed: deepest }) {
  const last = lines.at(-1);
  const answer = `${last.rank} ${withCommon(last.taxon)}, ${percent(last.share)}`;
  if (!known) return answer;
  return deepest ? `${answer}; believed down to ${deepest.rank}` : `${answer}; no name is believed`;
}

function refresh(photo) {
  if (photo === current) showCurrent();
  else showPhotos(photos, current, choose);
}

function choose(photo) {
  current = photo;
  showCurrent();
}

// What is shown.

function showCurrent() {
  showPhotos(photos, current, choose);
  const { state } = current;
  get("result").hidden = false;
  get("file-name").textContent = current.name;
  get("wait").hidden = state !== "waiting" && state !== "working";
  get("wait").textContent = engine && document.documentElement.dataset.ready === "yes"
    ? "Reading the photo …" : "The photo is read as soon as the network is loaded.";
  get("failure").hidden = state !== "failed";
  get("failure").textContent = current.failure || "";
  get("shown").hidden = state !== "done";
  get("answers").hidden = state !== "done";
  get("siblings").hidden = true;
  if (state !== "done") return;
  if (!current.answer.lines.some(({ rank }) => rank === view.rank)) {
    view.rank = current.answer.lines.at(-1).rank;
  }
  showPhoto(current);
  showRanks(current, view);
  showMap();
}

function showMap() {
  const { answer, seen } = current;
  const line = answer.lines.find(({ rank }) => rank === view.rank);
  showBest(line, taxonomy);
  const { maps, steps } = seen.outputs;
  for (const id of ["kinds", "tools", "map-words", "save-picture", "window"]) get(id).hidden = !maps;
  if (!maps) {
    get("map-title").textContent = "This network cannot make maps: its file has none.";
    return;
  }
  const kind = showKinds(line, taxonomy, view, Boolean(steps));
  const map = mapAt(kind === "step" ? steps : maps, line.depth);
  view.layer = heatLayer(map);
  const question = kind === "step" ? get("kind-step-text").textContent : "";
  view.title = `Map of the ${line.rank} ${line.taxon.name} ${question}`.trim();
  get("map-title").textContent = view.title;
  showHeat(view.layer, `${current.name}. ${view.title}, ${inWords(view.layer.heat)}.`);
  get("map-words").textContent = `The map is ${inWords(view.layer.heat)}.`;
  showScale(map, view.layer.heat);
  if (about.input.taxa) askSiblings(current, line);
}

async function askSiblings(photo, line) {
  get("siblings").setAttribute("aria-busy", "true");
  try {
    const found = await differencesOf(photo, line, taxonomy, engine);
    if (photo !== current || line.rank !== view.rank) return; // another one was chosen meanwhile
    showSiblings(photo, line, found);
    get("siblings").setAttribute("aria-busy", "false");
  } catch (error) {
    get("siblings").hidden = true;
    say(`The siblings cannot be compared: ${error.message}`);
  }
}

function strengthen(value) {
  view.strength = value / 100;
  get("stage").style.setProperty("--strength", String(view.strength));
}

// Where photos come from.

function imagesIn(transfer) {
  return [...(transfer?.files || [])];
}

function listen() {
  get("choose").addEventListener("click", () => get("files").click());
  get("take").addEventListener("click", () => get("camera").click());
  for (const id of ["files", "camera"]) {
    get(id).addEventListener("change", (event) => {
      add([...event.target.files]);
      event.target.value = "";
    });
  }
  let inside = 0; // enter and leave come for every element
  document.addEventListener("dragenter", () => { inside += 1; document.body.classList.add("over"); });
  document.addEventListener("dragleave", () => {
    inside -= 1;
    if (inside <= 0) document.body.classList.remove("over");
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    inside = 0;
    document.body.classList.remove("over");
    const files = imagesIn(event.dataTransfer);
    if (files.length) add(files);
    else say("What was dropped is no file. Save the picture first, then drop the file.");
  });
  document.addEventListener("paste", (event) => {
    const files = imagesIn(event.clipboardData);
    if (files.length) add(files);
    else say("The clipboard holds no picture.");
  });
  get("ranks").addEventListener("change", (event) => { view.rank = event.target.value; showMap(); });
  get("kinds").addEventListener("change", (event) => { view.kind = event.target.value; showMap(); });
  get("strength").addEventListener("input", (event) => strengthen(Number(event.target.value)));
  get("strip").addEventListener("keydown", moveInStrip);
  get("save-table").addEventListener("click", () =>
    save(new Blob(["\ufeff", tableOf(photos, taxonomy)], { type: "text/csv" }), "answers.csv"));
  get("save-picture").addEventListener("click", () => {
    const name = `${current.name.replace(/\.\w+$/, "")}-${view.rank}.png`;
    pictureOf(current, view, card).toBlob((blob) => save(blob, name));
  });
  get("theme").addEventListener("click", () => {
    const chosen = document.documentElement.dataset.theme;
    const dark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    document.documentElement.dataset.theme = dark ? "light" : "dark";
  });
}

// For tests, and for scripts around this page.
globalThis.hiercam = { photos, get engine() { return engine; } };

showCard(card);
listen();
strengthen(75);
start().catch(showFailure);
