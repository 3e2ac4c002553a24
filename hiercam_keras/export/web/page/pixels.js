// From a file to the pixels that the network takes, as the program reads them
// (data/decode.py and data/resize_windows.py), with the part of the photo that they show.

const MAX_PIXELS = 180e6; // of the program
const MAX_SIDE = 4096; // a longer side is shrunk to it first
const MIN_SIDE = 4;
const REDUCTIONS = [8, 4, 2, 1]; // sizes, 1 / these, at which a JPEG file is decoded
const LOSSY = new Set(["JPEG", "WebP", "HEIC"]);
const PREVIEW_SIDE = 1280;
const STRIP_PIXELS = 2 ** 22; // of a photo that are copied at a time
const MIN_STRIP = 32; // rows, so that whole blocks of 8 are among any of them

// The reason why a file gives no pixels, as a sentence for the person who chose it.
class BadPhoto extends Error {}

// Decodes a file. Gives {input, size, photo: [width, height], window: [left, top, right,
// bottom], preview}: `input` is float32 (size, size, 3) of 0..255, the window is what it
// shows in pixels of the photo, and the preview an ImageBitmap of the whole photo.
async function readPhoto(file, image) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const header = checked(bytes, file);
  const bitmap = await decoded(file, header);
  try {
    return await pixelsOf(bitmap, header, image);
  } finally {
    bitmap.close();
  }
}

function checked(bytes, file) {
  if (!bytes.length) throw new BadPhoto("The file is empty (0 bytes).");
  const header = readHeader(bytes);
  if (!header) {
    throw new BadPhoto(
      `This is no picture: it does not begin as a JPEG, PNG, WebP, GIF, BMP, AVIF or HEIC file does${
        file.type && !file.type.startsWith("image/") ? ` (its type is ${file.type})` : ""
      }. Choose a photo.`);
  }
  if (header.format === "cut") {
    throw new BadPhoto("The picture is cut short or damaged. Copy it again from where it came from.");
  }
  if (header.format === "TIFF") {
    throw new BadPhoto("This is a TIFF or raw photo, which browsers do not show. Export it as JPEG.");
  }
  if (header.width !== undefined) checkSize(header.width, header.height);
  return header;
}

function checkSize(width, height) {
  const millions = (width * height) / 1e6;
  if (width * height > MAX_PIXELS) {
    throw new BadPhoto(
      `The picture has ${Math.round(millions)} megapixels (${width} × ${height}); the limit is ` +
      `${MAX_PIXELS / 1e6}. Save a smaller copy.`);
  }
  if (Math.min(width, height) < MIN_SIDE) {
    throw new BadPhoto(`The picture is too small: ${width} × ${height} pixels.`);
  }
}

// Upright, without color management and on white, as the program has it.
async function decoded(file, header) {
  try {
    return await createImageBitmap(file, { colorSpaceConversion: "none" });
  } catch (error) {
    const millions = Math.round((header.width * header.height) / 1e6);
    if (millions > 20) {
      throw new BadPhoto(
        `The picture has ${millions} megapixels, and this browser cannot decode it: ${4 * millions} MB of ` +
        "memory are needed, or the file is damaged. Save a smaller copy.");
    }
    const other = header.format === "HEIC" || header.format === "AVIF";
    throw new BadPhoto(
      other
        ? `This browser does not read ${header.format} files. Save the photo as JPEG.`
        : `The picture begins as a ${header.format} file, but cannot be decoded: it is damaged. Copy it again.`);
  }
}

async function pixelsOf(bitmap, header, image) {
  const { width, height } = bitmap;
  checkSize(width, height);
  const plan = windowOf(width, height, image);
  const input = cutOut(bitmap, header, plan);
  const scale = Math.min(1, PREVIEW_SIDE / Math.max(width, height));
  const preview = await createImageBitmap(bitmap, {
    resizeWidth: Math.max(1, Math.round(width * scale)),
    resizeHeight: Math.max(1, Math.round(height * scale)),
    resizeQuality: "high",
  });
  return { input, size: plan.size, photo: [width, height], window: plan.window, preview };
}

// Where the network's square is: the size that the photo is resized to, the square's corner
// in it, and its edges in pixels of the photo. Python rounds halves to even.
function windowOf(width, height, image) {
  const { height: size, short_side: short } = image;
  const ratio = short / Math.min(width, height);
  const resized = [width, height].map((side) => Math.max(short, roundEven(side * ratio)));
  const start = resized.map((side) => Math.floor((side - size) / 2));
  const edge = (axis, at) => (at * [width, height][axis]) / resized[axis];
  const far = start.map((at) => at + size);
  const window = [edge(0, start[0]), edge(1, start[1]), edge(0, far[0]), edge(1, far[1])];
  return { size, resized, start, window };
}

function roundEven(value) {
  const low = Math.floor(value);
  const rest = value - low;
  if (rest !== 0.5) return Math.round(value);
  return low % 2 ? low + 1 : low;
}

// The network's square of a photo, as the program makes it: a large photo is shrunk first,
// of some files a copy is compressed, what was compressed with losses is then read as a JPEG
// file at 1/2, 1/4 or 1/8 of its size, and the square is cut and resized in one step.
function cutOut(bitmap, header, plan) {
  let source = canvasSource(bitmap);
  const longest = Math.max(source.width, source.height);
  if (longest > MAX_SIDE) {
    const kept = [source.width, source.height].map(
      (side) => Math.max(1, roundEven((side * MAX_SIDE) / longest)));
    source = sourceOf(resize(source, ...kept, [0, 0, source.width, source.height], "lanczos"));
  }
  const enough = Math.min(
    Math.floor(source.width / plan.resized[0]), Math.floor(source.height / plan.resized[1]));
  const times = LOSSY.has(header.format) ? REDUCTIONS.find((r) => r <= enough) || 1 : 1;
  const small = readSmall(source, times, isCopied(header, longest) ? COPY : header.coded);
  const edges = [source.width, source.height].map((side, axis) => {
    const scale = side / times / plan.resized[axis];
    const limit = [small.width, small.height][axis];
    return [plan.start[axis] * scale, Math.min((plan.start[axis] + plan.size) * scale, limit)];
  });
  const box = [edges[0][0], edges[1][0], edges[0][1], edges[1][1]];
  return Float32Array.from(resize(small, plan.size, plan.size, box, "bilinear").data);
}

// A file, or its copy, as libjpeg reads it at 1 / `times` of its size.
function readSmall(source, times, coded) {
  if (coded === COPY || (coded && times > 1)) return readAsJpeg(source, times, coded);
  return reduced(source, times);
}

// Whether the program reads a compressed copy of a file.
function isCopied({ format, orientation, components }, longest) {
  if (!LOSSY.has(format)) return false;
  return format !== "JPEG" || orientation !== 1 || components !== 3 || longest > MAX_SIDE;
}

// The rows of a bitmap through a canvas that is one strip high.
function canvasSource(bitmap) {
  const { width, height } = bitmap;
  const strip = Math.min(height, Math.max(MIN_STRIP, Math.floor(STRIP_PIXELS / width)));
  const canvas = new OffscreenCanvas(width, strip);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingEnabled = false;
  const rows = (top, count) => {
    context.fillStyle = "#fff"; // behind what is transparent
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    return context.getImageData(0, 0, width, count).data;
  };
  return { width, height, channels: 4, strip, rows };
}
