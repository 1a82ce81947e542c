/* Enhancements only: every page works without this file. Loaded before the body, so that a chosen theme never flashes. */
(function () {
  "use strict";
  var root = document.documentElement;
  var KEY = "headwater-theme";

  function stored() {
    try { return localStorage.getItem(KEY); } catch (e) { return null; }
  }
  function remember(theme) {
    try { localStorage.setItem(KEY, theme); } catch (e) { /* private windows may refuse */ }
  }
  var theme = stored();
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;
  root.classList.add("js");

  function isDark() {
    return root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }

  /* navigator.clipboard exists only on https and localhost; a hub in a lab is often plain http. */
  function copyText(text) {
    if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
    return new Promise(function (done, fail) {
      var area = document.createElement("textarea");
      area.value = text;
      area.className = "off";
      document.body.appendChild(area);
      area.select();
      var worked = document.execCommand("copy");
      area.remove();
      if (worked) done(); else fail(new Error("copy refused"));
    });
  }

  function bindCopy(button) {
    var timer = 0;
    button.addEventListener("click", function () {
      var source = button.dataset.copyFrom && document.getElementById(button.dataset.copyFrom);
      copyText(source ? source.textContent.trim() : button.dataset.copy).then(function () {
        button.classList.add("done");
        say("Copied");
        clearTimeout(timer);
        timer = setTimeout(function () { button.classList.remove("done"); }, 1600);
      }, function () { say("Copying was refused by the browser"); });
    });
  }

  function say(text) {
    var live = document.getElementById("live");
    if (live) live.textContent = text;
  }

  /* A shape may be written 384x384. */
  function plain(text) { return text.toLowerCase().replace(/\s*×\s*/g, "x"); }

  /* Rows of a table that is wholly on the page are filtered as one types; otherwise the form asks the server. */
  function bindFilter(form) {
    var table = document.getElementById(form.dataset.filters);
    var input = form.querySelector("input[type=search]");
    var shown = document.getElementById("shown");
    if (!table || !input || form.dataset.whole !== "yes") return;
    var rows = Array.prototype.map.call(table.tBodies[0].rows, function (row) {
      return { row: row, text: plain(row.textContent) + " " + row.textContent.toLowerCase() };
    });
    form.addEventListener("submit", function (event) { event.preventDefault(); });
    input.addEventListener("input", function () {
      var words = plain(input.value).split(/\s+/).filter(Boolean);
      var many = 0;
      rows.forEach(function (one) {
        var fits = words.every(function (word) { return one.text.indexOf(word) >= 0; });
        one.row.hidden = !fits;
        if (fits) many += 1;
      });
      if (shown) shown.textContent = many === rows.length ? "" : many.toLocaleString("en") + " of ";
      table.classList.toggle("none", many === 0);
    });
  }

  /* Code in a card or in the documentation can be copied, too. */
  function addCopy(pre) {
    var box = document.createElement("div");
    var button = document.createElement("button");
    box.className = "copied";
    button.className = "copy quiet";
    button.type = "button";
    button.title = "Copy";
    button.setAttribute("aria-label", "Copy");
    button.dataset.copy = pre.textContent.replace(/\n$/, "");
    ["copy before", "check after"].forEach(function (names) {
      var icon = document.querySelector("svg.i").cloneNode(true);
      icon.setAttribute("class", "i " + names.split(" ")[1]);
      icon.firstElementChild.setAttribute("href", "#i-" + names.split(" ")[0]);
      button.appendChild(icon);
    });
    pre.replaceWith(box);
    box.append(pre, button);
  }

  /* A press on a line's number puts the line into the address, to be sent to somebody. */
  function bindLines(lines) {
    lines.addEventListener("click", function (event) {
      var line = event.target.closest(".ln");
      if (!line) return;
      var width = parseFloat(getComputedStyle(line, "::before").width);
      if (event.clientX - line.getBoundingClientRect().left > width) return;
      var top = window.scrollY;
      location.hash = line.id;
      window.scrollTo(window.scrollX, top);
    });
  }

  /* The second press of a double click must not send a form again: a token that was just made would be lost. */
  function sendOnce(event) {
    var form = event.target;
    if (event.defaultPrevented || form.method !== "post") return;
    if (form.dataset.sent) { event.preventDefault(); return; }
    form.dataset.sent = "yes";
    setTimeout(function () { delete form.dataset.sent; }, 3000);
  }

  function closeMenus(except) {
    document.querySelectorAll("details.menu[open]").forEach(function (menu) {
      if (menu !== except) menu.open = false;
    });
  }

  document.addEventListener("DOMContentLoaded", function () {
    var toggle = document.getElementById("theme");
    if (toggle) {
      var label = function () { toggle.setAttribute("aria-label", isDark() ? "Use light colours" : "Use dark colours"); };
      label();
      toggle.addEventListener("click", function () {
        root.dataset.theme = isDark() ? "light" : "dark";
        remember(root.dataset.theme);
        label();
      });
    }
    document.querySelectorAll(".prose pre").forEach(addCopy);
    document.querySelectorAll(".prose table").forEach(function (table) {
      if (table.scrollWidth > table.clientWidth) table.tabIndex = 0; /* the keyboard scrolls what has the focus */
    });
    document.querySelectorAll("button.copy").forEach(bindCopy);
    document.querySelectorAll(".lines").forEach(bindLines);
    document.querySelectorAll("form[data-filters]").forEach(bindFilter);
    document.querySelectorAll("form[data-confirm]").forEach(function (form) {
      form.addEventListener("submit", function (event) {
        if (!confirm(form.dataset.confirm)) event.preventDefault();
      });
    });
    document.addEventListener("submit", sendOnce);
    document.addEventListener("click", function (event) {
      closeMenus(event.target.closest ? event.target.closest("details.menu") : null);
    });
    document.addEventListener("keydown", function (event) {
      if (event.key === "Escape") {
        var open = document.querySelector("details.menu[open]");
        if (open) { closeMenus(null); open.querySelector("summary").focus(); }
      }
      var typing = /^(INPUT|TEXTAREA|SELECT)$/.test(event.target.tagName) || event.target.isContentEditable;
      if (event.key === "/" && !typing && !event.ctrlKey && !event.metaKey && !event.altKey) {
        var search = document.querySelector("input[data-slash]");
        if (search) { event.preventDefault(); search.focus(); search.select(); }
      }
    });
  });
})();
