// The worker: decodes photos and runs the network, so that the page stays responsive.
// A message is {id, task, ...}; the answer is {id, result} or {id, failure: {kind, text}}.

let network = null;
let facts = null;
let weights = null; // until the network has started
const inputs = new Map(); // of photos, for later questions

const TASKS = {
  async adapter({ software }) {
    return { problem: await adapterProblem(software) };
  },

  // Gives {threads}, or {problem} where a check is given and not passed: then it may be
  // asked again, without the model.
  async start({ model, check, ...message }) {
    facts = message.facts;
    weights = model || weights;
    const given = { ...message, model: weights, batch: facts.batch };
    if (check) {
      const { started, problem } = await startChecked(given, check);
      if (problem) return { problem };
      network = started;
    } else {
      network = await startNetwork(given);
    }
    weights = null;
    return { threads: network.ort.env.wasm.numThreads };
  },

  async look({ photo, file }) {
    const read = await readPhoto(file, facts.image);
    const { input, ...rest } = read;
    inputs.set(photo, input);
    const started = performance.now();
    const outputs = await network.run(input, facts.image.height, rowsOf([facts.nothing]));
    const took = performance.now() - started;
    delete outputs.maps_of_taxa;
    return { ...rest, outputs, took };
  },

  // The maps of taxa, each given as [first leaf, leaves].
  async ask({ photo, taxa }) {
    const input = inputs.get(photo);
    const maps = [];
    const most = facts.taxaAtOnce || taxa.length;
    for (let at = 0; at < taxa.length; at += most) {
      const some = taxa.slice(at, at + most);
      const outputs = await network.run(input, facts.image.height, rowsOf(some));
      const { data, dims } = outputs.maps_of_taxa;
      const cells = dims[1] * dims[2];
      some.forEach((_, i) => maps.push(data.slice(i * cells, (i + 1) * cells)));
    }
    return maps;
  },

  // The pixels that the network is given, for tests that compare them.
  async pixels({ photo }) {
    return inputs.get(photo);
  },

  async forget({ photo }) {
    inputs.delete(photo);
  },
};

// Gives {started, problem}; the problem is "" where the network answers as stored.
async function startChecked(given, check) {
  try {
    const started = await startNetwork(given);
    const asked = { ...check, size: facts.image.height, taxa: rowsOf([facts.nothing]) };
    const problem = await parityProblem(started, asked);
    if (problem) await started.session.release();
    return { started, problem };
  } catch (error) {
    return { started: null, problem: String(error?.message || error) };
  }
}

function rowsOf(taxa) {
  const count = facts.taxaAtOnce || taxa.length;
  const data = new Float32Array(count * facts.leaves);
  for (let i = 0; i < count; i += 1) {
    const [first, leaves] = taxa[Math.min(i, taxa.length - 1)];
    data.fill(1, i * facts.leaves + first, i * facts.leaves + first + leaves);
  }
  return { data, dims: [count, facts.leaves] };
}

let last = Promise.resolve(); // one task after the other

self.onmessage = ({ data }) => {
  last = last.then(() => answer(data));
};

async function answer({ id, task, ...message }) {
  try {
    const result = await TASKS[task](message);
    const moved = result?.preview ? [result.preview] : [];
    self.postMessage({ id, result }, moved);
  } catch (error) {
    const kind = error instanceof BadPhoto ? "photo" : "program";
    self.postMessage({ id, failure: { kind, text: readable(error) } });
  }
}

function readable(error) {
  if (error instanceof BadPhoto) return error.message;
  if (error?.name === "NotReadableError" || error?.name === "NotFoundError") {
    return "The file cannot be read: it was moved, changed or locked meanwhile. Choose it again.";
  }
  const text = String(error?.message || error);
  if (error instanceof RangeError || /memory|allocation/i.test(text)) {
    return "The memory that this page may use is not enough. Close other tabs, or choose a smaller photo.";
  }
  return text;
}
