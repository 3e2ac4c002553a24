// Finds taxa by any part of their lineage.
const find = document.getElementById("find");
const lines = [...document.querySelectorAll("#list li[data-text]")];

find.addEventListener("input", () => {
  const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const line of lines) {
    const fits = words.every((word) => line.dataset.text.includes(word));
    line.hidden = !fits;
    count += fits;
  }
  document.getElementById("found").textContent =
    words.length ? `${count} of ${lines.length} taxa` : "";
});

document.addEventListener("keydown", (event) => {
  if (event.key === "/" && event.target !== find) {
    event.preventDefault();
    find.focus();
  }
});
