// Keeps the page current without a reload: the agent announces news, and the page is fetched again. The agent makes all
// content; this script only keeps ages counting, and reports a lost agent.
"use strict";
(() => {
  const SILENCE = 40000; // milliseconds without an event after which the agent counts as lost
  const PATIENCE = 5000; // milliseconds for a broken stream to reconnect
  const main = document.getElementById("main");
  const lost = document.getElementById("lost");
  const link = document.getElementById("link");
  const said = document.getElementById("said");
  let base = performance.now();
  let now = Number(main.dataset.now);
  let heard = performance.now();
  let stream = null;
  let fetching = false;
  let again = false;
  let busy = 0; // answers in a row that the agent is busy

  const age = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (whole >= 2 * size) return `${Math.floor(whole / size)} ${unit}`;
    }
    return `${whole} s`;
  };
  const count = () => {
    const then = now + (performance.now() - base) / 1000;
    for (const span of main.querySelectorAll("[data-since]")) span.textContent = age(then - Number(span.dataset.since));
  };
  const gone = (why) => {
    if (lost.hidden) {
      lost.hidden = false;
      const since = new Date().toISOString().slice(11, 19);
      lost.textContent = `No update from ringcheck since ${since} UTC (${why}). This page is old: do not act on it.`;
    }
    link.textContent = "not connected";
    link.classList.remove("live");
  };
  const back = () => {
    lost.hidden = true;
    lost.textContent = "";
    link.textContent = "live";
    link.classList.add("live");
  };

  // What the user opened, focused and scrolled is restored.
  const kept = () => ({
    open: [...main.querySelectorAll("details[open]")].map((details) => details.id),
    scrolled: [...main.querySelectorAll(".scroll")].map((region) => region.scrollLeft),
    focus: main.contains(document.activeElement) ? locate(document.activeElement) : null,
  });
  const name = (element) => [element.getAttribute("href"), element.textContent].join(" ");
  const locate = (element) => [element.tagName, name(element), [...main.querySelectorAll(element.tagName)].indexOf(element)];
  const restore = (was) => {
    for (const id of was.open) document.getElementById(id)?.setAttribute("open", "");
    [...main.querySelectorAll(".scroll")].forEach((region, index) => { region.scrollLeft = was.scrolled[index] || 0; });
    if (!was.focus) return;
    const [tag, named, index] = was.focus;
    const same = [...main.querySelectorAll(tag)];
    (same.find((element) => name(element) === named) || same[index] || main).focus({ preventScroll: true });
  };
  const loaded = (image) => new Promise((done) => {
    const early = new Image();
    early.onload = early.onerror = done;
    setTimeout(done, 2000);
    early.src = image.getAttribute("src");
  });

  const show = async (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    const fresh = page.getElementById("main");
    if (!fresh) throw new Error("no page");
    await Promise.all([...fresh.querySelectorAll("img")].map(loaded));
    const before = main.querySelector("[data-said]")?.dataset.said;
    const was = kept();
    main.replaceChildren(...fresh.childNodes);
    now = Number(fresh.dataset.now);
    base = performance.now();
    restore(was);
    document.title = page.title;
    const icon = page.getElementById("favicon").getAttribute("href");
    const favicon = document.getElementById("favicon");
    if (favicon.getAttribute("href") !== icon) favicon.setAttribute("href", icon);
    const after = main.querySelector("[data-said]")?.dataset.said;
    if (after && after !== before) said.textContent = after;
    count();
  };
  const refresh = async () => {
    if (fetching) { again = true; return; }
    fetching = true;
    try {
      const answer = await fetch(location.href, { cache: "no-store", redirect: "error", signal: AbortSignal.timeout(20000) });
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

  const listen = () => {
    stream?.close();
    stream = new EventSource("/events");
    stream.onmessage = () => { heard = performance.now(); refresh(); };
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
  setInterval(() => {
    count();
    if (performance.now() - heard > SILENCE) {
      gone("no events");
      heard = performance.now();
      listen();
    }
  }, 1000);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  listen();
})();
