// Strokes and pictures as the network's input, pixel by pixel what data/strokes.py makes with Pillow.

const PAPER = 255, MIDDLE = 128;
const PRECISION = 2 ** 22; // Pillow sums whole numbers
const BOX = { reach: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) };
const BICUBIC = { reach: 2, weight: (x) => cubic(Math.abs(x)) };

function cubic(x) {
  if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
  return x < 2 ? ((x - 5) * x + 8) * x * -0.5 + 2 : 0;
}

// To whole numbers; of the two nearest the one farther from zero, or the nearer.
const farther = (x) => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);
const nearer = (x) => Math.sign(x) * Math.ceil(Math.abs(x) - 0.5);

/** Draws strokes, one or more, centred and scaled: `paper.raw` squared bytes. */
export function draw(strokes, paper) {
  const { raw, finer, longer, smallest, width, disc } = paper, side = raw * finer;
  const [low, high] = [Math.min, Math.max].map((most) => [0, 1].map((axis) => most(...strokes.flat().map((point) => point[axis]))));
  const middle = low.map((at, axis) => (at + high[axis]) / 2);
  const scale = (side * longer) / Math.max(high[0] - low[0], high[1] - low[1], smallest);
  const ink = { side, pixels: new Uint8Array(side * side).fill(PAPER) };
  for (const stroke of strokes) {
    const path = stroke.map((point) => point.map((at, axis) => (at - middle[axis]) * scale + side / 2));
    path.slice(1).forEach((end, i) => drawLine(ink, path[i].map(Math.trunc), end.map(Math.trunc), width));
    for (const point of path) {
      // Rounding can set the edges of Pillow's circle one pixel farther apart.
      drawDisc(ink, point.map((at) => Math.trunc(at - width / 2)), disc);
      drawDisc(ink, point.map((at) => Math.trunc(at + width / 2) - width), disc);
    }
  }
  return resize(ink.pixels, side, raw, BOX).map((value) => (value < MIDDLE ? 0 : PAPER));
}

function fill({ side, pixels }, y, from, to) {
  if (y >= 0 && y < side) pixels.fill(0, y * side + Math.max(0, from), y * side + Math.min(side, to + 1));
}

/** A disc, whose rows have so many pixels each, in a square with this corner. */
function drawDisc(ink, [x, y], rows) {
  rows.forEach((length, i) => {
    const from = x + (rows.length - length) / 2;
    fill(ink, y + i, from, from + length - 1);
  });
}

/** A line without ends: a parallelogram with corners at whole pixels. */
function drawLine(ink, [x, y], [u, v], width) {
  const length = Math.hypot(u - x, v - y);
  if (!length) return;
  const [out, back] = [farther, nearer].map((round) => round((width - 1) / 2) / length);
  const aside = ([dx, dy]) => [[x + dx, y + dy], [u + dx, v + dy]];
  const one = aside([-nearer(back * (v - y)), nearer(out * (u - x))]);
  const other = aside([nearer(out * (v - y)), -nearer(back * (u - x))]).reverse();
  const corners = [...one, ...other], edges = corners.map((from, i) => [from, corners[(i + 1) % 4]]);
  const heights = corners.map((corner) => corner[1]);
  for (let row = Math.min(...heights); row <= Math.max(...heights); row += 1) {
    const crossed = edges.flatMap((edge) => crossing(edge, row));
    fill(ink, row, farther(Math.min(...crossed)), nearer(Math.max(...crossed)));
  }
}

/** Where an edge meets a row, in single precision: nowhere, at a place, or all along. */
function crossing([[x, y], [u, v]], row) {
  if (row < Math.min(y, v) || row > Math.max(y, v)) return [];
  if (y === v) return [x, u];
  return [Math.fround(Math.fround((row - y) * Math.fround((u - x) / (v - y))) + x)];
}

/** Scales a square of bytes from one side to another, rows first. */
function resize(pixels, side, size, filter) {
  if (side === size) return pixels;
  const sums = Array.from({ length: size }, (_, at) => shares(at, side, size, filter));
  return scaleRows(scaleRows(pixels, side, side, sums), side, size, sums);
}

/** Which pixels of a row make one pixel of the scaled row, and their shares. */
function shares(at, side, size, { reach, weight }) {
  const scale = side / size, wide = Math.max(1, scale), centre = (at + 0.5) * scale;
  const first = Math.max(0, Math.trunc(centre - reach * wide + 0.5));
  const length = Math.min(side, Math.trunc(centre + reach * wide + 0.5)) - first;
  const weights = Array.from({ length }, (_, i) => weight((i + first - centre + 0.5) * (1 / wide)));
  const total = weights.reduce((sum, each) => sum + each, 0);
  return { first, weights: weights.map((each) => farther((each / total) * PRECISION)) };
}

/** Scales every row, and turns rows into columns. */
function scaleRows(pixels, side, rows, sums) {
  const scaled = new Uint8ClampedArray(sums.length * rows);
  sums.forEach(({ first, weights }, at) => {
    for (let row = 0; row < rows; row += 1) {
      let sum = PRECISION / 2;
      weights.forEach((weight, i) => { sum += weight * pixels[row * side + first + i]; });
      scaled[at * rows + row] = Math.floor(sum / PRECISION);
    }
  });
  return scaled;
}

/** What the network sees of strokes, or of a square picture: bytes, dark on white. */
export function shrink(example, paper, size) {
  if (!example.picture) return resize(draw(example.strokes, paper), paper.raw, size, BICUBIC);
  const bytes = Uint8Array.from(atob(example.picture), (letter) => letter.charCodeAt(0));
  return resize(bytes, Math.sqrt(bytes.length), size, BICUBIC);
}
