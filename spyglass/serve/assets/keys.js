// Keys for what has a button or a link, too. They can be switched off: some people's speech input types letters.

const KEYS_OFF = "spyglass-keys-off";

class Keys {
  /** `actions`: key -> what it does. */
  constructor(actions) {
    this.actions = actions;
    this.dialog = byId("keys-dialog");
    const box = byId("keys-on");
    box.checked = !localStorage.getItem(KEYS_OFF);
    box.addEventListener("change", () => {
      if (box.checked) localStorage.removeItem(KEYS_OFF);
      else localStorage.setItem(KEYS_OFF, "yes");
    });
    byId("keys").addEventListener("click", () => this.dialog.showModal());
    byId("keys-close").addEventListener("click", () => this.dialog.close());
    document.addEventListener("keydown", (event) => this.onKey(event));
  }

  onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || event.repeat) return;
    if (event.target.closest("input, select, textarea, dialog") || !byId("keys-on").checked) return;
    if (event.key === "?") this.dialog.showModal();
    else if (this.actions[event.key]) this.actions[event.key]();
    else return;
    event.preventDefault();
  }
}
