// How far down the tree an answer is believed; see metrics/belief.py of the program.

const SLACK = 1e-4; // of the log-odds: last digits differ between computers

function softmax(logits) {
  const top = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = Float64Array.from(logits, (z) => Math.exp(z - top));
  const sum = powers.reduce((a, b) => a + b, 0);
  return powers.map((power) => power / sum);
}

// From the root the likeliest child is taken, as long as its probability reaches the
// threshold of its rank. Gives {rank, label, share, taxon}, or null where no name is believed.
function believed(logits, taxonomy) {
  const shares = softmax(logits);
  const ranks = Object.keys(taxonomy.about.believed);
  let [first, end] = [0, shares.length];
  let answer = null;
  for (const [at, rank] of ranks.entries()) {
    const children = childrenOf(first, end, ranks.slice(at), taxonomy).map((child) => {
      const { first_leaf: from, leaves } = child.taxon;
      return { ...child, share: shares.subarray(from, from + leaves).reduce((a, b) => a + b, 0) };
    });
    const best = children.reduce((a, b) => (b.share > a.share ? b : a));
    [first, end] = [best.taxon.first_leaf, best.taxon.first_leaf + best.taxon.leaves];
    if (best.rank !== rank) continue; // the likeliest taxon skips this rank
    const least = taxonomy.about.believed[rank];
    if (least === null || !reaches(best.share, least)) break;
    if (!best.taxon.name.endsWith(" sp.")) answer = best;
  }
  return answer;
}

// {rank, label, taxon} of each part of the leaves first .. end - 1: of the first of the
// ranks, or of the next finer one where there is no taxon.
function childrenOf(first, end, ranks, taxonomy) {
  const found = [];
  for (let at = first; at < end; at += found.at(-1).taxon.leaves) {
    const starts = ({ first_leaf: from }) => from === at;
    const rank = ranks.find((one) => taxonomy.about.taxa[one].some(starts));
    const label = taxonomy.about.taxa[rank].findIndex(starts);
    found.push({ rank, label, taxon: taxonomy.taxon(rank, label) });
  }
  return found;
}

function reaches(share, least) {
  const odds = (p) => Math.log(p) - Math.log1p(-p);
  return share >= least || odds(share) >= odds(least) - SLACK;
}
