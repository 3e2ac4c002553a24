// What the first bytes of a file say: format, stored size, EXIF orientation, and the tables
// of a JPEG file. The size is known before anything is decoded, so that a huge picture is
// refused and not decoded.

function readHeader(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const text = (from, count) => String.fromCharCode(...bytes.subarray(from, from + count));
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) return readJpeg(view, bytes);
    if (text(0, 8) === "\x89PNG\r\n\x1a\n") {
      return { format: "PNG", width: view.getUint32(16), height: view.getUint32(20) };
    }
    if (text(0, 4) === "RIFF" && text(8, 4) === "WEBP") return readWebp(view, text(12, 4));
    if (text(0, 4) === "GIF8") {
      return { format: "GIF", width: view.getUint16(6, true), height: view.getUint16(8, true) };
    }
    if (text(0, 2) === "BM") {
      const height = Math.abs(view.getInt32(22, true));
      return { format: "BMP", width: view.getInt32(18, true), height };
    }
    if (text(4, 4) === "ftyp") {
      const brand = text(8, 4);
      if (/^(avif|avis)$/.test(brand)) return { format: "AVIF" };
      if (/^(heic|heix|heim|heis|hevc|mif1|msf1)$/.test(brand)) return { format: "HEIC" };
    }
    if (/^(II\*\0|MM\0\*)$/.test(text(0, 4))) return { format: "TIFF" };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { format: "cut" }; // it ends within its header
  }
  return null;
}

function readJpeg(view, bytes) {
  const found = { format: "JPEG", orientation: 1 };
  const tables = [];
  let parts = [];
  let at = 2;
  while (at < bytes.length) {
    if (view.getUint8(at) !== 0xff) return { format: "cut" };
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) { at += 1; continue; } // fill bytes
    const size = view.getUint16(at + 2);
    if (marker === 0xe1) found.orientation = readOrientation(bytes, at + 4, size - 2) || found.orientation;
    if (marker === 0xee && isRgb(view, at + 4, size - 2)) found.rgb = true;
    if (marker === 0xdb) readTables(view, at + 4, at + 2 + size, tables);
    const frame = marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
    if (frame) {
      found.height = view.getUint16(at + 5);
      found.width = view.getUint16(at + 7);
      found.components = view.getUint8(at + 9);
      parts = Array.from({ length: found.components }, (_, i) => ({
        sampling: view.getUint8(at + 11 + 3 * i), table: view.getUint8(at + 12 + 3 * i),
      }));
    }
    if (marker === 0xda) {
      if (!found.width || !found.height || !endsWhole(bytes, at)) return { format: "cut" };
      return { ...found, coded: found.rgb ? null : codingOf(parts, tables) };
    }
    at += 2 + size;
  }
  return { format: "cut" };
}

// Whether an Adobe segment says that the components are red, green and blue.
function isRgb(view, start, size) {
  const adobe = [..."Adobe"].every((letter, i) => view.getUint8(start + i) === letter.charCodeAt(0));
  return adobe && size >= 12 && view.getUint8(start + 11) === 0;
}

// The multiples of coefficients, of which the file has those of a diagonal together.
function readTables(view, start, end, tables) {
  for (let at = start; at < end;) {
    const kind = view.getUint8(at);
    const bytes = kind >> 4 ? 2 : 1;
    const table = [];
    ZIGZAG.forEach((place, i) => {
      table[place] = bytes === 2 ? view.getUint16(at + 1 + 2 * i) : view.getUint8(at + 1 + i);
    });
    tables[kind & 15] = table;
    at += 1 + 64 * bytes;
  }
}

const ZIGZAG = Array.from({ length: 64 }, (_, i) => i).sort((a, b) => {
  const [down, other] = [a, b].map((i) => (i >> 3) + (i & 7));
  if (down !== other) return down - other;
  return down % 2 ? a - b : b - a;
});

// {tables, across, down} for `readAsJpeg`: color has the size of luma, half of its width or
// half of both. Null of other files.
function codingOf(parts, tables) {
  const [luma, ...colors] = parts.map(({ sampling }) => sampling);
  const given = parts.map(({ table }) => tables[table]);
  if (parts.length !== 3 || given.includes(undefined) || colors.some((one) => one !== 0x11)) return null;
  if (![0x11, 0x21, 0x22].includes(luma)) return null;
  return { tables: given, across: luma >> 4, down: luma & 15 };
}

// A browser shows the upper part of a file that was cut short; the program refuses it.
function endsWhole(bytes, scan) {
  for (let at = bytes.length - 2; at > scan; at -= 1) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  }
  return false;
}

function readOrientation(bytes, start, size) {
  const exif = "Exif\0\0";
  if ([...exif].some((letter, i) => bytes[start + i] !== letter.charCodeAt(0))) return 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset + start + 6, Math.max(0, size - 6));
  try {
    const little = view.getUint16(0) === 0x4949;
    const first = view.getUint32(4, little);
    const count = view.getUint16(first, little);
    for (let i = 0; i < count; i += 1) {
      const entry = first + 2 + 12 * i;
      if (view.getUint16(entry, little) !== 0x0112) continue;
      const value = view.getUint16(entry + 8, little);
      return value >= 1 && value <= 8 ? value : 1;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error; // damaged EXIF data hurts no pixels
  }
  return 0;
}

function readWebp(view, kind) {
  const uint24 = (at) => view.getUint16(at, true) + (view.getUint8(at + 2) << 16);
  if (kind === "VP8X") return { format: "WebP", width: uint24(24) + 1, height: uint24(27) + 1 };
  if (kind === "VP8L") {
    const bits = view.getUint32(21, true);
    return { format: "WebP", width: (bits & 0x3fff) + 1, height: ((bits >> 14) & 0x3fff) + 1 };
  }
  const side = (at) => view.getUint16(at, true) & 0x3fff;
  return { format: "WebP", width: side(26), height: side(28) };
}
