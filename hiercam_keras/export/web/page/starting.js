// Loads the runtime and starts the network: on the graphics processor where the page has
// what it needs and it passes the check, else by WebAssembly.

// Gives {started, problem, keepsModel}: why the graphics processor is not used, and whether
// the worker has the weights nevertheless.
async function startGpu(facts, software) {
  const { problem } = await engine.call("adapter", { software });
  if (problem) return { started: false, problem, keepsModel: false };
  const { gpuRuntime: runtime, gpuWasm: wasm, check, model } =
    await load(["gpuRuntime", "gpuWasm", "check", "model"]);
  const stored = JSON.parse(new TextDecoder().decode(check));
  showStarting("Trying the graphics processor …");
  const found = await engine.call(
    "start", { runtime, wasm, model, facts, threads: 1, provider: "webgpu", check: stored }, [runtime, wasm, model]);
  return { started: !found.problem, problem: found.problem, keepsModel: true };
}

// Gives the number of threads.
async function startWasm(facts, asked, keepsModel) {
  const { runtime, wasm, model } = await load(["runtime", "wasm", ...(keepsModel ? [] : ["model"])]);
  showStarting("Starting the network …");
  const moved = [runtime, wasm, model].filter(Boolean);
  const message = { runtime, wasm, model, facts, threads: asked, provider: "wasm" };
  return (await engine.call("start", message, moved)).threads;
}

// The parts of the page with these names, as bytes by name.
async function load(names) {
  const total = names.reduce((sum, name) => sum + assets[name].bytes, 0);
  const done = {};
  const progress = (name) => (bytes) => {
    done[name] = bytes;
    showProgress(Object.values(done).reduce((a, b) => a + b, 0), total);
  };
  const one = async (name) => [name, await loadAsset(assets[name], progress(name))];
  return Object.fromEntries(await Promise.all(names.map(one)));
}

function showProgress(bytes, total) {
  const millions = (count) => (count / 1e6).toFixed(1);
  get("progress").value = bytes / total;
  get("progress-text").textContent = `Loading the network: ${millions(bytes)} of ${millions(total)} MB`;
}

function showStarting(text) {
  get("progress-text").textContent = text;
  get("progress").removeAttribute("value");
}

// What computes, and a notice where it is not what was asked for.
function showEngine({ provider, threads, asked, problem }) {
  get("engine").textContent = provider === "webgpu"
    ? "on the graphics processor (WebGPU)" : `on ${threads} ${threads === 1 ? "thread" : "threads"}`;
  const notices = [];
  if (problem) notices.push(`The graphics processor is not used: ${problem}. The answers are the same.`);
  if (provider === "wasm" && asked > threads) {
    notices.push(`${asked} threads were asked for, and ${threads} ${threads === 1 ? "is" : "are"} used: ` +
      "several need a server that sends the headers of the file _headers, and a processor with as many cores.");
  }
  get("notice").textContent = notices.join(" ");
  get("notice").hidden = !notices.length;
}
