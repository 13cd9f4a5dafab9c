/* Pick seeds by sliders: numbers come from the table of all seeds, pictures from the seeds' cards. */
(function () {
  const body = document.getElementById("picked");
  const table = document.getElementById("seed-table");
  if (!body || !table) return;
  const AT_ONCE = 12;
  const columns = [...table.tHead.rows[0].cells].map((heading) => heading.dataset.column);
  const rows = [...table.tBodies[0].rows];
  const seeds = rows.map((row) => row.dataset.seed);
  const verdict = document.getElementById("pick-verdict");
  const order = document.getElementById("pick-order");
  const status = document.getElementById("pick-status");
  const more = document.getElementById("pick-more");
  const dropped = new Set();
  const numbers = new Map();
  let shown = AT_ONCE, fitting = [], waiting = false;

  /* A column's numbers in the order of `rows`; NaN where a seed has none. */
  function column(key) {
    if (!numbers.has(key)) {
      const place = columns.indexOf(key);
      numbers.set(key, rows.map((row) => { const own = row.cells[place].dataset.key; return own === "" ? NaN : Number(own); }));
    }
    return numbers.get(key);
  }

  const sliders = [...document.querySelectorAll(".slider")].map((field) => {
    const [from, to] = field.querySelectorAll("input");
    const { column: key, low, high, factor, decimals } = field.dataset;
    const at = (ratio) => Number(low) + (Number(high) - Number(low)) * ratio / 100;
    const words = (value) => (value * Number(factor)).toFixed(Number(decimals)).replace("-", "\u2212") + (factor === "100" ? "\u202f%" : "");
    const slider = {
      key, from, to,
      get least() { return Number(from.value) > 0 ? at(Number(from.value)) : -Infinity; },
      get most() { return Number(to.value) < 100 ? at(Number(to.value)) : Infinity; },
      get moved() { return from.value !== "0" || to.value !== "100"; },
      tell() {
        const [least, most] = [from, to].map((end) => words(at(Number(end.value))));
        from.setAttribute("aria-valuetext", from.value === "0" ? "any" : "at least " + least);
        to.setAttribute("aria-valuetext", to.value === "100" ? "any" : "at most " + most);
        const told = from.value === "0" ? "at most " + most : to.value === "100" ? "at least " + least : least + " to " + most;
        field.querySelector("output").textContent = slider.moved ? told : "any";
        field.style.setProperty("--from", from.value + "%");
        field.style.setProperty("--to", to.value + "%");
        from.style.zIndex = Number(from.value) > 50 ? 2 : 1;  // where both ends meet, the one with room to move lies on top
        field.classList.toggle("moved", slider.moved);
      },
    };
    from.addEventListener("input", () => { if (Number(from.value) > Number(to.value)) from.value = to.value; slider.tell(); soon(); });
    to.addEventListener("input", () => { if (Number(to.value) < Number(from.value)) to.value = from.value; slider.tell(); soon(); });
    return slider;
  });

  function soon() {
    shown = AT_ONCE;
    if (!waiting) requestAnimationFrame(update);
    waiting = true;
  }

  function fits(place, moved) {
    const own = rows[place].dataset.verdict;
    if (verdict.value && (verdict.value === "-inferior" ? own === "inferior" : own !== verdict.value)) return false;
    return moved.every((slider) => { const x = column(slider.key)[place]; return x >= slider.least && x <= slider.most; });
  }

  function update() {
    waiting = false;
    const moved = sliders.filter((slider) => slider.moved);
    const [sign, key] = order.value.split(" ");
    const by = column(key);
    fitting = rows.map((_, place) => place).filter((place) => fits(place, moved));
    fitting.sort((a, b) => Number.isNaN(by[a]) - Number.isNaN(by[b]) || Number(sign) * (by[a] - by[b]) || a - b);
    draw();
    tell();
    onMaps();
  }

  function draw() {
    const some = fitting.slice(0, shown);
    body.replaceChildren(...some.map(pictures));
    more.hidden = some.length === fitting.length;
  }

  function pictures(place) {
    const seed = seeds[place], card = document.getElementById("seed-" + seed);
    const row = document.createElement("tr"), heading = document.createElement("th");
    const label = document.createElement("label"), tick = document.createElement("input");
    heading.scope = "row";
    tick.type = "checkbox";
    tick.checked = !dropped.has(seed);
    tick.setAttribute("aria-label", "Take seed " + seed);
    tick.addEventListener("change", () => { dropped[tick.checked ? "delete" : "add"](seed); row.classList.toggle("dropped", !tick.checked); tell(); });
    row.classList.toggle("dropped", !tick.checked);
    label.append(tick);
    const link = document.createElement("a");
    link.href = "#seed-" + seed;
    link.textContent = "Seed " + seed;
    heading.append(label, card ? link : "Seed " + seed, rows[place].querySelector(".verdict").cloneNode(true));
    row.append(heading);
    if (card) {
      awaken(card);
      heading.append(card.querySelector(".note").cloneNode(true));
      [...card.querySelector(".strip").children].forEach((picture) => {
        const cell = document.createElement("td");
        cell.append(picture.cloneNode(true));
        row.append(cell);
      });
    }
    return row;
  }

  const taken = () => fitting.map((place) => seeds[place]).filter((seed) => !dropped.has(seed));

  function tell() {
    const kept = taken(), unticked = fitting.length - kept.length;
    status.textContent = fitting.length + " of " + rows.length + " seeds fit" + (unticked ? ", " + unticked + " unticked" : "");
    document.querySelectorAll(".picked-seeds").forEach((list) => {
      list.textContent = list.classList.contains("bare") ? kept.join(",") : "[" + kept.join(", ") + "]";
    });
    document.querySelectorAll("[data-pick]").forEach((button) => { button.disabled = kept.length === 0; });
  }

  /* Seeds that do not fit are pale on the maps. */
  function onMaps() {
    const left = new Set(fitting.map((place) => "#seed-" + seeds[place]));
    document.querySelectorAll("#likeness svg.chart a").forEach((mark) => mark.classList.toggle("out", !left.has(mark.getAttribute("href"))));
  }

  document.querySelectorAll("[data-pick]").forEach((button) => button.addEventListener("click", () => {
    const what = button.dataset.pick;
    copy(what === "list" ? taken().join(", ") : document.getElementById("picked-" + what).textContent, button);
  }));
  [verdict, order].forEach((choice) => choice.addEventListener("change", soon));
  more.addEventListener("click", () => { shown += AT_ONCE; draw(); });
  document.getElementById("pick-reset").addEventListener("click", () => {
    sliders.forEach((slider) => { slider.from.value = "0"; slider.to.value = "100"; slider.tell(); });
    verdict.value = "";
    dropped.clear();
    soon();
  });
  sliders.forEach((slider) => slider.tell());
  update();
})();
