// The answer: the most probable character, a bar for each, and their course over the inner steps.

import { drawn } from "./card.js";
import { showDistances } from "./distances.js";
import { byId, make, percent, speak } from "./parts.js";
import { mask, paint, paintMask } from "./picture.js";

const SVG = "http://www.w3.org/2000/svg";
const SECONDS_A_STEP = 0.55;

export class Answer {
  constructor(steps) {
    this.slider = byId("step");
    this.slider.max = this.slider.value = String(steps);
    this.steps = steps;
    byId("steps").hidden = steps === 0; // there is one answer only
    byId("distances").hidden = steps > 0;
    byId("last-step").textContent = `step ${steps}`;
    this.found = null;
    this.slider.addEventListener("input", () => { this.stop(); this.moved(); });
    byId("play").addEventListener("click", () => (this.playing ? this.stop() : this.play()));
  }

  get step() {
    return Number(this.slider.value);
  }

  /** Shows what is still missing, instead of an answer. */
  hint(sentence, wrong = false) {
    this.stop();
    this.found = null;
    if (wrong || byId("hint").hidden || byId("hint").textContent !== sentence) speak(sentence);
    byId("hint").textContent = sentence;
    byId("hint").hidden = false;
    byId("hint").classList.toggle("wrong", wrong);
    byId("found").hidden = true;
    byId("seen").querySelector("canvas").width = 28; // clears it
  }

  /** Shows probabilities (steps + 1 rows) of characters; announces them when they are final. */
  show({ probabilities, seen, distances, reach, unlike }, characters, note, final) {
    const same = this.characters && characters.length === this.characters.length
      && characters.every((character, i) => character === this.characters[i]) && this.found;
    Object.assign(this, { found: probabilities, characters });
    byId("hint").hidden = true;
    byId("found").hidden = false;
    byId("note").textContent = unlike ? `${note} It is unlike all of them, perhaps none of these.`.trim() : note;
    if (!same || final) this.makeBars();
    this.drawSeen(seen);
    if (!this.steps) showDistances(distances, reach, characters);
    this.moved(final);
  }

  makeBars() {
    this.bars = this.characters.map((character) => {
      const bar = make("span", { class: "bar" }), share = make("span", { class: "number" });
      const picture = make("canvas", { class: "bar-picture", "aria-hidden": "true" });
      const row = make("li", {}, picture, make("span", { class: "bar-name" }, character.name),
        make("span", { class: "rail", "aria-hidden": "true" }, bar), share);
      return { row, bar, share, picture, character };
    });
    byId("bars").classList.toggle("many", this.bars.length > 10);
    byId("bars").replaceChildren(...this.bars.map(({ row }) => row));
    for (const { picture, character } of this.bars) paint(picture, drawn(character)[0], null, 0.07);
  }

  /** Shows the step of the slider. */
  moved(aloud = true) {
    if (!this.found) return;
    const row = this.found[this.step], best = row.indexOf(Math.max(...row));
    const undecided = row.filter((share) => Math.abs(share - row[best]) < 1e-4).length > 1;
    const { name } = this.characters[best];
    byId("winner").textContent = undecided ? "Undecided" : name;
    byId("share").textContent = undecided ? "" : percent(row[best]);
    byId("step-number").textContent = `${this.step} of ${this.steps}`;
    this.bars.forEach(({ row: element, bar, share }, i) => {
      bar.style.transform = `scaleX(${row[i]})`;
      share.textContent = percent(row[i]);
      element.classList.toggle("best", i === best && !undecided);
    });
    this.drawCurves(undecided ? -1 : best);
    const sentence = undecided ? "undecided" : `${name}, ${percent(row[best])}`;
    this.slider.setAttribute("aria-valuetext", `step ${this.step} of ${this.steps}: ${sentence}`);
    if (aloud) speak(this.steps ? `After step ${this.step}: ${sentence}.` : `Answer: ${sentence}.`);
  }

  drawCurves(best) {
    const x = (step) => (this.steps ? (100 * step) / this.steps : 50), y = (share) => 97 - 94 * share;
    const line = (kind, points) => {
      const element = document.createElementNS(SVG, "polyline");
      element.setAttribute("class", kind);
      element.setAttribute("points", points.map((point) => point.join(",")).join(" "));
      return element;
    };
    const order = this.characters.map((_, i) => i).sort((a, b) => (a === best) - (b === best));
    byId("curves").replaceChildren(
      ...this.found.map((_, step) => line("tick", [[x(step), 0], [x(step), 100]])),
      line("now", [[x(this.step), 0], [x(this.step), 100]]),
      ...order.map((i) => line(i === best ? "curve best" : "curve", this.found.map((row, step) => [x(step), y(row[i])]))));
  }

  /** Draws the network's input, with ink in the page's ink colour. */
  drawSeen({ side, pixels, ink }) {
    const canvas = byId("seen").querySelector("canvas");
    canvas.width = canvas.height = side;
    paintMask(canvas, mask(pixels, ink));
  }

  play() {
    this.slider.value = "0";
    this.moved(false);
    byId("play").setAttribute("aria-label", "Stop playing");
    this.playing = setInterval(() => {
      this.slider.value = String(this.step + 1);
      const done = this.step >= this.steps;
      if (done) this.stop();
      this.moved(done);
    }, 1000 * SECONDS_A_STEP);
  }

  stop() {
    clearInterval(this.playing);
    this.playing = null;
    byId("play").setAttribute("aria-label", "Play the steps");
  }
}
