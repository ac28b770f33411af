// A pad to draw one picture on, with a pointer or the keyboard.

import { blank, change, isEmpty, isWhole, paint, undo } from "./picture.js";

const FINE = 0.01, COARSE = 0.05; // distance an arrow key moves the pen, in widths of the pad
const NEAR = 0.004; // points closer than this to the last one are dropped

export class Pad {
  /**
   * @param {object} limits maximal numbers of strokes and points.
   * @param {(final: boolean) => void} onChange called during a stroke, and when it ends.
   * @param {(sentence: string) => void} speak announces a sentence to screen readers.
   */
  constructor(limits, onChange, speak) {
    Object.assign(this, { limits, onChange, speak, picture: blank(), stroke: null, cursor: null });
    this.canvas = document.createElement("canvas");
    this.canvas.className = "pad";
    this.canvas.tabIndex = 0;
    this.canvas.setAttribute("role", "application");
    this.canvas.setAttribute("aria-roledescription", "drawing pad");
    const on = (name, listener) => this.canvas.addEventListener(name, listener);
    on("pointerdown", (event) => this.down(event));
    on("pointermove", (event) => this.move(event));
    for (const end of ["pointerup", "pointercancel"]) on(end, (event) => this.up(event));
    on("keydown", (event) => this.key(event));
    on("blur", () => this.leave());
    new ResizeObserver(() => this.paint()).observe(this.canvas);
  }

  show(picture, label) {
    this.end();
    this.picture = picture;
    this.canvas.setAttribute("aria-label", `${label}. Arrow keys move the pen, space lowers it.`);
    this.paint();
  }

  paint() {
    this.canvas.classList.toggle("blank", isEmpty(this.picture) && !this.stroke);
    paint(this.canvas, this.picture, this.stroke);
    if (this.cursor && document.activeElement === this.canvas) this.paintCursor();
  }

  paintCursor() {
    const context = this.canvas.getContext("2d"), side = this.canvas.width;
    const [x, y] = this.cursor.map((at) => at * side), reach = side * 0.05;
    context.strokeStyle = getComputedStyle(this.canvas).accentColor;
    context.lineWidth = Math.max(1.5, side * 0.012);
    context.beginPath();
    context.moveTo(x - reach, y); context.lineTo(x + reach, y);
    context.moveTo(x, y - reach); context.lineTo(x, y + reach);
    context.stroke();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height].map(inside);
  }

  down(event) {
    if (!event.isPrimary || event.button !== 0) return;
    event.preventDefault();
    this.canvas.focus({ preventScroll: true });
    this.cursor = null; // the keyboard's
    this.end();
    this.canvas.setPointerCapture(event.pointerId);
    this.pointer = event.pointerId;
    this.begin(this.at(event));
  }

  move(event) {
    if (!this.stroke || event.pointerId !== this.pointer) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.extend(this.at(each));
  }

  up(event) {
    if (event.pointerId === this.pointer) this.end();
  }

  begin(point) {
    if (isWhole(this.picture)) change(this.picture);
    const points = this.picture.strokes.reduce((sum, stroke) => sum + stroke.length, 0);
    this.room = this.limits.points - points;
    if (this.room < 1 || this.picture.strokes.length >= this.limits.strokes) {
      this.speak("This drawing has reached its limit.");
      return;
    }
    this.stroke = [];
    this.extend(point);
  }

  extend(point) {
    const last = this.stroke.at(-1);
    const near = last && Math.hypot(point[0] - last[0], point[1] - last[1]) < NEAR;
    if (near || this.stroke.length >= this.room) return;
    this.stroke.push(point);
    this.paint();
    this.onChange(false);
  }

  end() {
    this.pointer = null;
    if (!this.stroke) return;
    const stroke = this.stroke;
    this.stroke = null;
    change(this.picture, { strokes: [...this.picture.strokes, stroke] });
    this.onChange(true);
  }

  /** Replaces the content of a picture, which may be shown no longer. */
  put(picture, content) {
    if (picture === this.picture) this.stroke = null;
    change(picture, content);
    this.paint();
    this.onChange(true);
  }

  /** The picture, with the stroke in progress. */
  present() {
    return this.stroke ? { ...this.picture, strokes: [...this.picture.strokes, this.stroke] } : this.picture;
  }

  leave() {
    if (this.pointer === null) this.end();
    this.paint();
  }

  key(event) {
    const by = event.shiftKey ? FINE : COARSE;
    const arrow = { ArrowLeft: [-by, 0], ArrowRight: [by, 0], ArrowUp: [0, -by], ArrowDown: [0, by] }[event.key];
    if (arrow) this.step(arrow);
    else if (event.key === " " || event.key === "Enter") this.toggle();
    else if (event.key === "Escape") this.end();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey) || event.key === "Backspace") this.undo();
    else if (event.key === "Delete") this.clear();
    else return;
    event.preventDefault();
    this.paint();
  }

  step(arrow) {
    this.cursor = (this.cursor ?? [0.5, 0.5]).map((at, axis) => inside(at + arrow[axis]));
    if (this.stroke) this.extend(this.cursor);
  }

  toggle() {
    this.cursor ??= [0.5, 0.5];
    if (this.stroke) this.end();
    else this.begin(this.cursor);
    this.speak(this.stroke ? "Pen down." : "Pen up.");
  }

  undo() {
    this.stroke = null;
    undo(this.picture);
    this.paint();
    this.onChange(true);
  }

  clear() {
    this.stroke = null;
    if (!isEmpty(this.picture)) change(this.picture);
    this.paint();
    this.onChange(true);
  }
}

function inside(at) {
  return Math.round(Math.min(1, Math.max(0, at)) * 1000) / 1000;
}
