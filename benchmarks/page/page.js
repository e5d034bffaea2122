"use strict";
(() => {
  const body = document.querySelector("#rows tbody");
  const heads = [...document.querySelectorAll("#rows th")];

  // Numbers by size, texts by the alphabet, what was not measured last.
  const compare = (a, b, numeric, down) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return (down ? -1 : 1) * (numeric ? Number(a) - Number(b) : a.localeCompare(b));
  };
  heads.forEach((head, column) => {
    head.querySelector("button").addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const numeric = head.classList.contains("number");
      const value = (row) => row.cells[column].dataset.value;
      body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b), numeric, down)));
    });
  });
})();
