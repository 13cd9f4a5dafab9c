/* A seed's pictures beside whatever stands for it in a chart or the table; arrow keys walk through a chart's seeds. */
(function () {
  const SEED = 'a[href^="#seed-"]';
  if (!document.querySelector(".cards")) return;
  const box = document.createElement("div");
  box.id = "peek";
  box.setAttribute("role", "tooltip");
  box.hidden = true;
  document.body.append(box);
  let peeked = null, leaving = 0, touched = false;

  const target = (node) => {
    const link = node instanceof Element ? node.closest(SEED) : null;
    return link && link.closest("svg.chart, #seed-table") ? link : null;
  };
  const cardOf = (link) => document.getElementById(link.getAttribute("href").slice(1));

  /* Its own words become the link's name, and not a second box of the browser's. */
  function name(link) {
    const title = link.querySelector("title");
    if (!title) return;
    link.setAttribute("aria-label", title.textContent);
    title.remove();
  }

  function show(link, at) {
    clearTimeout(leaving);
    if (link === peeked) return;
    hide();
    const card = cardOf(link);
    if (!card) return;
    awaken(card);
    name(link);
    peeked = link;
    link.classList.add("peeked");
    link.setAttribute("aria-describedby", box.id);
    const heading = document.createElement("strong");
    heading.append(...[...card.querySelector("h4").childNodes].map((part) => part.cloneNode(true)));
    const words = document.createElement("p");
    words.textContent = card.querySelector(".note").textContent;
    const own = document.createElement("p");
    own.textContent = (link.getAttribute("aria-label") || "").replace(/^Seed \d+: /, "").replace(/, (golden|inferior|inconclusive)$/, "");
    if (words.textContent.includes(own.textContent)) own.textContent = "";  // the chart of the FID says it too
    const strip = card.querySelector(".strip").cloneNode(true);
    strip.querySelectorAll("img").forEach((image) => { image.alt = ""; image.removeAttribute("title"); });
    const more = document.createElement("p");
    more.className = "note";
    more.textContent = touched ? "Tap again for its place among all seeds." : "";
    box.replaceChildren(heading, ...(own.textContent ? [own] : []), words, strip, ...(touched ? [more] : []));
    box.hidden = false;
    place(at || middle(link));
  }

  function middle(link) {
    const mark = (link.querySelector(".mark, .cluster") || link).getBoundingClientRect();
    return { x: mark.left + mark.width / 2, y: mark.top + Math.min(mark.height, 24) / 2 };
  }

  /* Beside a map where there is room, else below the place or above it, never over it; on a phone the style sheet keeps
     the box at the lower edge. */
  function place(at) {
    const { width, height } = box.getBoundingClientRect();
    const wide = document.documentElement.clientWidth, high = window.innerHeight;
    const chart = peeked.closest("svg.chart:not(.wide)");
    const edge = chart ? chart.getBoundingClientRect().right + 16 : Infinity;
    const beside = edge + width + 8 <= wide, below = at.y + 18 + height <= high;
    const x = beside ? edge : Math.min(at.x - width / 2, wide - width - 8);
    const y = beside ? Math.min(at.y - height / 2, high - height - 8) : below ? at.y + 18 : at.y - 18 - height;
    box.classList.toggle("above", at.y > high - height - 24);
    box.style.left = Math.max(8, x) + "px";
    box.style.top = Math.max(8, y) + "px";
  }

  function hide() {
    clearTimeout(leaving);
    if (peeked) {
      peeked.classList.remove("peeked");
      peeked.removeAttribute("aria-describedby");
    }
    peeked = null;
    box.hidden = true;
  }

  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch") return;
    const link = target(event.target);
    if (link) {
      touched = false;
      show(link, { x: event.clientX, y: event.clientY });
    } else if (box.contains(event.target)) {
      clearTimeout(leaving);
    } else if (peeked && peeked !== document.activeElement) {
      clearTimeout(leaving);
      leaving = setTimeout(hide, 150);
    }
  });
  document.addEventListener("pointerdown", (event) => {
    touched = event.pointerType === "touch";
    if (peeked && target(event.target) !== peeked && !box.contains(event.target)) hide();
  });
  /* The first tap on a mark shows the pictures, the second one follows the link. */
  document.addEventListener("click", (event) => {
    const link = target(event.target);
    if (!link) return;
    if (touched && link.closest("svg") && link !== tapped) {
      event.preventDefault();
      hide();
      show(link);
      tapped = link;
    } else {
      tapped = null;
      hide();
    }
  });
  let tapped = null;
  document.addEventListener("focusin", (event) => {
    const link = target(event.target);
    if (link && !touched) show(link);
    else if (!link) hide();
  });
  document.addEventListener("scroll", () => { if (peeked && peeked !== document.activeElement) hide(); }, { passive: true });

  /* One stop for the tab key in each chart; arrow keys go on from there. */
  const charts = [...document.querySelectorAll("svg.chart")].filter((chart) => chart.querySelector(SEED));
  charts.forEach((chart) => {
    chart.setAttribute("role", "group");
    const first = chart.querySelector(SEED);
    first.setAttribute("tabindex", "0");
    name(first);
  });

  const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const ENDS = { Home: 0, End: -1 };

  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return hide();
    const link = target(document.activeElement);
    const chart = link && link.closest("svg.chart");
    if (!chart || !(event.key in STEPS || event.key in ENDS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const next = neighbour(chart, link, event.key);
    if (!next) return;
    link.setAttribute("tabindex", "-1");
    next.setAttribute("tabindex", "0");
    name(next);
    touched = false;
    next.focus();
  });

  /* Seeds beside each other in a row are gone through in their order; on a map it goes to the nearest one that way. */
  function neighbour(chart, link, key) {
    const marks = [...chart.querySelectorAll(SEED)].map((one) => ({ one, ...middle(one) })).sort((a, b) => a.x - b.x);
    const here = marks.findIndex((mark) => mark.one === link);
    if (key in ENDS) return marks.at(ENDS[key]).one;
    const [right, down] = STEPS[key];
    if (chart.classList.contains("wide")) {
      const next = marks[here + right + down];
      return next && next.one;
    }
    let best = null, shortest = Infinity;
    marks.forEach((mark) => {
      const x = mark.x - marks[here].x, y = mark.y - marks[here].y;
      const ahead = x * right + y * down, aside = Math.abs(x * down) + Math.abs(y * right);
      if (mark.one !== link && ahead > 0 && ahead >= aside && Math.hypot(x, y) < shortest) {
        best = mark.one;
        shortest = Math.hypot(x, y);
      }
    });
    return best;
  }
})();
