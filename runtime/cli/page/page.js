"use strict";
(() => {
  const byId = (name) => document.getElementById(name);
  const drawing = byId("drawing");
  const pictures = [...drawing.querySelectorAll("svg")].map((svg) => ({
    svg, width: svg.width.baseVal.value, height: svg.height.baseVal.value,
  }));
  const blocks = [...drawing.querySelectorAll("details.block")];
  const layers = [...drawing.querySelectorAll("g.layer")].map((drawn) => {
    const row = byId(drawn.id.replace("drawn-", "layer-"));
    const text = `${drawn.querySelector("title").textContent} ${row.textContent}`;
    return { drawn, row, text: text.toLowerCase() };
  });

  // Zoom: the pictures' sizes; the page around them stays as it is.
  let scale = 1;
  const zoom = (wanted) => {
    scale = Math.min(4, Math.max(0.25, wanted));
    for (const each of pictures) {
      each.svg.setAttribute("width", each.width * scale);
      each.svg.setAttribute("height", each.height * scale);
    }
    byId("zoom").value = `${Math.round(100 * scale)} %`;
  };
  const fit = () => zoom(drawing.clientWidth / pictures[0].width);
  byId("smaller").onclick = () => zoom(scale / 1.25);
  byId("larger").onclick = () => zoom(scale * 1.25);
  byId("fit").onclick = fit;
  drawing.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    zoom(scale * Math.exp(-event.deltaY / 400));
  }, { passive: false });

  // Search: all words must be there, in a layer's name, steps, shape or figures.
  let hits = [];
  let place = -1;
  const show = () => {
    byId("found").value = hits.length ? `${place + 1} of ${hits.length}`
      : byId("search").value.trim() ? "none" : "";
    for (const layer of layers) layer.drawn.classList.toggle("here", layer === hits[place]);
    if (place < 0) return;
    const { drawn } = hits[place];
    drawn.closest("details.block").open = true;
    drawn.scrollIntoView({ block: "center", inline: "nearest" });
  };
  const search = () => {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    hits = words.length ? layers.filter((layer) => words.every((word) => layer.text.includes(word)))
      : [];
    const found = new Set(hits);
    for (const layer of layers) {
      for (const part of [layer.drawn, layer.row]) part.classList.toggle("hit", found.has(layer));
    }
    place = hits.length ? 0 : -1;
    show();
  };
  const step = (by) => {
    if (!hits.length) return;
    place = (place + by + hits.length) % hits.length;
    show();
  };
  byId("search").oninput = search;
  byId("search").onkeydown = (event) => {
    if (event.key === "Enter") step(event.shiftKey ? -1 : 1);
  };
  byId("next").onclick = () => step(1);
  byId("previous").onclick = () => step(-1);

  const toggle = (open) => { for (const block of blocks) block.open = open; };
  byId("open").onclick = () => toggle(true);
  byId("close").onclick = () => toggle(false);

  // A layer that is followed to its row is shown there, also in a table that is closed.
  const follow = () => {
    const row = location.hash.startsWith("#layer-") ? byId(location.hash.slice(1)) : null;
    for (let each = row; each; each = each.parentElement) {
      if (each.tagName === "DETAILS") each.open = true;
    }
    if (row) row.scrollIntoView({ block: "center" });
  };
  addEventListener("hashchange", follow);
  addEventListener("beforeprint", () => toggle(true));
  addEventListener("keydown", (event) => {
    if (event.target.matches("input") || event.ctrlKey || event.metaKey || event.altKey) return;
    const action = { "/": () => byId("search").focus(), "+": () => zoom(scale * 1.25),
      "-": () => zoom(scale / 1.25), "0": () => zoom(1) }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
  byId("tools").hidden = false;
  follow();
})();
