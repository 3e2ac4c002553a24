// Says so above a table or figure that is wider than the page, while more is to the
// right; its edge fades there.
const sideways = [...document.querySelectorAll(".scroll, .sideways")];
for (const box of sideways) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "wider than the page: move it sideways →";
  hint.hidden = true;
  box.before(hint);
  const look = () => {
    const rest = box.scrollWidth - box.clientWidth;
    hint.hidden = rest <= 1;
    box.classList.toggle("cut", rest - box.scrollLeft > 1);
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}
