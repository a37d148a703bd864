// Numbers as text, and elements. Text only becomes text nodes and attribute values: nothing in this page
// makes HTML of a string.

const SECOND_NS = 1e9;
const numbers = new Intl.NumberFormat("en-US");

const countText = (number) => numbers.format(number);

const countedText = (number, noun) => `${countText(number)} ${noun}${number === 1 ? "" : "s"}`;

/** User goroutines, and beside them the runtime's: "2,003 (+5 runtime)". */
const populationText = (user, system) =>
  system ? `${countText(user)} (+${countText(system)} runtime)` : countText(user);

const goroutinesText = (number) => countedText(number, "goroutine");

/** A share in percent, rounded down as in findings: 100 % is all. */
function shareText(part, whole) {
  const percent = whole ? Math.floor((1000 * part) / whole) / 10 : 0;
  if (part > 0 && percent < 0.1) return "< 0.1 %";
  return `${percent < 10 ? percent.toFixed(1) : Math.floor(percent)} %`;
}

/** A time span with its one or two largest units, as in the rest of spyglass. */
function durationText(ns) {
  if (ns < SECOND_NS) return shortDurationText(ns);
  const seconds = Math.floor(ns / SECOND_NS);
  if (seconds < 60) return `${seconds}s`;
  const units = [
    [86400, "d", 3600, "h"],
    [3600, "h", 60, "m"],
    [60, "m", 1, "s"],
  ];
  const [unit, word, part, partWord] = units.find(([size]) => seconds >= size);
  const parts = Math.floor((seconds % unit) / part);
  return `${Math.floor(seconds / unit)}${word}${parts ? ` ${parts}${partWord}` : ""}`;
}

function shortDurationText(ns) {
  if (ns >= 1e6) return `${Math.floor(ns / 1e6)}ms`;
  if (ns >= 1e3) return `${Math.floor(ns / 1e3)}us`;
  return ns ? `${ns}ns` : "0s";
}

/** An element with attributes and children; null and undefined ones are left out. */
function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** As `element`, for SVG. */
function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

/** Replace the children of `host`; the focus stays on the element with the same `data-key`. */
function replaceIn(host, ...children) {
  const focused = host.contains(document.activeElement) ? document.activeElement.dataset.key : null;
  host.replaceChildren(...children);
  if (focused) focusKey(host, focused);
}

function focusKey(host, key) {
  host.querySelector(`[data-key="${CSS.escape(key)}"]`)?.focus({ preventScroll: true });
}
