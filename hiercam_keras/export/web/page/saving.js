// The result as files: a picture of one photo, a table of all of them.

const COLUMNS = [
  "photo", "rank", "place", "taxon", "common_name", "lineage", "probability", "answer", "believed",
];

function tableOf(photos, taxonomy) {
  const rows = [COLUMNS];
  for (const { name, answer } of photos.filter((photo) => photo.answer)) {
    for (const line of answer.lines) {
      line.best.forEach(({ label, share }, i) => {
        const taxon = taxonomy.taxon(line.rank, label);
        const own = label === line.label;
        rows.push([
          name, line.rank, i + 1, taxon.name, taxon.common_name || "", taxon.lineage.join("/"),
          Number(Math.min(1, share).toFixed(6)), Number(own),
          answer.known ? Number(own && line.sure) : "",
        ]);
      });
    }
  }
  return `${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;
}

function cell(value) {
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

// The photo with its map, and below it the answer in words: a canvas.
function pictureOf(photo, view, card) {
  const { preview } = photo.seen;
  const scale = Math.min(1, 1200 / Math.max(preview.width, preview.height));
  const [width, height] = [Math.max(640, Math.round(preview.width * scale)), Math.round(preview.height * scale)];
  const deepest = photo.answer.believed?.rank;
  const sure = (line) => (line.sure && line.rank === deepest ? " (believed)" : "");
  const lines = [
    view.title,
    ...photo.answer.lines.filter(({ single }) => !single).map((line) =>
      `${line.rank}: ${withCommon(line.taxon)}, ${percent(line.share)}${sure(line)}`),
    "A map shows where the score comes from, not why.",
    card.title,
  ];
  const canvas = element("canvas", { width, height: height + 34 + 26 * lines.length });
  const context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const left = Math.round((width - preview.width * scale) / 2);
  context.drawImage(preview, left, 0, preview.width * scale, height);
  const [x0, y0, x1, y1] = photo.seen.window.map((edge) => (edge * preview.width * scale) / photo.seen.photo[0]);
  context.globalAlpha = view.strength;
  context.drawImage(view.layer.canvas, left + x0, y0, x1 - x0, y1 - y0);
  context.globalAlpha = 1;
  context.strokeStyle = "#fff";
  context.lineWidth = 2;
  context.strokeRect(left + x0 + 1, y0 + 1, x1 - x0 - 2, y1 - y0 - 2);
  lines.forEach((line, i) => {
    const small = i >= lines.length - 2;
    context.fillStyle = small ? "#5f6673" : "#1f2430";
    context.font = `${i === 0 ? "600 " : ""}${small ? 14 : 17}px system-ui, "DejaVu Sans", sans-serif`;
    context.fillText(line, 16, height + 34 + 26 * i, width - 32);
  });
  return canvas;
}
