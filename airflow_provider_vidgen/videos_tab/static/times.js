// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// Texts that depend on the present time: <time datetime="…" data-counts="elapsed | remaining | clock">.

/** Difference between the server's clock and the browser's, in milliseconds. */
let skew = 0;
let clocks = newClocks();

function newClocks() {
  let timeZone;
  try {
    // The Airflow UI's choice; without one, the browser's.
    timeZone = JSON.parse(localStorage.getItem("timezone")) ?? undefined;
    return formatters(timeZone);
  } catch {
    return formatters(undefined);
  }
}

function formatters(timeZone) {
  const time = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone };
  return {
    day: new Intl.DateTimeFormat(undefined, { dateStyle: "short", timeZone }),
    today: new Intl.DateTimeFormat(undefined, time),
    earlier: new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", ...time }),
    full: new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long", timeZone }),
  };
}

/** Set the server's present time, an ISO 8601 text. */
export function setServerTime(text) {
  const moment = Date.parse(text);
  skew = Number.isNaN(moment) ? 0 : moment - Date.now();
}

/** Return the present time of the browser as text, for what the browser itself has noticed. */
export function clockTime(moment) {
  return clocks.today.format(moment);
}

const UNITS = [
  [86400, "d"],
  [3600, "h"],
  [60, "min"],
  [1, "s"],
];

/** Write a number of seconds in its two largest units, such as "1 min 20 s", as wording.py does. */
export function inWords(seconds) {
  const total = Math.max(0, Math.floor(seconds));
  const largest = UNITS.findIndex(([size]) => total >= size);
  if (largest < 0) return "0 s";
  let rest = total;
  const parts = UNITS.slice(largest, largest + 2).map(([size, unit]) => {
    const count = Math.floor(rest / size);
    rest %= size;
    return count ? `${count} ${unit}` : "";
  });
  return parts.filter(Boolean).join(" ");
}

function describe(element, now) {
  const moment = Date.parse(element.dateTime);
  if (Number.isNaN(moment)) return null;
  if (element.dataset.counts === "elapsed") return inWords((now - moment) / 1000);
  if (element.dataset.counts === "remaining") return moment > now ? inWords((moment - now) / 1000) : "";
  element.title = clocks.full.format(moment);
  const isToday = clocks.day.format(moment) === clocks.day.format(now);
  return (isToday ? clocks.today : clocks.earlier).format(moment);
}

/** Bring the texts below an element up to date. */
export function renewTimes(root = document) {
  const now = Date.now() + skew;
  for (const element of root.querySelectorAll("time[data-counts]")) {
    const text = describe(element, now);
    const whole = element.closest("[data-when-over]");
    if (text === "" && whole) {
      whole.textContent = whole.dataset.whenOver;
    } else if (text !== null && element.textContent !== text) {
      element.textContent = text;
    }
  }
}

/** Keep all texts current while the page is visible, by the server's clock. */
export function startClock(serverTime) {
  setServerTime(serverTime);
  setInterval(() => document.hidden || renewTimes(), 1000);
  addEventListener("storage", () => {
    clocks = newClocks();
    renewTimes();
  });
  renewTimes();
}
