// Shows what is new without a reload: the agent says when, and the page is fetched again. All that is told is made by
// the agent; here only ages are counted on, and a lost agent is told as one.
"use strict";
(() => {
  const SILENCE = 40000; // milliseconds without a word after which nobody is there
  const PATIENCE = 5000; // for a stream that has ended to come back
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
  let busy = 0; // answers in a row that said so

  const age = (seconds) => {
    const whole = Math.max(0, Math.floor(seconds));
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
      if (whole >= 2 * size) return `${Math.floor(whole / size)} ${unit}`;
    }
    return `${whole} s`;
  };
  const count = () => {
    const then = now + (performance.now() - base) / 1000;
    for (const one of main.querySelectorAll("[data-since]")) one.textContent = age(then - Number(one.dataset.since));
  };
  const gone = (why) => {
    if (lost.hidden) {
      lost.hidden = false;
      const since = new Date().toISOString().slice(11, 19);
      lost.textContent = `No word from ringcheck since ${since} UTC (${why}). What is shown is old: do not act on it.`;
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

  // What is open, focused and scrolled stays so.
  const kept = () => ({
    open: [...main.querySelectorAll("details[open]")].map((one) => one.id),
    scrolled: [...main.querySelectorAll(".scroll")].map((one) => one.scrollLeft),
    focus: main.contains(document.activeElement) ? place(document.activeElement) : null,
  });
  const name = (one) => [one.getAttribute("href"), one.textContent].join(" ");
  const place = (one) => [one.tagName, name(one), [...main.querySelectorAll(one.tagName)].indexOf(one)];
  const restore = (was) => {
    for (const id of was.open) document.getElementById(id)?.setAttribute("open", "");
    [...main.querySelectorAll(".scroll")].forEach((one, at) => { one.scrollLeft = was.scrolled[at] || 0; });
    if (!was.focus) return;
    const [tag, named, at] = was.focus;
    const same = [...main.querySelectorAll(tag)];
    (same.find((one) => name(one) === named) || same[at] || main).focus({ preventScroll: true });
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
      const of = stream;
      setTimeout(() => {
        if (of !== stream || of.readyState === EventSource.OPEN) return;
        gone("the connection is lost");
        if (of.readyState === EventSource.CLOSED) listen();
      }, PATIENCE);
    };
  };
  setInterval(() => {
    count();
    if (performance.now() - heard > SILENCE) {
      gone("it is silent");
      heard = performance.now();
      listen();
    }
  }, 1000);
  addEventListener("pagehide", () => stream?.close());
  addEventListener("pageshow", (event) => { if (event.persisted) listen(); });
  listen();
})();
