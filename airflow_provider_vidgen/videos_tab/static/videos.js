// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// The Videos tab: joins the parts of the page. The server renders everything; this makes it live.

import { startActions } from "./acts.js";
import { applyFilters, chosenFilters, setInSight, setPaused, showMore, startLive } from "./live.js";
import { startPlayers } from "./player.js";
import { clockTime, inWords, startClock } from "./times.js";

const byId = (id) => document.getElementById(id);
const SEARCH_DELAY = 300;
/** Seconds between two announcements to screen readers. */
const ANNOUNCE_EVERY = 20;

// Connection

let connection = { state: "loading" };
let lastContact = Date.now();

function report(news) {
  if (news.state === "live") lastContact = Date.now();
  else if (connection.state === "live") announce(connectionText(news));
  connection = news;
  showConnection();
}

function isPaused() {
  return byId("pause").getAttribute("aria-pressed") === "true";
}

function connectionText({ state, message }) {
  if (state === "refused") return message;
  if (state === "error") return `Not connected since ${clockTime(lastContact)}, trying again`;
  const age = inWords((Date.now() - lastContact) / 1000);
  return isPaused() ? `Paused, updated ${age} ago` : `Live, updated ${age} ago`;
}

function showConnection() {
  byId("connection").dataset.state = connection.state === "live" && isPaused() ? "paused" : connection.state;
  byId("connection-text").textContent = connectionText(connection);
}

function startConnection() {
  byId("pause").hidden = false;
  byId("pause").addEventListener("click", () => {
    byId("pause").setAttribute("aria-pressed", String(!isPaused()));
    setPaused(isPaused());
    showConnection();
  });
  setInterval(() => document.hidden || showConnection(), 1000);
}

// Announcements to screen readers

let announcedAt = 0;
let announcedTotals = totalsText();

function totalsText() {
  return [...byId("totals").querySelectorAll(".total")]
    .map((total) => `${total.querySelector("dd").textContent} ${total.querySelector("dt").textContent}`)
    .join(", ");
}

function announce(text) {
  byId("announcer").textContent = text;
}

function announceTotals() {
  const text = totalsText();
  if (text === announcedTotals || Date.now() - announcedAt < ANNOUNCE_EVERY * 1000) return;
  announcedAt = Date.now();
  announcedTotals = text;
  announce(text);
}

// Filters

async function renewFilters() {
  const url = new URL(byId("filters").action);
  url.search = chosenFilters();
  history.replaceState(null, "", url);
  await applyFilters();
  announce(byId("before-cards").querySelector("h2").textContent);
}

function startFilters() {
  const form = byId("filters");
  let timer = 0;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    renewFilters();
  });
  form.addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(renewFilters, event.target.type === "search" ? SEARCH_DELAY : 0);
  });
  byId("before-cards").addEventListener("click", (event) => {
    if (event.target.id !== "clear-filters") return;
    for (const field of form.querySelectorAll("[name=q], [name=vendor]")) field.value = "";
    form.querySelector("[name=state][value='']").checked = true;
    renewFilters();
  });
}

// Cards

/** Texts that are cut off get a button that shows all of them. */
function findCutTexts(cards) {
  const isCut = (text) => text.scrollHeight > text.clientHeight + 1 || text.scrollWidth > text.clientWidth + 1;
  const cut = cards.filter((card) => [...card.querySelectorAll(".clamp, h3, .place")].some(isCut));
  for (const card of cards) {
    const button = card.querySelector(".show-all");
    const isIdle = card.dataset.expanded === undefined && !cut.includes(card);
    if (button.hidden !== isIdle) button.hidden = isIdle;
  }
}

const cardsInSight = new Set();

const seenCards = new IntersectionObserver((entries) => {
  const appeared = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
  for (const { target } of entries) cardsInSight.delete(target);
  for (const card of appeared) cardsInSight.add(card);
  findCutTexts(appeared);
  const sections = [...cardsInSight].map((card) => Number(card.dataset.section));
  if (sections.length) setInSight(Math.min(...sections), Math.max(...sections));
});

const endOfList = new IntersectionObserver(
  (entries) => entries.some((entry) => entry.isIntersecting) && showMore(),
  { rootMargin: "1000px" },
);

function observeCards() {
  // Observing an element again reports it again: its text may have changed.
  seenCards.disconnect();
  cardsInSight.clear();
  for (const card of byId("grid").children) seenCards.observe(card);
  endOfList.disconnect();
  if (!byId("more").hidden) endOfList.observe(byId("more"));
}

function toggleText(button) {
  const card = button.closest(".card");
  const isExpanded = card.toggleAttribute("data-expanded");
  button.setAttribute("aria-expanded", String(isExpanded));
}

async function copy(button) {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Browsers offer the clipboard to scripts on https only.
    getSelection().selectAllChildren(button.parentElement.querySelector("code"));
    document.execCommand("copy");
  }
  const icon = button.querySelector(".icon");
  icon.className = "icon icon-copied";
  setTimeout(() => (icon.className = "icon icon-copy"), 2000);
  announce("Copied");
}

/**
 * Follow a link out of the page.
 *
 * The UI's iframe is sandboxed: links in it can neither replace the UI nor open a tab. A link in the UI's own
 * document can.
 */
function follow(event, link) {
  if (window.parent === window) return;
  event.preventDefault();
  const outer = window.parent.document.createElement("a");
  outer.href = link.href;
  outer.rel = link.rel;
  const isNewTab = "newTab" in link.dataset || event.ctrlKey || event.metaKey || event.shiftKey || event.button === 1;
  outer.target = isNewTab ? "_blank" : "_self";
  outer.click();
}

function startCards() {
  const grid = byId("grid");
  grid.addEventListener("click", (event) => {
    const button = event.target.closest(".copy, .show-all");
    if (button?.matches(".copy")) copy(button);
    else if (button) toggleText(button);
  });
  for (const name of ["click", "auxclick"]) {
    grid.addEventListener(name, (event) => {
      const link = event.target.closest(".acts a");
      if (link && event.button < 2) follow(event, link);
    });
  }
  byId("after-cards").addEventListener("click", (event) => event.target.closest("#more button") && showMore());
}

startClock(byId("cards").dataset.now);
startPlayers(byId("grid"));
startActions(byId("grid"));
startCards();
startFilters();
startConnection();
startLive(report, () => {
  observeCards();
  announceTotals();
});
observeCards();
