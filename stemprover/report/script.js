"use strict";
(() => {
  const root = document.documentElement;
  const all = (selector) => [...document.querySelectorAll(selector)];
  const fail = (text) => { root.dataset.error = ((root.dataset.error || "") + " " + text).trim(); };
  window.addEventListener("error", (event) => fail(event.message || "a resource failed to load"), true);
  window.addEventListener("unhandledrejection", (event) => fail(String(event.reason)));
  document.addEventListener("securitypolicyviolation", (event) => fail("blocked " + event.blockedURI));

  const clock = (seconds) => {
    const tenths = Math.round(seconds * 10);
    const minutes = Math.floor(tenths / 600);
    return minutes + ":" + String(Math.floor(tenths / 10) % 60).padStart(2, "0") + "." + (tenths % 10);
  };

  function startPlayer(card) {
    const tracks = new Map(all("audio[data-track]").map((audio) => [audio.dataset.track, audio]));
    const play = card.querySelector(".play");
    const seek = card.querySelector(".seek");
    const time = card.querySelector(".time");
    const boost = card.querySelector(".boost-box");
    const { start, end, duration } = Object.fromEntries(Object.entries(card.dataset).map(([k, v]) => [k, Number(v)]));
    let current = tracks.values().next().value;
    let playing = false;

    const volumes = () => tracks.forEach((audio) => {
      audio.muted = audio !== current;
      audio.volume = boost && boost.checked ? 1 : Math.pow(10, -Number(audio.dataset.boost) / 20);
    });
    const show = () => {
      const at = current.currentTime;
      seek.value = at;
      seek.setAttribute("aria-valuetext", clock(start + at));
      time.textContent = clock(start + at);
      all(".playhead").forEach((line) => {
        line.hidden = !playing && at === 0;
        line.style.left = (100 * (start + at)) / duration + "%";
      });
    };
    const move = (at) => { tracks.forEach((audio) => { audio.currentTime = at; }); show(); };
    const frame = () => { show(); if (playing) requestAnimationFrame(frame); };
    const setPlaying = (wanted) => {
      playing = wanted;
      play.classList.toggle("playing", playing);
      play.setAttribute("aria-label", playing ? "Pause" : "Play");
      tracks.forEach((audio) => {
        if (!playing) { audio.pause(); return; }
        audio.currentTime = current.currentTime;
        // A pause that came before it began fails this one, and is heard of when the next may be running.
        audio.play().catch((error) => { if (audio === current && error.name !== "AbortError") setPlaying(false); });
      });
      if (playing) frame(); else show();
    };
    // All tracks run together and only one is heard, so that switching has no gap.
    const choose = (name) => {
      const next = tracks.get(name);
      if (!next || next === current) return;
      if (Math.abs(next.currentTime - current.currentTime) > 0.03) next.currentTime = current.currentTime;
      current = next;
      volumes();
      card.querySelector(`input[value="${name}"]`).checked = true;
    };

    tracks.forEach((audio) => audio.addEventListener("ended", () => { if (audio === current) { setPlaying(false); move(0); } }));
    play.addEventListener("click", () => setPlaying(!playing));
    seek.addEventListener("input", () => move(Number(seek.value)));
    all('input[name="track"]').forEach((input) => input.addEventListener("change", () => choose(input.value)));
    if (boost) boost.addEventListener("change", volumes);
    all("[data-hear]").forEach((box) => box.addEventListener("click", (event) => {
      const area = box.getBoundingClientRect();
      const at = (duration * (event.clientX - area.left)) / area.width;
      if (at < start || at > end) return;
      choose(box.dataset.hear);
      move(at - start);
      if (!playing) setPlaying(true);
    }));
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const name = [...tracks.keys()][Number(event.key) - 1];
      if (name) choose(name);
      else if (event.key === " " && !event.target.closest("button, input, .table-scroll")) { event.preventDefault(); setPlaying(!playing); }
    });
    volumes();
    const ready = [...tracks.values()].map((audio) => audio.readyState > 0 ? null : new Promise((done, failed) => {
      audio.addEventListener("loadedmetadata", done, { once: true });
      audio.addEventListener("error", () => failed(new Error("cannot play " + audio.dataset.track)), { once: true });
    }));
    return Promise.all(ready).then(() => { play.disabled = false; });
  }

  function startTips() {
    const tip = document.querySelector(".tip");
    all("[data-tip]").forEach((region) => {
      region.addEventListener("pointermove", (event) => {
        tip.textContent = region.dataset.tip;
        tip.hidden = false;
        const left = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
        const below = event.clientY + 16;
        const top = below + tip.offsetHeight > window.innerHeight ? event.clientY - tip.offsetHeight - 12 : below;
        tip.style.transform = `translate(${left}px, ${top}px)`;
      });
      region.addEventListener("pointerleave", () => { tip.hidden = true; });
    });
    tip.style.left = tip.style.top = "0";
  }

  function startLegend() {
    all("[data-toggle-all]").forEach((box) => box.addEventListener("change", () => {
      all(".boxes").forEach((boxes) => { boxes.style.display = box.checked ? "" : "none"; });
    }));
    all("[data-toggle]").forEach((box) => box.addEventListener("change", () => {
      all(`.boxes .art-${box.dataset.toggle}`).forEach((region) => { region.style.display = box.checked ? "" : "none"; });
    }));
  }

  startTips();
  startLegend();
  const card = document.querySelector(".listen");
  const images = all("img").map((image) => image.decode());
  Promise.all([card ? startPlayer(card) : null, ...images])
    .then(() => {
      const loaded = performance.getEntriesByType("resource").map((entry) => entry.name);
      root.dataset.requests = String(loaded.filter((name) => !name.startsWith("data:")).length);
      root.dataset.ready = String(all("audio").length) + " players, " + images.length + " pictures";
    })
    .catch((error) => fail(String(error)));
})();
