/* The Observatory's charts, drawn by Vega-Lite out of the data in the page: in the theme and at the width of the moment.
   Expressions are interpreted (`ast`), so nothing is evaluated as code, and nothing is fetched. If anything here fails,
   the picture that the page has for readers without scripts takes its place. */
(function () {
  "use strict";
  var root = document.documentElement;
  var SETTLE_MS = 120;

  function look() {
    var dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    return dark ? "dark" : "light";
  }

  function bindChart(figure) {
    var place = figure.querySelector(".live");
    var chart = JSON.parse(figure.querySelector("script").textContent);
    var drawn = "", shown = null, timer = 0;

    function fail() { figure.classList.add("failed"); }

    function draw() {
      var width = Math.floor(place.clientWidth), theme = look();
      if (!width || drawn === theme + width) return;
      drawn = theme + width;
      var spec = Object.assign({}, chart.spec, {
        width: width - chart.beside_px,
        config: chart.config[theme][width <= chart.phone_px ? "narrow" : "wide"]
      });
      var asked = drawn;
      vegaEmbed(place, spec, {
        mode: "vega-lite", ast: true, actions: false, defaultStyle: false, renderer: "svg",
        tooltip: { disableDefaultStyle: true, maxDepth: 1 }
      }).then(function (made) {
        if (shown) shown.finalize();
        shown = made;
        figure.dataset.drawn = asked;
      }).catch(fail);
    }

    function soon() {
      clearTimeout(timer);
      timer = setTimeout(draw, SETTLE_MS);
    }

    try { draw(); } catch (error) { fail(); return; }
    new ResizeObserver(soon).observe(place);
    new MutationObserver(soon).observe(root, { attributes: true, attributeFilter: ["data-theme"] });
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", soon);
  }

  /* What was left empty does not belong into the address. */
  function bindChoices(form) {
    var fields = form.querySelectorAll("input, select");
    form.addEventListener("submit", function () {
      fields.forEach(function (field) { field.disabled = !field.value; });
    });
    window.addEventListener("pageshow", function (event) {
      fields.forEach(function (field) { field.disabled = false; });
      if (event.persisted) form.reset(); /* on the way back, the form says again what the address says */
    });
  }

  document.addEventListener("DOMContentLoaded", function () {
    document.querySelectorAll("figure.chart").forEach(function (figure) {
      if (window.vegaEmbed) bindChart(figure); else figure.classList.add("failed");
    });
    document.querySelectorAll("form.choices").forEach(bindChoices);
  });
})();
