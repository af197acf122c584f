// Licensed under the Apache License, Version 2.0 (the "License"); you may not use this file except in
// compliance with the License. A copy of the License is in the file LICENSE at the root of this project.

// Fits the page to the Airflow UI around it. Loaded before anything is painted.
//
// data-theme is the UI's colour mode, and follows it. The UI (3.3) keeps the choice in localStorage["theme"]
// ("light", "dark" or "system") and sets the resulting mode as a class of its <html>. The page stands in an
// iframe of the UI, of the same origin. data-tab tells that this is the tab of a Dag, a run or a task.

(() => {
  "use strict";
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");

  function outerRoot() {
    try {
      return parent === window ? null : parent.document.documentElement;
    } catch {
      return null; // A frame of another origin.
    }
  }

  function stored() {
    try {
      return localStorage.getItem("theme");
    } catch {
      return null;
    }
  }

  const outer = outerRoot();

  function apply() {
    const modes = ["dark", "light"];
    const mode = modes.find((name) => outer?.classList.contains(name)) ?? modes.find((name) => name === stored());
    document.documentElement.dataset.theme = mode ?? (prefersDark.matches ? "dark" : "light");
  }

  if (outer && parent.location.pathname.includes("/dags/")) document.documentElement.dataset.tab = "";
  apply();
  prefersDark.addEventListener("change", apply);
  addEventListener("storage", apply);
  if (outer) {
    new MutationObserver(apply).observe(outer, { attributes: true, attributeFilter: ["class"] });
  }
})();
