// Shows the changes whose kinds are ticked and whose text holds what is searched for.
const search = document.querySelector("nav input[type=search]");
const kinds = [...document.querySelectorAll("nav input[type=checkbox]")];
const sections = [...document.querySelectorAll("section[data-kind]")];
const count = document.getElementById("count");
function show() {
  const wanted = new Set(kinds.filter((box) => box.checked).map((box) => box.value));
  const text = search.value.toLowerCase();
  let shown = 0;
  for (const section of sections) {
    const is = wanted.has(section.dataset.kind) && (!text || section.textContent.toLowerCase().includes(text));
    section.hidden = !is;
    shown += is;
  }
  count.textContent = `${shown} of ${sections.length} changes`;
}
if (search) {
  search.addEventListener("input", show);
  kinds.forEach((box) => box.addEventListener("change", show));
  show();
}
