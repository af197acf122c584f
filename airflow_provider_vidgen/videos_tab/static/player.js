// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// Plays a video in its card. Nothing of a video is loaded before somebody presses play.

/** Seconds in which a second failure is not repaired by loading the video again. */
const REPAIR_AFTER = 20;

/** When a video was last loaded, in milliseconds. */
const loadedAt = new WeakMap();

/** Handle the play buttons of all cards below an element. */
export function startPlayers(list) {
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".play");
    if (button) play(button.closest(".clip"));
    const next = event.target.closest(".next");
    if (next) showNext(next.closest(".clip"));
  });
  // Events of media elements do not bubble.
  list.addEventListener("play", (event) => pauseOthers(list, event.target), true);
  list.addEventListener("error", (event) => event.target.matches("video") && repair(event.target), true);
  list.addEventListener("error", (event) => event.target.matches(".clip > img") && event.target.remove(), true);
  // A poster may have failed before this script ran.
  for (const image of list.querySelectorAll(".clip > img")) if (image.complete && !image.naturalWidth) image.remove();
}

function pauseOthers(list, playing) {
  for (const video of list.querySelectorAll(".playing video")) if (video !== playing) video.pause();
}

function play(clip) {
  const video = clip.querySelector("video");
  clip.querySelector(".clip-error")?.remove();
  clip.classList.add("playing");
  clip.querySelector(".play").hidden = true;
  video.hidden = false;
  video.focus();
  load(video, 0);
}

/** Of several videos in a card, show the next one, or after the last one the first. */
function showNext(clip) {
  clip.querySelector("video").pause();
  const clips = [...clip.parentElement.querySelectorAll(".clip")];
  const next = clips[(clips.indexOf(clip) + 1) % clips.length];
  clip.parentElement.scrollTo({ left: next.offsetLeft });
  next.querySelector(".next").focus({ preventScroll: true });
}

function load(video, position) {
  loadedAt.set(video, Date.now());
  video.src = video.dataset.src;
  if (position) video.currentTime = position;
  video.play().catch(() => {}); // A failure is reported as the event "error".
}

/** A signed link expires while somebody watches: ask for a new one, and go on at the same place. */
async function repair(video) {
  if (!video.hasAttribute("src")) return;
  const isLate = Date.now() - loadedAt.get(video) > REPAIR_AFTER * 1000;
  if (video.currentTime > 0 && isLate) {
    load(video, video.currentTime);
    return;
  }
  const { src, streamedSrc } = video.dataset;
  if (streamedSrc && src !== streamedSrc) {
    // Perhaps this browser cannot reach the store: play the file through the API server.
    video.dataset.src = streamedSrc;
    load(video, video.currentTime);
    return;
  }
  const clip = video.closest(".clip");
  video.removeAttribute("src");
  video.hidden = true;
  clip.classList.remove("playing");
  clip.querySelector(".play").hidden = false;
  const text = document.createElement("p");
  text.className = "clip-error";
  text.setAttribute("role", "alert");
  text.dir = "auto";
  text.textContent = await reason(video.dataset.src);
  clip.querySelector(".clip-error")?.remove();
  clip.append(text);
}

/** Ask the server why: the browser does not tell what it answered to a video element. */
async function reason(src) {
  try {
    const reply = await fetch(src, { headers: { Range: "bytes=0-0" }, redirect: "manual" });
    if (reply.status >= 400) {
      const body = await reply.json();
      if (typeof body.detail === "string") return body.detail;
    }
  } catch {
    // No reply, or none of this package.
  }
  return "The video cannot be played here. Press play to try again, or open the file.";
}
