// One character: its name, the example being drawn, and thumbnails of all examples.

import { Pad } from "./pad.js";
import { iconButton, make, speak } from "./parts.js";
import { blank, isEmpty, paint } from "./picture.js";
import { Upload } from "./upload.js";

/** A character without examples. */
export function newCharacter(name) {
  return { name, examples: [blank()], current: 0 };
}

/** Its pictures that are not empty. */
export function drawn(character) {
  return character.examples.filter((picture) => !isEmpty(picture));
}

export class Card {
  /**
   * @param {object} character see `newCharacter`; changed in place.
   * @param {object} limits the server's.
   * @param {object} page `changed(final)`, `build()`, `remove(character)`, `ownName(name, character)`.
   */
  constructor(character, limits, page) {
    Object.assign(this, { character, limits, page });
    this.pad = new Pad(limits, (final) => this.drew(final), speak);
    this.name = make("input", {
      class: "name", value: character.name, maxlength: 12, spellcheck: "false", autocomplete: "off",
      oninput: () => this.rename(this.name.value.trim() || "?"),
      onchange: () => this.settle(),
    });
    this.removal = iconButton("cross", "", () => page.remove(character));
    this.back = iconButton("undo", "", () => this.pad.undo());
    this.bin = iconButton("bin", "", () => this.pad.clear());
    this.upload = new Upload(this.pad, limits);
    this.thumbs = make("div", { class: "thumbs" });
    this.element = make("li", { class: "card" },
      this.name, this.pad.canvas, this.upload.input,
      make("div", { class: "card-tools" }, this.back, this.bin, this.upload.button, this.removal),
      this.upload.said, this.thumbs);
    this.show();
  }

  rename(name) {
    this.character.name = name;
    this.show();
    this.page.changed(true);
  }

  /** Makes the name different from all others when it has been typed. */
  settle() {
    const name = this.page.ownName(this.character.name, this.character);
    if (name !== this.character.name) speak(`The name ${this.character.name} is taken; this one is ${name}.`);
    this.name.value = name;
    this.rename(name);
  }

  drew(final) {
    if (final) this.refresh();
    this.upload.changed();
    if (!this.element.isConnected) this.page.build(); // another card shows what was uploaded here
    this.page.changed(final);
  }

  /** Switches to another example, or a new one. */
  choose(number) {
    const { examples } = this.character;
    if (number === examples.length) examples.push(blank());
    this.character.current = number;
    this.show();
  }

  show() {
    const { name, examples, current } = this.character;
    this.element.setAttribute("aria-label", `Character ${name}`);
    this.name.setAttribute("aria-label", `Name of character ${name}`);
    for (const [button, what] of [[this.removal, "Remove"], [this.back, "Undo the last stroke of"], [this.bin, "Clear"]]) {
      const label = `${what} ${name}`;
      button.setAttribute("aria-label", label);
      button.title = label;
    }
    this.upload.label(name);
    this.pad.show(examples[current], `Character ${name}, example ${current + 1}`);
    this.upload.show();
    this.refresh();
  }

  /** Paints what had no size before it stood on the page. */
  placed() {
    this.pad.paint();
    this.refresh();
  }

  /** Updates thumbnails and buttons. */
  refresh() {
    const { name, examples, current } = this.character;
    const picture = examples[current];
    this.back.disabled = picture.past.length === 0;
    this.bin.disabled = isEmpty(picture);
    const focused = this.thumbs.contains(document.activeElement);
    const buttons = examples.map((each, i) => this.thumb(each, i));
    if (examples.length < this.limits.shots[1]) {
      const more = iconButton("plus", `Another example of ${name}`, () => this.more(), "thumb");
      more.disabled = examples.some(isEmpty);
      buttons.push(more);
    }
    this.thumbs.replaceChildren(...buttons);
    examples.forEach((each, i) => paint(buttons[i].firstChild, each, null, 0.07));
    if (focused) buttons[current].focus();
  }

  thumb(picture, number) {
    const label = `Example ${number + 1} of ${this.character.name}${isEmpty(picture) ? ", empty" : ""}`;
    const pressed = number === this.character.current;
    return make("button", {
      type: "button", class: "thumb", "aria-label": label, "aria-pressed": String(pressed),
      onclick: () => this.choose(number),
    }, make("canvas"));
  }

  more() {
    this.choose(this.character.examples.length);
    this.pad.canvas.focus({ preventScroll: true });
  }
}
