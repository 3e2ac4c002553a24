// How far down the tree an answer is believed; see metrics/belief.py of the program.

const SLACK = 1e-4; // of the log-odds: last digits differ between computers

function softmax(logits) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (z) => Math.exp(z - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

// From the root the likeliest child is taken, as long as its probability reaches the
// threshold of its rank; one that skips the rank needs none there. Gives
// {rank, label, share, taxon}, or null where no name is believed.
function believed(logits, taxonomy) {
  const shares = softmax(logits);
  const sum = ({ first, end }) => shares.subarray(first, end).reduce((a, b) => a + b, 0);
  let above = { first: 0, end: shares.length };
  let answer = null;
  for (const { rank, least, nodes } of choices(taxonomy.about)) {
    const below = nodes.filter(({ first }) => first >= above.first && first < above.end);
    above = below.reduce((best, node) => (sum(node) > sum(best) ? node : best));
    const { label, taxon } = above;
    if (!taxon) continue;
    const share = sum(above);
    if (least === null || !reaches(share, least)) break;
    if (!taxon.name.endsWith(" sp.")) answer = { rank, label, share, taxon };
  }
  return answer;
}

// The choices at each rank that has a threshold, coarse to fine: its taxa, and without
// `taxon` those of a finer rank that skip it.
function choices(about) {
  const found = [];
  let finer = [];
  for (const rank of about.ranks.filter((one) => one in about.believed).reverse()) {
    const nodes = about.taxa[rank].map((taxon, label) =>
      ({ first: taxon.first_leaf, end: taxon.first_leaf + taxon.leaves, label, taxon }));
    const skips = ({ first }) => !nodes.some((node) => first >= node.first && first < node.end);
    finer = [...nodes, ...finer.filter(skips).map(({ first, end }) => ({ first, end }))]
      .sort((a, b) => a.first - b.first);
    found.unshift({ rank, least: about.believed[rank], nodes: finer });
  }
  return found;
}

function reaches(share, least) {
  const odds = (p) => Math.log(p) - Math.log1p(-p);
  return share >= least || odds(share) >= odds(least) - SLACK;
}
