// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// The actions of a card, such as "Make a new one…": asked about in a dialog, sent as POST, answered there.

import { checkNow } from "./live.js";

const NO_ANSWER =
  "Airflow did not answer. Whether it was done is not known: look at the task before you repeat it.";

const byId = (id) => document.getElementById(id);

/** The action that the dialog is about. */
let action = null;
let isSending = false;

/** Handle the action buttons of all cards below an element. */
export function startActions(list) {
  const dialog = byId("act");
  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-act]");
    if (button) open(button);
  });
  dialog.querySelector("form").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
  });
  byId("act-close").addEventListener("click", () => dialog.close());
  // A request that is on its way is not taken back by closing the dialog, so its answer stays in sight.
  dialog.addEventListener("cancel", (event) => isSending && event.preventDefault());
}

function open(button) {
  const card = button.closest(".card");
  const label = button.textContent.replace("…", "");
  action = { name: button.dataset.act, url: button.dataset.url, opener: button, cardId: card.id };
  byId("act-title").textContent = label;
  byId("act-about").textContent = card.querySelector("h3").textContent;
  byId("act-question").textContent = button.dataset.question;
  byId("act-question").hidden = !button.dataset.question;
  const needsJobId = "needsJobId" in button.dataset;
  const input = jobIdInput();
  input.value = "";
  input.required = needsJobId;
  byId("act-job").hidden = !needsJobId;
  byId("act-confirm").textContent = label;
  byId("act-confirm").hidden = false;
  setSending(false);
  tell("", "");
  byId("act").showModal();
  if (needsJobId) input.focus();
  else if (button.dataset.question) byId("act-close").focus();
  else send(); // Costs nothing and asks nothing.
}

function jobIdInput() {
  return byId("act-job").querySelector("input");
}

function setSending(now) {
  isSending = now;
  byId("act-confirm").disabled = now;
  byId("act-close").disabled = now;
  jobIdInput().disabled = now;
  byId("act-close").textContent = "Cancel";
}

function tell(text, outcome) {
  byId("act-result").textContent = text;
  byId("act-result").dataset.outcome = outcome;
}

async function send() {
  if (isSending) return;
  const body = { clear: true };
  if (jobIdInput().required) body.job_id = jobIdInput().value.trim();
  setSending(true);
  tell("Working…", "");
  let answer;
  try {
    const reply = await fetch(action.url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    answer = await read(reply);
  } catch {
    answer = { isOver: true, text: NO_ANSWER };
  }
  setSending(false);
  tell(answer.text, answer.isDone ? "done" : "error");
  const isOver = answer.isDone || answer.isOver;
  byId("act-confirm").hidden = isOver;
  byId("act-job").hidden = isOver || !jobIdInput().required;
  byId("act-question").hidden = isOver || !byId("act-question").textContent;
  byId("act-close").textContent = "Close";
  (byId("act-job").hidden ? byId("act-close") : jobIdInput()).focus();
  if (isOver) checkNow();
}

/** The sentence of a reply: "message" of a success, "detail" of a failure. */
async function read(reply) {
  let body = {};
  try {
    body = await reply.json();
  } catch {
    // Not from this package, such as a proxy's page.
  }
  if (reply.ok) return { isDone: true, text: String(body.message ?? "Done.") };
  if (reply.status === 401) return { text: "You are logged out of Airflow. Nothing was done." };
  if (typeof body.detail === "string") return { isOver: reply.status >= 500, text: body.detail };
  if (reply.status >= 500) return { isOver: true, text: NO_ANSWER };
  return { text: `Airflow refused it (status ${reply.status}).` };
}
