// A hint for a table or figure that may be wider than the page: shown while it is wider.
// The edge of the box fades as long as more is to the right.
function hinted(box) {
  const hint = document.createElement("p");
  hint.className = "hint";
  hint.textContent = "wider than the page: move it sideways →";
  hint.hidden = true;
  const look = () => {
    const rest = box.scrollWidth - box.clientWidth;
    hint.hidden = rest <= 1;
    box.classList.toggle("cut", rest - box.scrollLeft > 1);
  };
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
  return hint;
}

for (const box of document.querySelectorAll(".scroll, .sideways")) {
  box.before(hinted(box));
}
