// The large parts of the page: the worker, the runtime, the weights. They are in the page
// itself (base64 of gzip, for a page that is opened from disk), or files next to it.

async function loadAsset(asset, progress) {
  const packed = asset.id ? await unpackText(asset, progress) : await download(asset, progress);
  const zipped = packed[0] === 0x1f && packed[1] === 0x8b;
  if (!zipped) return packed.buffer;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).arrayBuffer();
}

// In pieces, so that the page can answer in between.
async function unpackText(asset, progress) {
  const element = document.getElementById(asset.id);
  const text = element.textContent.trim();
  element.remove();
  const padding = text.endsWith("==") ? 2 : text.endsWith("=") ? 1 : 0;
  const bytes = new Uint8Array((text.length / 4) * 3 - padding);
  const piece = 2 ** 20;
  for (let at = 0; at < text.length; at += piece) {
    const part = atob(text.slice(at, at + piece));
    const place = (at / 4) * 3;
    for (let i = 0; i < part.length; i += 1) bytes[place + i] = part.charCodeAt(i);
    progress(Math.min(1, (at + piece) / text.length) * asset.bytes);
    await new Promise((done) => setTimeout(done));
  }
  return bytes;
}

async function download(asset, progress) {
  let response;
  try {
    response = await fetch(asset.file);
  } catch (error) {
    if (location.protocol === "file:") {
      throw new Error("from disk, open the index.html in the folder above; this one is for a web server.");
    }
    throw new Error(`${asset.file} cannot be loaded: ${error.message}.`);
  }
  if (!response.ok) throw new Error(`${asset.file} cannot be loaded: the server answers ${response.status}.`);
  const parts = [];
  let length = 0;
  const reader = response.body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    parts.push(value);
    length += value.length;
    progress(Math.min(length, asset.bytes));
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

// The worker with the network in it, as functions that return promises.
class Engine {
  constructor(source) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    this.worker = new Worker(address);
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data }) => this.settle(data);
    this.worker.onerror = (event) => this.fail(event.message || "the worker could not be started");
  }

  call(task, message = {}, moved = []) {
    this.count += 1;
    const id = this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      this.worker.postMessage({ id, task, ...message }, moved);
    });
  }

  settle({ id, result, failure }) {
    const { resolve, reject } = this.waiting.get(id);
    this.waiting.delete(id);
    if (!failure) resolve(result);
    else reject(Object.assign(new Error(failure.text), { kind: failure.kind }));
  }

  fail(text) {
    for (const { reject } of this.waiting.values()) reject(new Error(text));
    this.waiting.clear();
  }
}

// What this page needs and an old browser lacks.
function missingFeatures() {
  const needed = ["WebAssembly", "DecompressionStream", "OffscreenCanvas", "Worker", "createImageBitmap"];
  const missing = needed.filter((name) => typeof globalThis[name] === "undefined");
  // A module with one instruction on vectors of 128 bits.
  const vectors = [
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0,
    10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
  ];
  if (!missing.includes("WebAssembly") && !WebAssembly.validate(new Uint8Array(vectors))) {
    missing.push("WebAssembly SIMD");
  }
  return missing;
}
