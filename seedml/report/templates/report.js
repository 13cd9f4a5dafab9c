"use strict";
document.documentElement.classList.add("js");

/* Table of all seeds: sort by any heading, filter by verdict, number and what a seed is starred in. */
(function () {
  const table = document.getElementById("seed-table");
  if (!table) return;
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  const rows = [...body.rows];
  const verdict = document.getElementById("filter-verdict");
  const number = document.getElementById("filter-seed");
  const starred = document.getElementById("filter-starred");
  const status = document.getElementById("table-status");
  const whole = /^\d+$/;

  function compare(a, b, column, sign) {
    const x = a.cells[column].dataset.key, y = b.cells[column].dataset.key;
    if (x === "" || y === "") return (x === "") - (y === "");  // what is absent stays last in both directions
    if (whole.test(x) && whole.test(y)) return sign * Math.sign(Number(BigInt(x) - BigInt(y)));  // seeds exceed 2^53
    const numeric = Number(x) - Number(y);
    return sign * (Number.isNaN(numeric) ? x.localeCompare(y) : numeric);
  }

  function sort(column) {
    const heading = headings[column];
    const old = heading.getAttribute("aria-sort");
    const turned = { ascending: "descending", descending: "ascending" };
    const order = turned[old] || heading.dataset.first;
    headings.forEach((other) => other.setAttribute("aria-sort", "none"));
    heading.setAttribute("aria-sort", order);
    const sign = order === "ascending" ? 1 : -1;
    rows.sort((a, b) => compare(a, b, column, sign) || compare(a, b, 0, 1));
    body.append(...rows);
    tell("sorted by " + heading.textContent.trim() + ", " + order);
  }

  function filter() {
    const wanted = number.value.trim();
    const column = starred && starred.value ? headings.findIndex((one) => one.dataset.column === starred.value) : -1;
    rows.forEach((row) => {
      row.hidden = Boolean((verdict.value && row.dataset.verdict !== verdict.value) ||
        (wanted && !row.dataset.seed.startsWith(wanted)) ||
        (column >= 0 && !row.cells[column].classList.contains("differs")));
    });
    tell("");
  }

  function tell(action) {
    const count = rows.filter((row) => !row.hidden).length;
    status.textContent = count + " of " + rows.length + " seeds" + (action ? ", " + action : "");
  }

  headings.forEach((heading, column) => heading.querySelector("button").addEventListener("click", () => sort(column)));
  verdict.addEventListener("change", filter);
  number.addEventListener("input", filter);
  if (starred) starred.addEventListener("change", filter);
  document.getElementById("copy-visible").addEventListener("click", (event) => {
    copy(rows.filter((row) => !row.hidden).map((row) => row.dataset.seed).join(", "), event.currentTarget);
  });
})();

function copy(text, button) {
  const label = button.textContent;
  const done = (worked) => {
    button.textContent = worked ? "Copied" : "Select and copy by hand";
    setTimeout(() => { button.textContent = label; }, 1500);
  };
  if (navigator.clipboard) {
    navigator.clipboard.writeText(text).then(() => done(true), () => done(fallback(text)));
  } else {
    done(fallback(text));
  }
}

function fallback(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const worked = document.execCommand("copy");
  field.remove();
  return worked;
}

document.querySelectorAll("[data-copy]").forEach((button) => {
  button.addEventListener("click", () => copy(document.getElementById(button.dataset.copy).textContent, button));
});

/* The section that is being read is marked among the links to all of them. */
(function () {
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.getAttribute("href").slice(1), link]));
  const inView = new Set();
  const watch = new IntersectionObserver((entries) => {
    entries.forEach((entry) => inView[entry.isIntersecting ? "add" : "delete"](entry.target.id));
    const first = [...links.keys()].find((id) => inView.has(id));
    links.forEach((link, id) => {
      if (id !== first) return link.removeAttribute("aria-current");
      link.setAttribute("aria-current", "true");
      link.closest("ul").scrollLeft = link.parentElement.offsetLeft - 80;  // a phone shows a few links at a time
    });
  }, { rootMargin: "-20% 0px -60%" });
  [...links.keys()].map((id) => document.getElementById(id)).filter(Boolean).forEach((part) => watch.observe(part));
})();

/* The cards of many seeds hold thousands of pictures, which would take half of the time that the page takes to open:
   they are given their data when the browser has nothing else to do, or when one of them is wanted. */
function awaken(card) {
  card.querySelectorAll("img[data-src]").forEach((image) => {
    image.src = image.dataset.src;
    image.removeAttribute("data-src");
  });
}

(function () {
  const cards = [...document.querySelectorAll(".card")].filter((card) => card.querySelector("img[data-src]"));
  const idle = window.requestIdleCallback || ((work) => setTimeout(work, 30));
  function some() {
    cards.splice(0, 16).forEach(awaken);
    if (cards.length) idle(some);
  }
  window.addEventListener("load", () => idle(some));
  window.addEventListener("beforeprint", () => cards.splice(0).forEach(awaken));
})();

/* Settings are folded away on screen; paper cannot be unfolded. */
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
