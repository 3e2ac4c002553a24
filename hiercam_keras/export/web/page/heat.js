// Maps as colors over a photo. A map is signed; where it is positive, it raises the score.

// matplotlib's inferno from 0.2 on, as in the program's overlays.
const WARM = [
  [66, 10, 104], [87, 16, 110], [106, 23, 110], [127, 30, 108], [147, 38, 103], [168, 46, 95],
  [188, 55, 84], [204, 66, 72], [221, 81, 58], [234, 99, 42], [243, 120, 25], [249, 142, 9],
  [252, 165, 10], [251, 190, 35], [246, 215, 70], [241, 239, 117], [252, 255, 164],
];
const FOR = [255, 140, 26]; // of a difference: for the taxon
const AGAINST = [38, 110, 255]; // and for its sibling
const FLAT = 1e-6; // a smaller range, relative to the maximum, is rounding
const OPACITY = 0.8; // exponent: the flanks of a peak stay visible
const SIDE = 224; // of a layer of heat, pixels

// Bilinear, with centers at half pixels and repeated edges, as the program enlarges maps.
function enlarge({ data, height, width }, side) {
  const axis = (length) => Array.from({ length: side }, (_, i) => {
    const center = ((i + 0.5) * length) / side - 0.5;
    const low = Math.floor(center);
    const clip = (at) => Math.min(length - 1, Math.max(0, at));
    return [clip(low), clip(low + 1), center - low];
  });
  const [rows, columns] = [axis(height), axis(width)];
  const out = new Float64Array(side * side);
  rows.forEach(([top, bottom, down], y) => {
    columns.forEach(([left, right, across], x) => {
      const mix = (row) => data[row * width + left] * (1 - across) + data[row * width + right] * across;
      out[y * side + x] = mix(top) * (1 - down) + mix(bottom) * down;
    });
  });
  return out;
}

// The positive part in 0..1; null for a map that is constant or nowhere positive.
function heatOf(map, side = SIDE) {
  const positive = { ...map, data: map.data.map((value) => Math.max(0, value)) };
  const high = Math.max(...positive.data);
  const low = Math.min(...positive.data);
  if (!(high - low > FLAT * high) || !Number.isFinite(high)) return null;
  const large = enlarge(positive, side);
  let [least, most] = [Infinity, -Infinity];
  for (const value of large) {
    least = Math.min(least, value);
    most = Math.max(most, value);
  }
  return large.map((value) => (value - least) / (most - least));
}

function warmColor(heat) {
  const at = heat * (WARM.length - 1);
  const low = Math.min(WARM.length - 2, Math.floor(at));
  return WARM[low].map((value, i) => value + (WARM[low + 1][i] - value) * (at - low));
}

// A canvas of heat over transparent, or of a hatch where there is no heat.
function heatLayer(map) {
  const heat = heatOf(map);
  if (!heat) return { canvas: hatch(), heat };
  return { canvas: painted(heat, (value) => [...warmColor(value), 255 * value ** OPACITY]), heat };
}

// A difference of maps, in two colors; `top` is the value of the full color.
function differenceLayer(map, top) {
  const large = enlarge(map, SIDE);
  return painted(large, (value) => {
    const strength = Math.min(1, Math.abs(value) / top);
    return [...(value > 0 ? FOR : AGAINST), 230 * strength ** OPACITY];
  });
}

function painted(values, color) {
  const side = Math.sqrt(values.length);
  const pixels = new ImageData(side, side);
  values.forEach((value, i) => pixels.data.set(color(value), 4 * i));
  const canvas = new OffscreenCanvas(side, side);
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function hatch() {
  const stripe = (i) => ((i % SIDE) + Math.floor(i / SIDE)) % 18 < 3;
  const lines = Float64Array.from({ length: SIDE * SIDE }, (_, i) => Number(stripe(i)));
  return painted(lines, (line) => (line ? [255, 255, 255, 150] : [128, 128, 128, 90]));
}

// Where the heat is, in words, for people who do not see it.
function inWords(heat) {
  if (!heat) return "nowhere positive, or constant: no place raises the score more than another";
  const side = Math.sqrt(heat.length);
  const peak = heat.indexOf(1) < 0 ? heat.indexOf(Math.max(...heat)) : heat.indexOf(1);
  const third = (at) => Math.min(2, Math.floor((3 * at) / side));
  const row = ["top", "middle", "bottom"][third(Math.floor(peak / side))];
  const column = ["left", "center", "right"][third(peak % side)];
  const place = row === "middle" && column === "center" ? "center" : `${row} ${column}`;
  const hot = heat.filter((value) => value >= 0.5).length / heat.length;
  return `strongest in the ${place} of the part that the network sees; ` +
    `${percent(hot)} of it is at least half as strong`;
}
