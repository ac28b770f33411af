// Drawings as a document: kept in the browser over a reload, saved to and read from a file.

import { drawn } from "./card.js";
import { asExample, blank, isEmpty } from "./picture.js";

const FORMAT = "l2l-omniglot drawings 1";
const KEY = FORMAT; // in the browser's storage
const LARGEST = 2 ** 22; // bytes of a file
const LONGEST = 12; // letters of a name

/** The document of characters and a query; empty examples are left out. */
export function toDocument(characters, picture) {
  return {
    format: FORMAT,
    characters: characters.map((character) => ({
      name: character.name, examples: drawn(character).map(asExample),
    })),
    query: isEmpty(picture) ? null : asExample(picture),
  };
}

/**
 * Characters and query of a document; items of a stack that is not loaded are left out.
 *
 * Throws an Error that says what is wrong with it.
 */
export function fromDocument(body, settings) {
  const [least, most] = settings.ways;
  if (body?.format !== FORMAT) throw new Error(`no drawings of this page: expected the format “${FORMAT}”`);
  const { characters } = body;
  if (!Array.isArray(characters) || characters.length < least || characters.length > most) {
    throw new Error(`${characters?.length ?? "no"} characters: expected ${least} to ${most}`);
  }
  const names = new Set();
  const found = characters.map((character, place) => {
    const { name, examples } = character ?? {};
    if (typeof name !== "string" || !name || name.length > LONGEST || names.has(name)) {
      throw new Error(`character ${place + 1}: expected a name of its own, of 1 to ${LONGEST} letters`);
    }
    names.add(name);
    if (!Array.isArray(examples) || examples.length > settings.shots[1]) {
      throw new Error(`character “${name}”: expected at most ${settings.shots[1]} examples`);
    }
    const pictures = examples.map((example) => picture(example, settings)).filter((each) => !isEmpty(each));
    return { name, examples: pictures.length ? pictures : [blank()], current: 0 };
  });
  return { characters: found, query: body.query === null ? blank() : picture(body.query, settings) };
}

function picture(example, settings) {
  if (typeof example?.picture === "string") {
    if (!isSquare(example.picture, settings.side)) {
      throw new Error(`an uploaded picture: expected base64 of at most ${settings.side} x ${settings.side} pixels`);
    }
    return { ...blank(), pixels: example.picture };
  }
  if (isItem(example?.item)) {
    return { ...blank(), item: settings.sources.length > 1 ? example.item : null };
  }
  const strokes = example?.strokes;
  const points = Array.isArray(strokes) && strokes.every(Array.isArray) ? strokes.flat() : null;
  if (!points || !points.every(isPoint) || strokes.some((stroke) => !stroke.length)) {
    throw new Error("a drawing: expected strokes of points [x, y] from 0 to 1");
  }
  if (strokes.length > settings.strokes || points.length > settings.points) {
    throw new Error(`a drawing of ${strokes.length} strokes and ${points.length} points: expected at most ${settings.strokes} and ${settings.points}`);
  }
  return { ...blank(), strokes };
}

function isSquare(text, most) {
  if (!/^[A-Za-z0-9+/]+={0,2}$/.test(text) || text.length % 4 || text.length > 4 * Math.ceil(most ** 2 / 3)) return false;
  return Number.isInteger(Math.sqrt(atob(text).length));
}

const isItem = (item) => Array.isArray(item) && item.length === 2
  && item.every((number) => Number.isInteger(number) && number >= 0);
const isPoint = (point) => Array.isArray(point) && point.length === 2
  && point.every((at) => typeof at === "number" && at >= 0 && at <= 1);

/** Keeps a document over a reload, where the browser lets it. */
export function keep(body) {
  try { localStorage.setItem(KEY, JSON.stringify(body)); } catch { /* full or forbidden */ }
}

/** What was kept, or null; what was kept and is damaged is forgotten. */
export function kept(settings) {
  try {
    const text = localStorage.getItem(KEY);
    return text && fromDocument(JSON.parse(text), settings);
  } catch {
    try { localStorage.removeItem(KEY); } catch { /* forbidden */ }
    return null;
  }
}

/** Offers a document as a file to save. */
export function save(body) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([JSON.stringify(body)], { type: "application/json" }));
  link.download = "drawings.json";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

/** Reads a file's characters and query; throws an Error that names the file. */
export async function read(file, settings) {
  try {
    if (file.size > LARGEST) throw new Error(`${file.size} bytes: expected at most ${LARGEST}`);
    let body;
    try { body = JSON.parse(await file.text()); } catch { throw new Error("not JSON"); }
    return fromDocument(body, settings);
  } catch (error) {
    throw new Error(`${file.name}: ${error.message}.`);
  }
}
