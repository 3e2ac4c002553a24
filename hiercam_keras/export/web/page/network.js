// The network in ONNX Runtime Web: pixels to logits, probabilities, path and maps.

// Starts the runtime and the network. `runtime` (a module), `wasm` and `model` are bytes,
// `batch` is the number of photos of the file's input, `threads` is 0 for the runtime's
// choice, and `provider` is "wasm" or "webgpu". The module's address is made here: a page
// that is opened from disk cannot give one to its worker.
async function startNetwork({ runtime, wasm, model, batch, threads, provider }) {
  const ort = await import(URL.createObjectURL(new Blob([runtime], { type: "text/javascript" })));
  ort.env.logLevel = "error"; // it warns of a single thread, which is usual here
  ort.env.wasm.wasmBinary = wasm;
  if (threads) ort.env.wasm.numThreads = Math.min(threads, navigator.hardwareConcurrency || 1);
  const session = await ort.InferenceSession.create(new Uint8Array(model), {
    executionProviders: [provider],
    logSeverityLevel: 3, // errors
  });
  return new Network(ort, session, batch);
}

class Network {
  constructor(ort, session, batch) {
    this.ort = ort;
    this.session = session;
    this.batch = batch;
  }

  // Everything about one photo: {name: {data, dims}} without the axis of photos. `taxa` are
  // rows of 0 and 1 over the labels of the finest rank; null where no maps are asked for.
  async run(input, size, taxa) {
    const photos = new Float32Array(this.batch * input.length);
    for (let i = 0; i < this.batch; i += 1) photos.set(input, i * input.length);
    const feeds = { photos: new this.ort.Tensor("float32", photos, [this.batch, size, size, 3]) };
    if (this.session.inputNames.includes("taxa")) {
      feeds.taxa = new this.ort.Tensor("float32", taxa.data, taxa.dims);
    }
    const found = await this.session.run(feeds);
    const outputs = {};
    for (const name of this.session.outputNames) {
      const { data, dims } = found[name];
      const length = data.length / dims[0];
      outputs[name] = { data: data.slice(0, length), dims: dims.slice(1) };
      found[name].dispose?.();
    }
    return outputs;
  }
}
