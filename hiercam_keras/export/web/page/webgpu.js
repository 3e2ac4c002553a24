// Whether the graphics processor may be used: there is one, and with it the network
// answers for a stored picture as it did when it was exported.

const MOST_DIFFERENT = 1e-3; // relative to the largest stored value of an output

// Why WebGPU cannot be tried, as a sentence's end; "" where it can.
async function adapterProblem(software) {
  if (!navigator.gpu) return "this browser does not offer it";
  let adapter;
  try {
    adapter = await navigator.gpu.requestAdapter();
  } catch (error) {
    return error.message;
  }
  if (!adapter) return "this browser finds no graphics processor for it";
  if (adapter.info?.isFallbackAdapter && !software) {
    return "this browser would compute it on the processor, which WebAssembly does faster";
  }
  return "";
}

// What differs between a network's outputs and the stored ones; "" where none does.
async function parityProblem(network, check) {
  const found = await network.run(Float32Array.from(fromBase64(check.pixels)), check.size, check.taxa);
  for (const [name, stored] of Object.entries(check.outputs)) {
    const difference = largestDifference(found[name].data, new Float32Array(fromBase64(stored).buffer));
    if (!(difference <= MOST_DIFFERENT)) {
      return `its ${name} of the stored picture differ by ${difference.toExponential(0)} of their largest value`;
    }
  }
  return "";
}

function fromBase64(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

// Relative to the largest finite stored value.
function largestDifference(found, stored) {
  if (found.length !== stored.length) return Infinity;
  let most = 0;
  let scale = 0;
  stored.forEach((value, i) => {
    if (value === found[i]) scale = Math.max(scale, Number.isFinite(value) ? Math.abs(value) : 0);
    else {
      scale = Math.max(scale, Math.abs(value));
      most = Math.max(most, Math.abs(value - found[i]));
    }
  });
  if (most === 0) return 0;
  return Number.isFinite(most) ? most / scale : Infinity; // NaN is a difference, too
}
