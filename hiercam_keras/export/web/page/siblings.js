// A taxon against its two nearest siblings: differences of maps, on one scale. One
// without siblings is compared with the likeliest other taxa of its rank.

const TILE = 320; // side of a picture, pixels

// Asks for the maps of the taxon and the others, once for each photo and rank. Gives
// [{other, share, map}], `map` being that of the taxon minus that of the other one.
async function differencesOf(photo, line, taxonomy, engine) {
  photo.differences ||= new Map();
  if (!photo.differences.has(line.rank)) {
    const others = nearestOthers(line, photo.seen.outputs);
    const taxa = [line.label, ...others].map((label) => taxonomy.leaves(line.rank, label));
    photo.differences.set(line.rank, engine.call("ask", { photo: photo.id, taxa }).then((maps) => {
      const [, height, width] = photo.seen.outputs.maps.dims;
      return others.map((label, i) => ({
        other: taxonomy.taxon(line.rank, label),
        share: sharesOf(line.rank, photo.seen.outputs)[label],
        map: { data: maps[0].map((value, cell) => value - maps[i + 1][cell]), height, width },
      }));
    }));
  }
  return photo.differences.get(line.rank);
}

function showSiblings(photo, line, found) {
  const section = get("siblings");
  section.hidden = !found.length;
  if (!found.length) return;
  const top = Math.max(...found.flatMap(({ map }) => Array.from(map.data, Math.abs))) || 1;
  const figures = found.map(({ other, share, map }) => {
    const canvas = cutPreview(photo.seen, TILE);
    const context = canvas.getContext("2d");
    context.drawImage(grayed(canvas), 0, 0);
    context.imageSmoothingQuality = "high";
    context.drawImage(differenceLayer(map, top), 0, 0, TILE, TILE);
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label",
      `${line.taxon.name} against ${other.name}: evidence for ${line.taxon.name} is ${side(map, 1)}, ` +
      `for ${other.name} ${side(map, -1)}`);
    return element("figure", {}, canvas, element("figcaption", {},
      "against ", element("b", { class: "name" }, withCommon(other)), ` ${percent(share)}`));
  });
  fill(get("pairs"), ...figures);
  get("siblings-title").textContent = !line.siblings.length
    ? `${line.taxon.name} has no siblings here: against the likeliest other ${plural(line.rank)}`
    : `${line.taxon.name} against its nearest ${found.length > 1 ? "siblings" : "sibling"}`;
  get("against-low").textContent = `−${top3(top)} for the other`;
  get("against-high").textContent = `for ${line.taxon.name} ${top3(top)}`;
}

// Where one sign of a difference is strongest.
function side(map, sign) {
  const heat = heatOf({ ...map, data: map.data.map((value) => sign * value) }, 96);
  return heat ? inWords(heat).split(" of the part")[0] : "nowhere";
}

function grayed(canvas) {
  const copy = new OffscreenCanvas(canvas.width, canvas.height);
  const context = copy.getContext("2d");
  context.filter = "grayscale(1) brightness(1.1) contrast(0.8)";
  context.drawImage(canvas, 0, 0);
  return copy;
}
