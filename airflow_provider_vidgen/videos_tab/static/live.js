// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// Keeps totals, filters and cards current without reloading the page.
//
// The cards come in sections of up to 60, of which the page starts with the first. A check asks for the sections
// that are in sight, and names the versions of those it has: an unchanged section is not sent again. The server
// answers 304 when nothing at all has changed, and says in "Videos-Check-After" when to ask next.

import { morph } from "./morph.js";
import { renewTimes, setServerTime } from "./times.js";

/** Seconds after which to try again while the server cannot be reached. */
const RETRY_AFTER = [5, 10, 20, 30, 60];
const LONGEST_INTERVAL = 60;
/** Seconds for which the reader has to stay with other sections before they are asked for. */
const SETTLE = 0.3;

const byId = (id) => document.getElementById(id);

/**
 * What is known of the sections on the page, by number: `version` of the section, `seen` of everything when it
 * was last asked for, `checkedAt` in milliseconds.
 */
const sections = new Map();
let filters = new URLSearchParams();
let inSight = { first: 1, last: 1 };
let interval = 5;
let failures = 0;
let timer = 0;
let due = 0;
let running = null;
let paused = false;
let report = () => {};
let changed = () => {};

/** The page has gone for this user: another check would fail the same way. */
class Refused extends Error {}

/**
 * Start to keep the page current.
 *
 * @param onReport called with {state, message} after each check; state is "live", "error" or "refused".
 * @param onChange called after the page has changed.
 */
export function startLive(onReport, onChange) {
  [report, changed] = [onReport, onChange];
  filters = chosenFilters();
  remember(byId("cards"));
  schedule(interval);
  report({ state: "live" });
  document.addEventListener("visibilitychange", () => {
    clearTimeout(timer);
    if (!document.hidden && due) schedule((due - Date.now()) / 1000);
  });
}

/** Stop checking by itself, or start again. */
export function setPaused(isPaused) {
  paused = isPaused;
  clearTimeout(timer);
  due = 0;
  if (!paused) check();
}

/** Check now. */
export function checkNow() {
  return check();
}

/** Say which sections are in sight. Those that have not been asked for lately are asked for soon. */
export function setInSight(first, last) {
  inSight = { first, last };
  const isOld = ([number, { checkedAt }]) =>
    first <= number && number <= last && Date.now() - checkedAt > interval * 1000;
  if (!running && [...sections].some(isOld)) schedule(Math.min(SETTLE, (due - Date.now()) / 1000));
}

/** Show what the filters choose now; what is being typed does not count before. */
export async function applyFilters() {
  filters = chosenFilters();
  byId("live").setAttribute("aria-busy", "true");
  const isCurrent = await check({ first: 1, last: 1, isOther: true });
  if (isCurrent) byId("live").removeAttribute("aria-busy");
}

/** Show the next section, if there is one. */
export async function showMore() {
  const next = Math.max(0, ...sections.keys()) + 1;
  if (next <= Number(byId("cards").dataset.sections)) await check({ first: next, last: next });
}

/** The query of the filters and of the scope, without empty values. */
export function chosenFilters() {
  const pairs = [...new FormData(byId("filters"))].filter(([, value]) => value);
  return new URLSearchParams(pairs);
}

function schedule(seconds) {
  clearTimeout(timer);
  if (paused) return;
  due = Date.now() + seconds * 1000;
  if (!document.hidden) timer = setTimeout(check, Math.max(0, seconds * 1000));
}

/**
 * Ask for sections and show them.
 *
 * @param isOther whether the filters have changed, so that what is shown does not count.
 * @returns whether this was the newest check.
 */
async function check({ first, last, isOther = false } = inSight) {
  clearTimeout(timer);
  running?.abort();
  const request = new AbortController();
  running = request;
  let result;
  try {
    result = await ask(first, last, isOther, request.signal);
  } catch (error) {
    result = { error };
  }
  if (running !== request) return false;
  running = null;
  if (result.error instanceof Refused) {
    report({ state: "refused", message: result.error.message });
    return true;
  }
  if (result.error) {
    interval = RETRY_AFTER[Math.min(failures, RETRY_AFTER.length - 1)];
    failures += 1;
  } else {
    failures = 0;
    interval = result.checkAfter;
    if (result.text) show(result.text, first, last, isOther);
    for (let number = first; number <= last; number += 1) {
      if (sections.has(number)) sections.get(number).checkedAt = Date.now();
    }
  }
  schedule(interval);
  report({ state: result.error ? "error" : "live" });
  return true;
}

async function ask(first, last, isOther, signal) {
  const wanted = new URLSearchParams(filters);
  wanted.set("first", first);
  wanted.set("last", last);
  const headers = {};
  const known = isOther ? [] : numbers(first, last).map((number) => sections.get(number));
  if (known.length && known.every(Boolean)) {
    wanted.set("known", known.map(({ version }) => version).join(","));
    // "Nothing has changed" helps only if all of them are from the same moment.
    const { seen } = known[0];
    if (seen && known.every((section) => section.seen === seen)) headers["If-None-Match"] = seen;
  }
  const reply = await fetch(`${byId("cards").dataset.cardsUrl}?${wanted}`, { headers, signal, cache: "no-store" });
  const text = reply.status === 200 ? await reply.text() : "";
  if (reply.status === 401) throw new Refused("You are logged out of Airflow. Log in again and reload the page.");
  if (reply.status === 403) throw new Refused("You may no longer see these videos.");
  if (reply.status === 404) throw new Refused("This Dag, run or task no longer exists.");
  if (!reply.ok && reply.status !== 304) throw new Error(`status ${reply.status}`);
  return { text, checkAfter: Number(reply.headers.get("Videos-Check-After")) || LONGEST_INTERVAL };
}

function numbers(first, last) {
  return Array.from({ length: last - first + 1 }, (_, index) => first + index);
}

function show(text, first, last, isOther) {
  const reply = new DOMParser().parseFromString(text, "text/html");
  for (const id of ["totals", "filters", "before-cards"]) morph(byId(id), reply.getElementById(id));
  if (isOther) sections.clear();
  const wanted = wantedCards(reply);
  const isWanted = new Set(wanted);
  const others = isOther ? [] : [...byId("grid").children].filter((card) => !isWanted.has(card));
  const before = others.filter((card) => Number(card.dataset.section) < first);
  const after = others.filter((card) => Number(card.dataset.section) > last);
  remember(reply.getElementById("cards"));
  const count = Number(byId("cards").dataset.sections);
  place(byId("grid"), [...before, ...wanted, ...after.filter((card) => Number(card.dataset.section) <= count)]);
  // Whether there is more depends on all sections that are shown, not on those of this reply.
  if (last >= Math.max(...sections.keys())) morph(byId("after-cards"), reply.getElementById("after-cards"));
  renewTimes();
  changed();
}

/** Remember what the page or a reply says about itself. */
function remember(main) {
  Object.assign(byId("cards").dataset, main.dataset);
  for (const [number, version] of sectionsOf(main)) {
    sections.set(number, { version, seen: main.dataset.version, checkedAt: Date.now() });
  }
  for (const number of sections.keys()) if (number > Number(main.dataset.sections)) sections.delete(number);
  interval = Number(main.dataset.checkAfter);
  setServerTime(main.dataset.now);
}

function sectionsOf(main) {
  const pairs = main.dataset.sectionVersions.split(" ").filter(Boolean);
  return pairs.map((pair) => pair.split(":")).map(([number, version]) => [Number(number), version]);
}

/** The cards of a reply, in order: those shown already, made like the new ones where their version differs. */
function wantedCards(reply) {
  const main = reply.getElementById("cards");
  const unchanged = new Set(main.dataset.unchanged.split(" ").map(Number));
  const cardsOf = (list, number) => [...list.children].filter((card) => Number(card.dataset.section) === number);
  return sectionsOf(main).flatMap(([number]) =>
    unchanged.has(number) ? cardsOf(byId("grid"), number) : cardsOf(reply.getElementById("grid"), number).map(renewed),
  );
}

function renewed(wanted) {
  const card = byId(wanted.id);
  if (!card) return document.importNode(wanted, true);
  if (card.dataset.version !== wanted.dataset.version) morph(card, wanted);
  else if (card.dataset.section !== wanted.dataset.section) card.dataset.section = wanted.dataset.section;
  return card;
}

/** Put the cards into the list in this order. Cards that have their place are not moved: a move stops a video. */
function place(list, cards) {
  const wanted = new Set(cards);
  for (const card of [...list.children]) if (!wanted.has(card)) card.remove();
  let next = list.firstElementChild;
  for (const card of cards) {
    if (card === next) {
      next = next.nextElementSibling;
    } else if (card.isConnected && list.moveBefore) {
      list.moveBefore(card, next);
    } else {
      list.insertBefore(card, next);
    }
  }
}
