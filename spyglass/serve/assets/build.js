// Elements of the trees that the server sends: a string is text, a list is an element: its name, its attributes, its
// children. Only what reports have is made, and nothing that runs or leads elsewhere.

const HTML_NAMES = new Set(
  ("a button caption code datalist dd details div dl dt fieldset figcaption figure form h2 h3 input label legend li ol " +
    "optgroup option p section select span strong summary table tbody td th thead tr ul").split(" "),
);
const SVG_NAMES = new Set(["svg", "g", "rect", "path", "text", "title"]);
const ATTRIBUTES = new Set(
  ("autocomplete class colspan d disabled for form height hidden href id inputmode label list name open placeholder role " +
    "rx scope spellcheck tabindex type value viewBox width x y").split(" "),
);

/** The nodes of `trees`. Throws for what is not a tree of a report. */
const built = (trees) => trees.map((tree) => builtNode(tree, false));

function builtNode(tree, inSvg) {
  if (typeof tree === "string") return document.createTextNode(tree);
  const [name, attributes, ...children] = tree;
  const isSvg = inSvg || name === "svg";
  if (!(isSvg ? SVG_NAMES : HTML_NAMES).has(name)) throw new Error(`unexpected element ${name}`);
  for (const [key, value] of Object.entries(attributes)) {
    const isKnown = ATTRIBUTES.has(key) || /^(aria|data)-[a-z-]+$/.test(key);
    if (!isKnown || (key === "href" && !value.startsWith("#"))) throw new Error(`unexpected attribute ${key}`);
  }
  const make = isSvg ? drawn : element;
  return make(name, attributes, ...children.map((child) => builtNode(child, isSvg)));
}

/** A button that calls `act`. */
function button(text, act, attributes = {}) {
  const made = element("button", { type: "button", ...attributes }, text);
  made.addEventListener("click", act);
  return made;
}

/** A `Problem`, or another error, as a card. */
const problemCard = (error) =>
  element(
    "div",
    { class: "card warning", role: "alert" },
    element("p", {}, error.message),
    error.hint ? element("p", { class: "muted" }, error.hint) : null,
  );
