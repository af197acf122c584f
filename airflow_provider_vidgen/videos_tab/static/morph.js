// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// Changes a part of the page into another one, reusing its elements.
//
// An element that stays keeps what the browser knows of it: focus, selection, scroll position, a playing video,
// a half-typed text. Elements with data-keep are left alone as long as its value stays the same, and attributes
// named in data-own belong to the scripts.

/** Make an element like another one of the same kind. */
export function morph(element, wanted) {
  if (element.dataset.keep !== undefined && element.dataset.keep === wanted.dataset.keep) return;
  morphAttributes(element, wanted);
  morphChildren(element, wanted);
}

function morphAttributes(element, wanted) {
  const own = new Set((element.dataset.own ?? "").split(" "));
  for (const { name } of [...element.attributes]) {
    if (!wanted.hasAttribute(name) && !own.has(name)) element.removeAttribute(name);
  }
  for (const { name, value } of wanted.attributes) {
    if (element.getAttribute(name) !== value && !own.has(name)) element.setAttribute(name, value);
  }
}

function isSameKind(node, wanted) {
  if (node.nodeType !== wanted.nodeType || node.nodeName !== wanted.nodeName) return false;
  return node.nodeType !== Node.ELEMENT_NODE || node.id === wanted.id;
}

function morphChildren(element, wanted) {
  let node = element.firstChild;
  for (const target of [...wanted.childNodes]) {
    let match = node;
    while (match && !isSameKind(match, target)) match = match.nextSibling;
    if (!match) {
      element.insertBefore(document.importNode(target, true), node);
      continue;
    }
    removeUntil(match);
    if (match.nodeType === Node.ELEMENT_NODE) {
      morph(match, target);
    } else if (match.data !== target.data) {
      match.data = target.data;
    }
    node = match.nextSibling;
  }
  removeUntil(null);

  function removeUntil(end) {
    while (node !== end) {
      const gone = node;
      node = node.nextSibling;
      gone.remove();
    }
  }
}
