// A picture: strokes, an item of the stack, or an uploaded file's pixels; how it is painted.

export const PEN = 0.03; // width, in widths of the pad
const NOTHING = { strokes: [], item: null, pixels: null, said: "" };

/**
 * An empty picture: strokes of [x, y] in [0, 1], or an item of the stack, or pixels of an uploaded
 * file (8-bit grey, dark on white, in base64) and what was done to it; and its history.
 */
export function blank() {
  return { ...NOTHING, past: [] };
}

export function isEmpty(picture) {
  return !isWhole(picture) && picture.strokes.length === 0;
}

/** Whether it is an image, to which no stroke can be added. */
export function isWhole(picture) {
  return picture.item !== null || picture.pixels !== null;
}

/** The picture in the server's format. */
export function asExample(picture) {
  if (picture.item) return { item: picture.item };
  return picture.pixels ? { picture: picture.pixels } : { strokes: picture.strokes };
}

/** Replaces a picture's content, by nothing if nothing is given; `undo` restores it. */
export function change(picture, content = {}) {
  const { past, ...before } = picture;
  past.push(before);
  Object.assign(picture, NOTHING, content);
}

/** Reverts the last change. */
export function undo(picture) {
  if (picture.past.length) Object.assign(picture, picture.past.pop());
}

const images = new Map();
function imageOf(item, whenLoaded) {
  const address = `/api/item/${item[0]}/${item[1]}.png`;
  if (!images.has(address)) {
    const image = new Image();
    image.src = address;
    images.set(address, image);
  }
  const image = images.get(address);
  if (!image.complete) image.addEventListener("load", whenLoaded, { once: true });
  return image.complete && image.naturalWidth ? image : null;
}

/** A canvas of square 8-bit pixels in base64: opaque where there is ink, `white` or `black`. */
export function mask(pixels, ink) {
  const bytes = Uint8Array.from(atob(pixels), (letter) => letter.charCodeAt(0));
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.sqrt(bytes.length);
  const context = canvas.getContext("2d"), image = context.createImageData(canvas.width, canvas.width);
  bytes.forEach((value, i) => { image.data[4 * i + 3] = ink === "white" ? value : 255 - value; });
  context.putImageData(image, 0, 0);
  return canvas;
}

/** Fills a canvas with a mask, if it is there already, in the canvas's text colour. */
export function paintMask(canvas, image) {
  const context = canvas.getContext("2d"), side = canvas.width;
  if (image) context.drawImage(image, 0, 0, side, side);
  context.globalCompositeOperation = "source-in";
  context.fillStyle = getComputedStyle(canvas).color;
  context.fillRect(0, 0, side, side);
  context.globalCompositeOperation = "source-over";
}

/** Draws a picture on a canvas, in the canvas's text colour. */
export function paint(canvas, picture, extra = null, pen = PEN) {
  const side = Math.max(1, Math.round(canvas.clientWidth * (window.devicePixelRatio || 1)));
  if (canvas.width !== side) canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, side, side);
  if (picture.item) paintMask(canvas, imageOf(picture.item, () => paint(canvas, picture, extra, pen)));
  if (picture.pixels) paintMask(canvas, mask(picture.pixels, "black"));
  Object.assign(context, {
    strokeStyle: getComputedStyle(canvas).color, lineWidth: Math.max(1.5, side * pen), lineCap: "round", lineJoin: "round",
  });
  for (const stroke of extra ? [...picture.strokes, extra] : picture.strokes) {
    context.beginPath();
    stroke.forEach(([x, y], i) => (i ? context.lineTo(x * side, y * side) : context.moveTo(x * side, y * side)));
    if (stroke.length === 1) context.lineTo(stroke[0][0] * side, stroke[0][1] * side);
    context.stroke();
  }
}
