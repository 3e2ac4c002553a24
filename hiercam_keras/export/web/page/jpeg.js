// What libjpeg reads of a JPEG file at 1/2, 1/4 or 1/8 of its size, from the pixels that the
// browser gives at full size.
//
// libjpeg averages what the inverse transform of each block gives, before it rounds to whole
// levels. In smooth parts the errors of rounding are the same over many pixels, so averages
// of pixels are off by up to half a level: enough to matter where a network is undecided.
// The transform of the decoded pixels, rounded to the multiples that the file's tables allow,
// is that of the file. The same, with tables of its own, makes a copy of another quality.

// libjpeg's tables for quality 95, row by row, of luma and chroma.
const QUALITY_95 = [
  [
    2, 1, 1, 2, 2, 4, 5, 6, 1, 1, 1, 2, 3, 6, 6, 6, 1, 1, 2, 2, 4, 6, 7, 6, 1, 2, 2, 3, 5, 9, 8, 6,
    2, 2, 4, 6, 7, 11, 10, 8, 2, 4, 6, 6, 8, 10, 11, 9, 5, 6, 8, 9, 10, 12, 12, 10, 7, 9, 10, 10, 11, 10, 10, 10,
  ],
  [
    2, 2, 2, 5, 10, 10, 10, 10, 2, 2, 3, 7, 10, 10, 10, 10, 2, 3, 6, 10, 10, 10, 10, 10, 5, 7, 10, 10, 10, 10, 10, 10,
    ...Array(32).fill(10),
  ],
];
const COPY = { tables: [QUALITY_95[0], QUALITY_95[1], QUALITY_95[1]], across: 1, down: 1 };
const SIDE_OF_BLOCK = 8;
const MOST_AT_ONCE = 2 ** 22; // pixels of the picture
// Cosines of the transform of 8 values: of even sums in the first 16, of odd differences in
// the others; 4 a coefficient.
const COSINES = Float64Array.from({ length: 32 }, (_, i) => {
  const frequency = 2 * (Math.floor(i / 4) % 4) + (i < 16 ? 0 : 1);
  return 0.5 * (frequency ? 1 : Math.SQRT1_2) * Math.cos(((2 * (i % 4) + 1) * frequency * Math.PI) / 16);
});

// A source of `resize` at 1 / `times` of the size of another one. `tables` are of the three
// components, 64 numbers each; `across` is 2 where color has half of the width, `down` where
// it has half of the height.
function readAsJpeg(source, times, { tables, across, down }) {
  const [width, height] = [source.width, source.height].map((side) => Math.ceil(side / times));
  const group = (SIDE_OF_BLOCK * down) / times; // rows of the result of one row of blocks
  const margin = down === 2 ? REACH : 0; // rows, as color is smoothed across blocks
  const rows = (top, count) => {
    const first = Math.floor(top / group) * group;
    const last = Math.min(height, Math.ceil((top + count) / group) * group);
    const low = Math.max(0, first * times - margin);
    const high = Math.min(source.height, last * times + margin);
    const planes = planesOf(source.rows(low, high - low), source, high - low);
    const size = { width, height: last - first };
    const small = planes.map((plane, i) => {
      const whole = { plane, width: source.width, low, high };
      const form = i ? { across, down } : { across: 1, down: 1 };
      return smallPlane(whole, first * times, size, times, tables[i], form);
    });
    const out = colors(small, width * (last - first));
    return out.subarray((top - first) * width * 3, (top - first + count) * width * 3);
  };
  const most = Math.min(source.strip, Math.max(4 * SIDE_OF_BLOCK, Math.floor(MOST_AT_ONCE / source.width)));
  const strip = Math.max(1, Math.floor((most - 2 * margin) / times) - 2 * group);
  return { width, height, channels: 3, strip, rows };
}

// Luma and chroma as the decoder had them, around 0.
function planesOf(pixels, { width, channels }, tall) {
  const [luma, blue, red] = [0, 1, 2].map(() => new Int16Array(width * tall));
  for (let i = 0, at = 0; i < width * tall; i += 1, at += channels) {
    const r = pixels[at];
    const g = pixels[at + 1];
    const b = pixels[at + 2];
    luma[i] = Math.round(0.299 * r + 0.587 * g + 0.114 * b) - 128;
    blue[i] = Math.round(-0.168735892 * r - 0.331264108 * g + 0.5 * b);
    red[i] = Math.round(0.5 * r - 0.418687589 * g - 0.081312411 * b);
  }
  return [luma, blue, red];
}

function colors([luma, blue, red], count) {
  const out = new Uint8ClampedArray(3 * count);
  for (let i = 0; i < count; i += 1) {
    const value = inByte(luma[i]) + 128;
    const cb = inByte(blue[i]);
    const cr = inByte(red[i]);
    out[3 * i] = value + 1.402 * cr; // rounded and clamped by the array
    out[3 * i + 1] = value - 0.344136286 * cb - 0.714136286 * cr;
    out[3 * i + 2] = value + 1.772 * cb;
  }
  return out;
}

// Halves are rounded up: flat blocks have many, which the last digits may not decide.
function inByte(value) {
  return Math.min(127, Math.max(-128, Math.floor(value + 0.5 + 1e-9)));
}

// One component at 1 / `times` of the size, from row `top` of the picture on. libjpeg reads
// color of half the width and height at twice this share, and that of half the width alone
// at this share, and doubles it.
function smallPlane(whole, top, { width, height }, times, table, { across, down }) {
  const pixels = across / down; // of the result, that a value is for
  const wide = Math.ceil(width / pixels);
  const out = new Float64Array(wide * height);
  const block = new Float64Array(64);
  const count = (SIDE_OF_BLOCK * down) / times; // values of a block, along each side
  for (let y = 0; y < height; y += count) {
    for (let x = 0; x < wide; x += count) {
      if (across === 2) takeHalved(whole, top + y * times, x * pixels * times, block, down);
      else takeBlock(whole, top + y * times, x * times, block);
      if (count === 1) {
        out[y * wide + x] = quantized(sumOf(block) / 8, table[0]) / 8;
        continue;
      }
      quantize(block, table);
      reduceBlock(block, count);
      const rows = Math.min(count, height - y);
      const columns = Math.min(count, wide - x);
      for (let j = 0; j < rows; j += 1) {
        for (let i = 0; i < columns; i += 1) out[(y + j) * wide + x + i] = block[8 * j + i];
      }
    }
  }
  return pixels === 2 ? doubled(out, wide, width, height, times < 8) : out;
}

// Each value becomes two, of which the outer quarter is the neighbor's where it is smooth.
function doubled(plane, wide, width, height, smooth) {
  const out = new Float64Array(width * height);
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      const at = y * wide + (x >> 1);
      const next = (x >> 1) + (x % 2 ? 1 : -1);
      const own = inByte(plane[at]);
      const alone = !smooth || next < 0 || next === wide;
      out[y * width + x] = alone
        ? own : Math.floor((3 * own + inByte(plane[y * wide + next]) + 1 + (x % 2)) / 4);
    }
  }
  return out;
}

function sumOf(block) {
  let sum = 0;
  for (let i = 0; i < 64; i += 1) sum += block[i];
  return sum;
}

// Beyond the picture its last row and column go on.
function takeBlock({ plane, width, low, high }, top, left, block) {
  for (let y = 0; y < 8; y += 1) {
    const row = (Math.min(high - 1, top + y) - low) * width;
    for (let x = 0; x < 8; x += 1) block[8 * y + x] = plane[row + Math.min(width - 1, left + x)];
  }
}

// Color at half the size was enlarged along each axis: pixels 2i and 2i + 1 have 3/4 of
// sample i, and 1/4 of the one before it or after it. The least squares for that: of pixels
// 2i, 2i - 2, ... and 2i + 1, 2i + 3, ... these weights (the last one ends the series).
const TAPS = [2 / 3, -2 / 9, 2 / 27, -1 / 54];
const REACH = 2 * TAPS.length - 1; // pixels beyond a block
const halved = new Float64Array((16 + 2 * REACH) * 8); // rows, halved along the other axis

function takeHalved({ plane, width, low, high }, top, left, block, down) {
  const last = width - 1;
  const margin = down === 2 ? REACH : 0;
  for (let y = 0; y < 8 * down + 2 * margin; y += 1) {
    const row = (Math.min(high - 1, Math.max(low, top + y - margin)) - low) * width;
    for (let x = 0; x < 8; x += 1) {
      const at = left + 2 * x;
      let sum = 0;
      for (let k = 0; k < TAPS.length; k += 1) {
        const before = Math.min(last, Math.max(0, at - 2 * k));
        const after = Math.min(last, at + 1 + 2 * k);
        sum += TAPS[k] * (plane[row + before] + plane[row + after]);
      }
      halved[8 * y + x] = sum;
    }
  }
  for (let i = 0; i < 64; i += 1) block[i] = down === 2 ? halfOf(i >> 3, i & 7) : halved[i];
}

function halfOf(y, x) {
  const at = 8 * (2 * y + REACH) + x;
  let sum = 0;
  for (let k = 0; k < TAPS.length; k += 1) sum += TAPS[k] * (halved[at - 16 * k] + halved[at + 8 + 16 * k]);
  return sum;
}

// The coefficients of a block, rounded to multiples of a table.
function quantize(block, table) {
  for (let i = 0; i < 8; i += 1) forward(block, 8 * i, 1);
  for (let i = 0; i < 64; i += 1) block[i] = inSteps(block[i]);
  for (let i = 0; i < 8; i += 1) forward(block, i, 8);
  for (let i = 0; i < 64; i += 1) block[i] = quantized(block[i], table[i]);
}

// As libjpeg does, from eighths.
function quantized(value, unit) {
  const eighths = Math.round(8 * value);
  return Math.sign(eighths) * unit * Math.floor((Math.abs(eighths) + 4 * unit) / (8 * unit));
}

// Coefficients become `count` x `count` averages of what they are the transform of.
function reduceBlock(block, count) {
  for (let x = 0; x < 8; x += 1) {
    inverse(block, x, 8);
    for (let j = 0; j < count; j += 1) block[8 * j + x] = inSteps(averageOf(j, count));
  }
  for (let j = 0; j < count; j += 1) {
    inverse(block, 8 * j, 1);
    for (let i = 0; i < count; i += 1) block[8 * j + i] = averageOf(i, count);
  }
}

// Between the transforms of rows and columns libjpeg keeps two bits after the point, of
// values that are larger by the root of 8.
const STEP = 1 / (4 * Math.sqrt(8));

function inSteps(value) {
  return STEP * Math.floor(value / STEP + 0.5 + 1e-9);
}

const values = new Float64Array(8); // of one transform

function averageOf(place, count) {
  const side = 8 / count;
  let sum = 0;
  for (let i = place * side; i < (place + 1) * side; i += 1) sum += values[i];
  return sum / side;
}

// The values from `from` on, `step` apart, become their transform.
function forward(block, from, step) {
  for (let i = 0; i < 4; i += 1) {
    const one = block[from + i * step];
    const other = block[from + (7 - i) * step];
    values[i] = one + other;
    values[4 + i] = one - other;
  }
  for (let k = 0; k < 8; k += 1) {
    const at = k % 2 ? 4 : 0;
    const row = 4 * at + 4 * (k >> 1);
    block[from + k * step] =
      values[at] * COSINES[row] + values[at + 1] * COSINES[row + 1] +
      values[at + 2] * COSINES[row + 2] + values[at + 3] * COSINES[row + 3];
  }
}

// Puts into `values` what the coefficients from `from` on are the transform of.
function inverse(block, from, step) {
  for (let i = 0; i < 4; i += 1) {
    let even = 0;
    let odd = 0;
    for (let k = 0; k < 4; k += 1) {
      even += block[from + 2 * k * step] * COSINES[4 * k + i];
      odd += block[from + (2 * k + 1) * step] * COSINES[16 + 4 * k + i];
    }
    values[i] = even + odd;
    values[7 - i] = even - odd;
  }
}
