// Pillow's resize of 8-bit pictures in JavaScript, equal to the bit (libImaging's
// Resample.c): a horizontal and a vertical pass with weights of 22 bits after the point.
// Browsers resize in ways of their own, which differ by up to tens of levels.

const BITS = 22;
const KERNELS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  lanczos: {
    reach: 3,
    weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0),
  },
};

function sinc(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

// Weights of one axis. `from` and `to` are the edges of the box, of `size` pixels, that
// becomes `count` pixels. Of output pixel i, `first[i]` is the first input pixel and
// `used[i]` how many there are; their weights begin at i * `width`.
function axisWeights(size, from, to, count, kernel) {
  const { reach, weight } = KERNELS[kernel];
  const start = Math.fround(from); // Pillow keeps a box in single precision
  const scale = Math.fround(Math.fround(to) - start) / count;
  const stretch = Math.max(scale, 1);
  const support = reach * stretch;
  const width = Math.ceil(support) * 2 + 1;
  const first = new Int32Array(count);
  const used = new Int32Array(count);
  const weights = new Int32Array(count * width);
  const exact = new Float64Array(width);
  for (let i = 0; i < count; i += 1) {
    const center = start + (i + 0.5) * scale;
    const low = Math.max(0, Math.trunc(center - support + 0.5));
    const high = Math.min(size, Math.trunc(center + support + 0.5));
    let sum = 0;
    for (let x = low; x < high; x += 1) {
      exact[x - low] = weight((x - center + 0.5) * (1 / stretch));
      sum += exact[x - low];
    }
    for (let x = 0; x < high - low; x += 1) {
      const share = sum ? exact[x] / sum : exact[x];
      weights[i * width + x] = Math.trunc(share * 2 ** BITS + (share < 0 ? -0.5 : 0.5));
    }
    first[i] = low;
    used[i] = high - low;
  }
  return { first, used, weights, width };
}

function toByte(sum) {
  const value = sum >> BITS;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

// Resizes a box of a picture. `source` has `width`, `height` and `rows(top, count)`, which
// gives the pixels of at most `strip` rows as bytes with `channels` a pixel, so that a
// large picture is never copied whole. Gives RGB bytes {data, width, height}.
function resize(source, width, height, box, kernel) {
  const [left, top, right, bottom] = box;
  const across = axisWeights(source.width, left, right, width, kernel);
  const down = axisWeights(source.height, top, bottom, height, kernel);
  const low = down.first[0];
  const high = down.first[height - 1] + down.used[height - 1];
  const narrow = new Uint8Array((high - low) * width * 3);
  for (let y = low; y < high; y += source.strip) {
    const count = Math.min(source.strip, high - y);
    const pixels = source.rows(y, count);
    shrinkAcross(pixels, source, across, narrow.subarray((y - low) * width * 3), count, width);
  }
  return { data: shrinkDown(narrow, low, down, width, height), width, height };
}

function shrinkAcross(pixels, source, axis, out, count, width) {
  const { channels } = source;
  for (let y = 0; y < count; y += 1) {
    const row = y * source.width * channels;
    for (let i = 0; i < width; i += 1) {
      let red = 1 << (BITS - 1);
      let green = red;
      let blue = red;
      let at = row + axis.first[i] * channels;
      let weight = i * axis.width;
      for (const end = weight + axis.used[i]; weight < end; weight += 1, at += channels) {
        const share = axis.weights[weight];
        red += pixels[at] * share;
        green += pixels[at + 1] * share;
        blue += pixels[at + 2] * share;
      }
      const place = (y * width + i) * 3;
      out[place] = toByte(red);
      out[place + 1] = toByte(green);
      out[place + 2] = toByte(blue);
    }
  }
}

function shrinkDown(narrow, low, axis, width, height) {
  const line = width * 3;
  const out = new Uint8Array(height * line);
  const sums = new Float64Array(line);
  for (let i = 0; i < height; i += 1) {
    sums.fill(2 ** (BITS - 1));
    for (let y = 0; y < axis.used[i]; y += 1) {
      const share = axis.weights[i * axis.width + y];
      const from = (axis.first[i] + y - low) * line;
      for (let x = 0; x < line; x += 1) sums[x] += narrow[from + x] * share;
    }
    for (let x = 0; x < line; x += 1) out[i * line + x] = toByte(sums[x]);
  }
  return out;
}

// A picture of RGB bytes as a source of `resize`.
function sourceOf({ data, width, height }) {
  const rows = (top, count) => data.subarray(top * width * 3, (top + count) * width * 3);
  return { width, height, channels: 3, strip: height, rows };
}

// The averages of squares of `times` x `times` pixels, about what libjpeg gives for a file
// that it decodes at 1 / `times` of its size (jpeg.js has it for most files). Edges that are
// no multiple average what is there.
function reduced(source, times) {
  if (times === 1) return source;
  const width = Math.ceil(source.width / times);
  const height = Math.ceil(source.height / times);
  const rows = (top, count) => {
    const last = Math.min(source.height, (top + count) * times);
    const pixels = source.rows(top * times, last - top * times);
    return averages(pixels, source, last - top * times, times, width, count);
  };
  const strip = Math.max(1, Math.floor(source.strip / times));
  return { width, height, channels: 3, strip, rows };
}

function averages(pixels, source, tall, times, width, count) {
  const { channels } = source;
  const out = new Uint8Array(count * width * 3);
  for (let y = 0; y < count; y += 1) {
    const bottom = Math.min(tall, (y + 1) * times);
    for (let x = 0; x < width; x += 1) {
      const right = Math.min(source.width, (x + 1) * times);
      const sums = [0, 0, 0];
      for (let j = y * times; j < bottom; j += 1) {
        let at = (j * source.width + x * times) * channels;
        for (let i = x * times; i < right; i += 1, at += channels) {
          sums[0] += pixels[at];
          sums[1] += pixels[at + 1];
          sums[2] += pixels[at + 2];
        }
      }
      const area = (bottom - y * times) * (right - x * times);
      const place = (y * width + x) * 3;
      for (let c = 0; c < 3; c += 1) out[place + c] = Math.floor(sums[c] / area + 0.5);
    }
  }
  return out;
}
