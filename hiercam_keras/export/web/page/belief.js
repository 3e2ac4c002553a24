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
  let [first, end] = [0, shares.length];
  let answer = null;
  for (const [rank, least] of Object.entries(taxonomy.about.believed)) {
    let best = { share: -1 };
    taxonomy.about.taxa[rank].forEach((taxon, label) => {
      if (taxon.first_leaf < first || taxon.first_leaf >= end) return;
      const share = shares.subarray(taxon.first_leaf, taxon.first_leaf + taxon.leaves)
        .reduce((a, b) => a + b, 0);
      if (share > best.share) best = { rank, label, share, taxon };
    });
    if (!best.taxon || least === null || !reaches(best.share, least)) break;
    [first, end] = [best.taxon.first_leaf, best.taxon.first_leaf + best.taxon.leaves];
    if (!best.taxon.name.endsWith(" sp.")) answer = best;
  }
  return answer;
}

function reaches(share, least) {
  const odds = (p) => Math.log(p) - Math.log1p(-p);
  return share >= least || odds(share) >= odds(least) - SLACK;
}
