// What the page's address asks for, as in index.html?threads=2&webgpu=off.

// Gives {threads, webgpu}: threads of the network, 0 for the runtime's own choice; "off" to
// do without WebGPU, "software" to accept an adapter that computes on the processor.
function optionsOf(search) {
  const asked = new URLSearchParams(search);
  const threads = Number(asked.get("threads"));
  return {
    threads: Number.isInteger(threads) && threads > 0 ? threads : 0,
    webgpu: asked.get("webgpu") || "",
  };
}
