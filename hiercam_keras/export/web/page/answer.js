// What the network says of one photo, at every rank.

const SHOWN = 5; // likeliest taxa that are listed of a rank

// Gives {lines, known, believed, others}: of each rank of the most probable lineage {rank, depth,
// label, taxon, share, single, alone, siblings, best, sure}. `single` means that the network
// knows one taxon of the rank, `alone` that the parent has no other child of any rank;
// `siblings` are its labels of the same rank, `best` are the likeliest taxa of the rank,
// [{label, share}], and `sure` means that it is believed.
// `known` is whether the network has thresholds, and `others` the probability of taxa that
// no answer may be of where it is too high for any name to be believed, else 0.
function answerOf(outputs, taxonomy) {
  const { ranks } = taxonomy;
  const known = Boolean(taxonomy.about.believed);
  const others = othersOf(outputs, taxonomy.about);
  const deepest = known && !others ? believed(outputs.logits.data, taxonomy) : null;
  const lines = [];
  ranks.forEach((rank, depth) => {
    const label = outputs.path.data[depth];
    if (label < 0) return; // the lineage has no such rank
    const shares = sharesOf(rank, outputs);
    const order = Array.from(shares.keys()).sort((a, b) => shares[b] - shares[a] || a - b);
    lines.push({
      rank, depth, label,
      taxon: taxonomy.taxon(rank, label),
      sure: deepest !== null && covers(taxonomy.taxon(rank, label), deepest.taxon),
      share: shares[label],
      single: taxonomy.count(rank) === 1,
      alone: taxonomy.isOnlyChild(rank, label),
      siblings: taxonomy.siblings(rank, label),
      best: order.slice(0, SHOWN).map((other) => ({ label: other, share: shares[other] })),
    });
  });
  return { lines, known, believed: deepest, others };
}

function othersOf(outputs, about) {
  const allowed = outputs.allowed ? outputs.allowed.data[0] : 1;
  return allowed < (about.least_allowed || 0) ? 1 - allowed : 0;
}

// Probabilities at a rank; a rank with a single taxon has no output.
function sharesOf(rank, outputs) {
  return outputs[`probabilities_${rank}`]?.data || Float32Array.of(1);
}

// Whether a taxon is another one or above it.
function covers(taxon, other) {
  return taxon.lineage.length <= other.lineage.length &&
    taxon.lineage.every((name, i) => name === other.lineage[i]);
}

// Map `depth` of an output (ranks, h, w), as {data, height, width}.
function mapAt(output, depth) {
  const [, height, width] = output.dims;
  const cells = height * width;
  return { data: output.data.subarray(depth * cells, (depth + 1) * cells), height, width };
}

// The two likeliest siblings; without any the two likeliest other taxa of the rank.
function nearestOthers(line, outputs) {
  const shares = sharesOf(line.rank, outputs);
  const all = Array.from(shares.keys()).filter((label) => label !== line.label);
  return (line.siblings.length ? line.siblings : all)
    .sort((a, b) => shares[b] - shares[a] || a - b)
    .slice(0, 2);
}

function percent(share) {
  if (share > 0.9995) return "> 99.9 %";
  if (share > 0.99) return `${(100 * share).toFixed(1)} %`;
  return share < 0.005 ? "< 1 %" : `${Math.round(100 * share)} %`;
}
