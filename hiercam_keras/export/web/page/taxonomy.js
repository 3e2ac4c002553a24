// Names and relatives of the network's taxa, from taxonomy.json.

const PLURALS = {
  species: "species", subspecies: "subspecies", genus: "genera", class: "classes", phylum: "phyla",
};

function plural(rank) {
  return PLURALS[rank] || (rank.endsWith("y") ? `${rank.slice(0, -1)}ies` : `${rank}s`);
}

class Taxonomy {
  constructor(about) {
    this.about = about;
    this.ranks = about.ranks;
    this.heads = about.heads;
    this.finest = about.ranks.findLast((rank) => about.heads.includes(rank));
  }

  count(rank) {
    return this.about.taxa[rank].length;
  }

  taxon(rank, label) {
    return this.about.taxa[rank][label];
  }

  // [first leaf, leaves]: the taxon's labels at the finest head.
  leaves(rank, label) {
    const { first_leaf: first, leaves } = this.taxon(rank, label);
    return [first, leaves];
  }

  // The nearest taxon above, {rank, taxon}; null for the root. A lineage may lack ranks.
  parent(rank, label) {
    const own = this.taxon(rank, label).lineage;
    for (let at = this.ranks.indexOf(rank) - 1; at >= 0; at -= 1) {
      const above = this.about.taxa[this.ranks[at]];
      const found = above.find(({ lineage }) =>
        lineage.length < own.length && lineage.every((name, i) => name === own[i]));
      if (found) return { rank: this.ranks[at], taxon: found };
    }
    return null;
  }

  // Whether the parent has no other child of any rank, so that there was no choice.
  isOnlyChild(rank, label) {
    const above = this.parent(rank, label);
    const leaves = above ? above.taxon.leaves : this.count(this.finest);
    return this.taxon(rank, label).leaves === leaves;
  }

  // Ranks of the parent's children, coarse to fine: a genus without a subfamily is a child of
  // the family, as its subfamilies are.
  ranksOfChildren(rank, label) {
    const above = this.parent(rank, label);
    const { first_leaf: first, leaves } = above ? above.taxon : { first_leaf: 0, leaves: this.count(this.finest) };
    const below = this.ranks.slice(above ? this.ranks.indexOf(above.rank) + 1 : 0);
    const found = new Set(childrenOf(first, first + leaves, below, this).map((child) => child.rank));
    return this.ranks.filter((one) => found.has(one));
  }

  // Labels at the rank with the same parent, without the taxon itself.
  siblings(rank, label) {
    const above = this.taxon(rank, label).lineage.slice(0, -1);
    return this.about.taxa[rank].flatMap(({ lineage }, other) =>
      other !== label && lineage.length === above.length + 1 && above.every((name, i) => lineage[i] === name)
        ? [other]
        : []);
  }
}
