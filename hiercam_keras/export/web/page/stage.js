// The photo with a map over the part that the network sees.

// Draws the whole photo, and places window and heat in shares of it.
function showPhoto(photo) {
  const { preview, window: box, photo: [width, height] } = photo.seen;
  const canvas = get("picture");
  canvas.width = preview.width;
  canvas.height = preview.height;
  canvas.getContext("2d").drawImage(preview, 0, 0);
  get("stage").style.setProperty("--ratio", String(width / height));
  const [left, top, right, bottom] = box;
  Object.assign(get("window").style, {
    left: `${(100 * left) / width}%`, top: `${(100 * top) / height}%`,
    width: `${(100 * (right - left)) / width}%`, height: `${(100 * (bottom - top)) / height}%`,
  });
}

function showHeat(layer, label) {
  const canvas = get("heat");
  canvas.width = layer.canvas.width;
  canvas.height = layer.canvas.height;
  canvas.getContext("2d").drawImage(layer.canvas, 0, 0);
  get("stage").classList.toggle("flat", !layer.heat);
  get("picture").setAttribute("aria-label", label);
}

// The part of the photo that the network sees, as a canvas.
function cutPreview(seen, side) {
  const { preview, window: [left, top, right, bottom], photo: [width] } = seen;
  const scale = preview.width / width;
  const canvas = element("canvas", { width: side, height: side });
  canvas.getContext("2d").drawImage(
    preview, left * scale, top * scale, (right - left) * scale, (bottom - top) * scale, 0, 0, side, side);
  return canvas;
}

// Range of a map's values for its legend.
function top3(value) {
  return Number(value.toPrecision(2)).toString();
}

function showScale(map, heat) {
  get("scale").hidden = !heat;
  if (!heat) return;
  const most = Math.max(...map.data);
  const least = Math.max(0, Math.min(...map.data));
  get("scale-low").textContent = top3(least);
  get("scale-high").textContent = top3(most);
}
