"use strict";
// Keys, drafts, lost connections. Pages work without it: everything it does is a link or a form.

const byId = (id) => document.getElementById(id);
const drafts = {
  key: (form) => `draft ${form.dataset.draft}`,
  // Labels and remarks of one form, in this tab alone; never the petition.
  save(form) {
    const fields = [...new FormData(form)].filter(([name]) => !["csrf", "request_id", "version"].includes(name));
    sessionStorage.setItem(drafts.key(form), JSON.stringify(fields));
  },
  drop: (form) => sessionStorage.removeItem(drafts.key(form)),
  restore(form) {
    const saved = JSON.parse(sessionStorage.getItem(drafts.key(form)) ?? "null");
    if (!saved) return;
    for (const box of form.querySelectorAll("input[type=checkbox]")) box.checked = false;
    for (const [name, value] of saved) {
      const fields = form.querySelectorAll(`[name="${CSS.escape(name)}"]`);
      for (const field of fields) {
        if (["radio", "checkbox"].includes(field.type)) field.checked = field.value === value || field.checked;
        else if (field.type !== "hidden") field.value = value;
      }
    }
    const told = form.querySelector("[data-restored]");
    if (told) told.hidden = false;
    form.dispatchEvent(new Event("change", { bubbles: true }));
  },
};

// --- keys -----------------------------------------------------------------------------------------------------------

const keysOn = () => localStorage.getItem("keys") !== "off";

function press(element) {
  if (element.matches("fieldset")) {
    const radios = [...element.querySelectorAll("input[type=radio]:not(:disabled)")];
    const next = radios[(radios.findIndex((radio) => radio.checked) + 1) % radios.length];
    next.checked = true;
    next.focus();
    next.dispatchEvent(new Event("change", { bubbles: true }));
  } else if (element.matches("select, input:not([type=checkbox]), textarea")) {
    element.focus();
  } else {
    element.click();
  }
}

function typing(target) {
  return target.matches("textarea, select, [contenteditable], input:not([type=radio]):not([type=checkbox])");
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.target instanceof Element ? event.target : document.body;
  if (event.key === "Escape" && typing(target)) return target.blur();
  if (typing(target) || (event.key === "Enter" && target.matches("button, a, summary"))) return;
  const open = document.querySelector("dialog[open]");
  if (event.key === "?" && !open) return showKeys();
  if (!keysOn() && event.key !== "Enter") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  // The innermost dialog hides the keys of the page behind it.
  const found = (open ?? document).querySelectorAll(`[data-key="${CSS.escape(key)}"]`);
  const element = [...found].find((candidate) => !candidate.disabled && (open || !candidate.closest("dialog")));
  if (!element) return;
  event.preventDefault();
  if (!event.repeat) press(element);
});

// In a long text Enter makes a line: Ctrl+Enter sends it.
document.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || !event.target.matches("[data-ctrl-enter]")) return;
  event.preventDefault();
  event.target.form.requestSubmit();
});

function showKeys() {
  const rows = [...document.querySelectorAll("main [data-key]")].flatMap((element) => {
    const key = document.createElement("dt");
    key.append(Object.assign(document.createElement("kbd"), { textContent: element.dataset.key }));
    const name = element.dataset.keyName ?? element.textContent.trim();
    return [key, Object.assign(document.createElement("dd"), { textContent: name })];
  });
  byId("keys-list").replaceChildren(...rows);
  byId("keys-on").checked = keysOn();
  byId("keys").showModal();
}

document.addEventListener("click", (event) => {
  const element = event.target instanceof Element ? event.target.closest("[data-open], [data-close], #keys-open, #resend") : null;
  if (!element) return;
  if (element.id === "keys-open") showKeys();
  else if (element.id === "resend") resend();
  else if (element.dataset.open) byId(element.dataset.open)?.showModal();
  else element.closest("dialog")?.close();
});

document.addEventListener("change", (event) => {
  const field = event.target;
  if (field.id === "keys-on") localStorage.setItem("keys", field.checked ? "on" : "off");
  const form = field.closest?.("form[data-draft]");
  if (form) drafts.save(form);
  // The long list of categories is one more choice beside the candidates.
  if (field.matches("[data-other]") && field.value) {
    const other = form.querySelector("[data-other-choice]");
    other.value = field.value;
    other.checked = true;
  }
});
document.addEventListener("input", (event) => {
  const form = event.target.closest?.("form[data-draft]");
  if (form) drafts.save(form);
});

// A candidate's key chooses it and sends the form: `data-send` names the radio it belongs to.
document.addEventListener("click", (event) => {
  const button = event.target instanceof Element ? event.target.closest("button[data-send]") : null;
  if (!button) return;
  const radio = byId(button.dataset.send);
  radio.checked = true;
  radio.dispatchEvent(new Event("change", { bubbles: true }));
  radio.form.requestSubmit();
});

// --- a lost connection ----------------------------------------------------------------------------------------------

let unsent = null;

function resend() {
  const form = unsent;
  unsent = null;
  byId("offline").hidden = true;
  if (form?.isConnected) form.requestSubmit();
}

for (const kind of ["htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(kind, (event) => {
    const form = event.detail.elt.closest("form[method=post]");
    if (!form) return;
    unsent = form;
    byId("offline").hidden = false;
  });
}
window.addEventListener("online", resend);

document.addEventListener("htmx:afterRequest", (event) => {
  const form = event.detail.elt.closest?.("form[data-draft]");
  if (form && event.detail.elt === form && event.detail.successful) drafts.drop(form);
  if (event.detail.successful) byId("notice")?.replaceChildren();
});

// One thing at a time: a key held down does not decide the next petition too.
document.addEventListener("htmx:beforeRequest", (event) => {
  const form = event.detail.elt;
  if (!form.matches("form[method=post]")) return;
  if (form.dataset.busy) return event.preventDefault();
  form.dataset.busy = "1";
});
document.addEventListener("htmx:afterRequest", (event) => delete event.detail.elt.dataset?.busy);

// --- a new page ------------------------------------------------------------------------------------------------------

function arrive(root) {
  for (const form of root.querySelectorAll("form[data-draft]")) drafts.restore(form);
}
document.addEventListener("htmx:afterSettle", (event) => {
  if (event.detail.target !== document.body && event.detail.elt !== document.body) return;
  arrive(document.body);
  // A screen reader hears where it is now; the keys work at once.
  const heading = document.querySelector("main h1");
  if (heading && !document.querySelector("[autofocus]")) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
  }
  window.scrollTo(0, 0);
});
document.addEventListener("DOMContentLoaded", () => arrive(document.body));
