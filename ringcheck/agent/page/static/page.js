// Keeps the page current without a reload: the agent announces news of what the page shows, and the page is fetched
// again, once a second at most. Pages of codes and errors have no news. The agent makes all
// content; this script puts it in place, keeps ages counting, shows local times, copies commands, and reports a lost
// agent. Elements that stay are kept, with what the user opened, focused, selected and scrolled.
"use strict";
(() => {
  const SILENCE = 40000; // milliseconds without an event after which the agent counts as lost
  const PATIENCE = 5000; // milliseconds for a broken stream to reconnect
  const PIECE = 25; // milliseconds of work until the browser may do something else
  const GAP = 1000; // milliseconds from one fetch for news to the next, at least
  const TYPING = 250; // milliseconds after the last key until the filter applies
  const main = document.getElementById("main");
  const lost = document.getElementById("lost");
  const link = document.getElementById("link");
  const said = document.getElementById("said");
  const filter = document.getElementById("filter");
  let base = performance.now();
  let now = Number(main.dataset.now);
  let heard = performance.now();
  let stream = null;
  let fetching = false;
  let again = false;
  let busy = 0; // answers in a row that the agent is busy
  let typed = 0;
  let began = -GAP; // when the last fetch began
  let planned = 0;

  const age = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (whole >= 2 * size) return `${Math.floor(whole / size)} ${unit}`;
    }
    return `${whole} s`;
  };
  const count = () => {
    const then = now + (performance.now() - base) / 1000;
    for (const span of main.querySelectorAll("[data-since]")) {
      const text = age(then - Number(span.dataset.since));
      if (span.textContent !== text) span.textContent = text;
    }
  };
  const titled = (title, icon) => {
    if (document.title !== title) document.title = title;
    const favicon = document.getElementById("favicon");
    if (favicon.getAttribute("href") !== icon) favicon.setAttribute("href", icon);
  };
  const gone = (why) => {
    if (lost.hidden) {
      lost.hidden = false;
      const since = new Date().toISOString().slice(11, 19);
      lost.textContent = `No update from ringcheck since ${since} UTC (${why}). This page is old: do not act on it.`;
    }
    link.textContent = "Not connected";
    link.dataset.state = "lost";
    document.body.classList.add("old");
    titled(`Not connected · ${main.dataset.name}`, "/static/unknown.svg");
  };
  const back = () => {
    lost.hidden = true;
    lost.textContent = "";
    link.textContent = "Updates by itself";
    link.dataset.state = "connected";
    document.body.classList.remove("old");
  };

  // What needs a script to be of use is made here, also in a page that was fetched.
  const enhance = (root) => {
    for (const command of root.querySelectorAll("code.command")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy";
      button.textContent = "Copy";
      button.setAttribute("aria-label", `Copy ${command.textContent}`);
      command.after(button);
    }
  };
  const local = (event) => {
    const time = event.target.closest?.("time");
    if (time) time.title = new Date(time.dateTime).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
  };
  const hint = () => {
    for (const region of main.querySelectorAll(".scroll")) {
      const wide = region.scrollWidth > region.clientWidth + 1;
      region.toggleAttribute("data-wide", wide);
      const before = region.previousElementSibling;
      const shown = before?.classList.contains("more");
      if (wide && !shown) {
        const more = document.createElement("span");
        more.className = "more";
        more.setAttribute("aria-hidden", "true");
        more.textContent = "More columns: scroll the table sideways →";
        region.before(more);
      } else if (!wide && shown) before.remove();
    }
  };
  const copy = async (button) => {
    const command = button.previousElementSibling;
    try {
      await navigator.clipboard.writeText(command.textContent);
    } catch {
      getSelection().selectAllChildren(command); // no clipboard over plain HTTP: it is selected, to be copied by hand
      button.textContent = "Selected";
      return;
    }
    button.textContent = "Copied";
    said.textContent = "Copied";
  };

  // Takes over attributes and children of a fetched element. Elements with an id or a key are found wherever they were.
  // Generators, which stop at each of these: a long page is taken over in pieces, between which the browser can react.
  const key = (node) => (node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || "" : "");
  const own = (element, name) => (name === "open" && element.tagName === "DETAILS") || name === "data-wide";
  const adopt = function* (element, fresh) {
    for (const { name } of [...element.attributes]) {
      if (!fresh.hasAttribute(name) && !own(element, name)) element.removeAttribute(name);
    }
    for (const { name, value } of fresh.attributes) {
      if (element.getAttribute(name) !== value) element.setAttribute(name, value);
    }
    yield* adoptChildren(element, fresh);
  };
  const adoptChildren = function* (element, fresh) {
    const keyed = new Map([...element.children].filter(key).map((child) => [key(child), child]));
    let at = element.firstChild;
    for (const child of [...fresh.childNodes]) {
      const name = key(child);
      let same = name ? keyed.get(name) : at && !key(at) ? at : null;
      if (same && same.nodeName !== child.nodeName) same = null;
      if (!same) {
        element.insertBefore(child, at);
        continue;
      }
      keyed.delete(name);
      if (same === at) at = at.nextSibling;
      else element.insertBefore(same, at);
      if (same.nodeType === Node.ELEMENT_NODE) yield* adopt(same, child);
      else if (same.data !== child.data) same.data = child.data;
      if (name) yield;
    }
    while (at) {
      const rest = at;
      at = at.nextSibling;
      rest.remove();
    }
  };

  const inPieces = async (work) => {
    let ends = performance.now() + PIECE;
    while (!work.next().done) {
      if (performance.now() < ends) continue;
      await new Promise((done) => setTimeout(done));
      ends = performance.now() + PIECE;
    }
  };

  const loaded = (image) => new Promise((done) => {
    const early = new Image();
    early.onload = early.onerror = done;
    setTimeout(done, 2000);
    early.src = image.getAttribute("src");
  });
  const identity = (element) => [element.tagName, element.getAttribute("href"), element.textContent].join(" ");
  const find = (wanted, place) => {
    const scope = (place && document.getElementById(place)?.parentElement) || main;
    return [...scope.querySelectorAll("a, button, summary, [tabindex]")].find((element) => identity(element) === wanted);
  };
  const show = async (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.getElementById("main");
    if (!fresh) throw new Error("no page");
    await Promise.all([...fresh.querySelectorAll("img")].map(loaded));
    const before = main.querySelector("[data-said]")?.dataset.said;
    const focused = main.contains(document.activeElement) && document.activeElement !== main ? document.activeElement : null;
    const wanted = focused && identity(focused);
    const place = focused?.closest("section")?.getAttribute("aria-labelledby");
    enhance(fresh);
    await inPieces(adopt(main, fresh));
    now = Number(fresh.dataset.now);
    base = performance.now();
    count();
    hint();
    const lostFocus = document.activeElement === document.body;
    if (focused && (lostFocus || (document.activeElement === focused && identity(focused) !== wanted))) {
      const same = find(wanted, place) || (main.contains(focused) ? focused : main);
      same.focus({ preventScroll: true });
    }
    titled(page.title, page.getElementById("favicon").getAttribute("href"));
    const after = main.querySelector("[data-said]")?.dataset.said;
    if (after && after !== before) said.textContent = after;
  };
  const refresh = async () => {
    if (fetching) { again = true; return; }
    fetching = true;
    began = performance.now();
    try {
      const answer = await fetch(location.href, {
        headers: { Accept: "text/html" }, cache: "no-store", redirect: "error", signal: AbortSignal.timeout(20000),
      });
      busy = answer.status === 503 || answer.status === 429 ? busy + 1 : 0;
      if (busy && busy < 6) {
        setTimeout(refresh, 500 + Math.random() * 1500);
      } else {
        await show(await answer.text());
        back();
      }
    } catch (error) {
      gone("the page can't be fetched");
    }
    fetching = false;
    if (again) { again = false; refresh(); }
  };

  const soon = () => {
    planned ||= setTimeout(() => { planned = 0; refresh(); }, Math.max(0, began + GAP - performance.now()));
  };

  const listen = () => {
    stream?.close();
    stream = new EventSource(document.body.dataset.news);
    stream.onmessage = () => { heard = performance.now(); soon(); };
    stream.addEventListener("alive", () => { heard = performance.now(); });
    stream.onerror = () => {
      const broken = stream;
      setTimeout(() => {
        if (broken !== stream || broken.readyState === EventSource.OPEN) return;
        gone("the connection is lost");
        if (broken.readyState === EventSource.CLOSED) listen();
      }, PATIENCE);
    };
  };
  const live = "news" in document.body.dataset;
  setInterval(() => {
    count();
    if (live && performance.now() - heard > SILENCE) {
      gone("no events");
      heard = performance.now();
      listen();
    }
  }, 1000);
  if (filter) {
    document.getElementById("find").hidden = false;
    filter.addEventListener("input", () => {
      clearTimeout(typed);
      typed = setTimeout(() => {
        const url = new URL(location.href);
        if (filter.value.trim()) url.searchParams.set("filter", filter.value);
        else url.searchParams.delete("filter");
        history.replaceState(null, "", url);
        refresh();
      }, TYPING);
    });
  }
  main.addEventListener("click", (event) => {
    const button = event.target.closest("button.copy");
    if (button) copy(button);
  });
  main.addEventListener("mouseover", local);
  addEventListener("resize", hint);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => { if (event.persisted && live) listen(); });
  new Image().src = "/static/unknown.svg"; // at hand when the agent is lost
  enhance(main);
  count();
  hint();
  if (live) listen();
  else link.dataset.state = "fixed";
})();
