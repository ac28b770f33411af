// A picture's file in place of strokes: chosen, photographed, or dropped on a pad.

import { iconButton, make, speak } from "./parts.js";
import { get } from "./server.js";

let turn = Promise.resolve(); // the server prepares one at a time

export class Upload {
  /**
   * @param {Pad} pad whose picture the file replaces.
   * @param {object} limits the server's.
   */
  constructor(pad, limits) {
    Object.assign(this, { pad, limits, preparing: new Set(), wrong: new WeakMap() });
    this.input = make("input", { type: "file", accept: "image/*", hidden: true, onchange: () => this.chosen() });
    this.button = iconButton("photo", "", () => this.input.click());
    this.said = make("p", { class: "said" });
    this.button.hidden = !limits.bytes; // there is no server to prepare a file
    if (this.button.hidden) return;
    const { canvas } = pad;
    canvas.addEventListener("dragover", (event) => canvas.classList.toggle("over", hasFiles(event)));
    canvas.addEventListener("dragleave", () => canvas.classList.remove("over"));
    canvas.addEventListener("drop", (event) => {
      canvas.classList.remove("over");
      if (event.dataTransfer.files.length) this.take([...event.dataTransfer.files]);
    });
  }

  /** Names what the picture is of. */
  label(what) {
    const label = `Choose a picture for ${what}`;
    for (const element of [this.button, this.input]) element.setAttribute("aria-label", label);
    this.button.title = label;
  }

  chosen() {
    const files = [...this.input.files];
    this.input.value = ""; // so that the same file can be chosen again
    if (files.length) this.take(files);
  }

  async take(files) {
    const [file] = files, { picture } = this.pad;
    if (this.preparing.has(picture)) return;
    this.preparing.add(picture);
    this.wrong.delete(picture);
    this.show();
    try {
      const found = await this.prepared(files);
      const doubt = found.doubt && ` Doubtful: ${found.doubt}.`;
      this.preparing.delete(picture);
      this.pad.put(picture, { pixels: found.picture, said: found.said + doubt });
      speak(`${file.name}: ${picture.said}`);
    } catch (error) {
      this.preparing.delete(picture);
      this.wrong.set(picture, error.message);
      speak(error.message);
    }
    this.show();
  }

  /** What the server makes of a file, when those before it are done. */
  async prepared([file, ...others]) {
    const { bytes } = this.limits, name = file.name || "the picture";
    if (others.length) throw new Error(`${others.length + 1} files: choose one picture at a time.`);
    if (file.size > bytes) throw new Error(`${name}: ${megabytes(file.size)}; expected at most ${megabytes(bytes)}.`);
    const done = turn.then(() => get(`/api/picture?name=${encodeURIComponent(name)}`, {
      method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file,
    }));
    turn = done.catch(() => {});
    return done;
  }

  /** Says what was done to the picture that the pad shows, or why it was refused. */
  show() {
    const { picture } = this.pad, wrong = this.wrong.get(picture);
    const busy = this.preparing.has(picture);
    this.said.textContent = busy ? "Preparing the picture." : wrong ?? picture.said;
    this.said.classList.toggle("wrong", !busy && wrong !== undefined);
    this.button.setAttribute("aria-disabled", String(busy));
  }

  /** Forgets what was refused, since the picture has changed. */
  changed() {
    this.wrong.delete(this.pad.picture);
    this.show();
  }
}

const megabytes = (bytes) => `${(bytes / 2 ** 20).toFixed(bytes % 2 ** 20 ? 1 : 0)} MiB`;

const hasFiles = (event) => event.dataTransfer.types.includes("Files");

/** Keeps the browser from opening a file that is dropped on a pad, or beside it. */
export function catchDrops() {
  for (const name of ["dragover", "drop"]) {
    window.addEventListener(name, (event) => { if (hasFiles(event)) event.preventDefault(); });
  }
}
