// A click on the head of a column sorts the rows of its table; a second click turns the order.
document.addEventListener("DOMContentLoaded", () => {
  const number = (text) => parseFloat(text.replace(/,/g, ""));
  const value = (row, column) => row.cells[column].textContent.trim();
  const compare = (one, other) =>
    isNaN(number(one)) || isNaN(number(other))
      ? one.localeCompare(other)
      : number(one) - number(other);
  for (const table of document.querySelectorAll("article table")) {
    const body = table.tBodies[0];
    if (!table.tHead || !body || body.rows.length < 8) continue;
    [...table.tHead.rows[0].cells].forEach((head, column) => {
      let turn = 1;
      head.classList.add("sortable");
      head.addEventListener("click", () => {
        const rows = [...body.rows];
        rows.sort((a, b) => turn * compare(value(a, column), value(b, column)));
        body.append(...rows);
        turn = -turn;
      });
    });
  }
});
