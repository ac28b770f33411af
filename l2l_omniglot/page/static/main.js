// The page: characters, the query, and asking the server.

import { Answer } from "./answer.js";
import { Card, drawn, newCharacter } from "./card.js";
import { keep, kept, read, save, toDocument } from "./drawings.js";
import { Pad } from "./pad.js";
import { byId, iconButton, make, speak, toast } from "./parts.js";
import { asExample, blank, isEmpty } from "./picture.js";
import { get } from "./server.js";
import { Upload, catchDrops } from "./upload.js";

const AT_FIRST = 5; // characters, if the network takes so many
const PAUSE = 120; // milliseconds between two questions during a stroke
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

const settings = await get("/api/settings");
const answer = new Answer(settings.steps);
const [least, most] = settings.ways;
let characters = atFirst();
let cards = [], note = "";
const addPlace = byId("add-place");

const query = new Pad(settings, (final) => { note = ""; refreshQuery(); queryUpload.changed(); ask(final); }, speak);
const queryUpload = new Upload(query, settings);
const queryBack = iconButton("undo", "Undo the last stroke of the query", () => query.undo());
const queryBin = iconButton("bin", "Clear the query", () => query.clear());

function atFirst() {
  const length = Math.min(most, Math.max(least, AT_FIRST));
  return Array.from({ length }, (_, i) => newCharacter(LETTERS[i]));
}

// One question at a time; changes made meanwhile are sent afterwards.
let asking = false, again = null, timer = 0;

function ask(final) {
  if (final) keep(toDocument(characters, query.picture));
  if (asking) again = final || again === true;
  else if (final) { clearTimeout(timer); timer = 0; send(true); }
  else timer ||= setTimeout(() => { timer = 0; send(false); }, PAUSE);
}

async function send(final) {
  const shown = characters.filter((character) => drawn(character).length);
  const picture = query.present();
  if (shown.length < least) {
    answer.hint(missing(shown.length));
    return;
  }
  const body = {
    support: shown.map((character) => drawn(character).map(asExample)),
    query: isEmpty(picture) ? null : asExample(picture),
  };
  if (!body.query) answer.hint("Now draw the query: one of your characters again.");
  const whole = final && !isDrawing(); // the end of the stroke will ask again
  asking = true;
  try {
    const found = await get("/api/answer", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
    });
    if (found.probabilities && !isEmpty(query.present())) {
      answer.show(found, shown, note, whole && again === null);
    }
  } catch (error) {
    answer.hint(error.message, true);
  } finally {
    asking = false;
    if (again !== null) {
      const next = again;
      again = null;
      ask(next);
    }
  }
}

function isDrawing() {
  return [query, ...cards.map((card) => card.pad)].some((pad) => pad.stroke);
}

/** Says how many characters are to be drawn before there can be an answer. */
function missing(count) {
  if (!count) return `Draw ${least === most ? least : "at least two"} characters, one example each.`;
  return least - count === 1 ? "Draw one more character." : `Draw ${least - count} more characters.`;
}

// The characters.
function build() {
  cards = characters.map((character) => new Card(character, settings, { changed: ask, build, remove, ownName }));
  byId("cards").replaceChildren(...cards.map((card) => card.element), addPlace);
  for (const card of cards) card.placed();
  countChanged();
}

function countChanged() {
  addPlace.hidden = characters.length >= most;
  for (const card of cards) card.removal.disabled = characters.length <= least;
}

function freeName() {
  const taken = new Set(characters.map(({ name }) => name));
  return [...LETTERS].find((letter) => !taken.has(letter)) ?? ownName("A");
}

function remove(character) {
  const before = characters, place = characters.indexOf(character);
  replace(characters.filter((each) => each !== character));
  toast(`${character.name} removed.`, () => replace(before));
  cards[Math.min(place, cards.length - 1)].pad.canvas.focus({ preventScroll: true });
}

function replace(others, picture = query.picture, sentence = "") {
  characters = others;
  note = sentence;
  build();
  query.show(picture, "Query");
  queryUpload.show();
  refreshQuery();
  ask(true);
}

function refreshQuery() {
  queryBack.disabled = query.picture.past.length === 0;
  queryBin.disabled = isEmpty(query.picture);
}

// Example sets, and starting over.
function pictureOf(example) {
  return { ...blank(), strokes: example.strokes ?? [], item: example.item ?? null };
}

async function exampleSet(event) {
  event.preventDefault();
  const seed = Math.floor(Math.random() * 2 ** 31);
  const sizes = `ways=${characters.length}&shots=${byId("shots").value}&seed=${seed}`;
  try {
    const found = await get(`/api/examples?source=${byId("source").value}&${sizes}`);
    const before = [characters, query.picture, note];
    const others = found.support.map((examples, i) => (
      { name: LETTERS[i], examples: examples.map(pictureOf), current: 0 }));
    const sentence = `The query is another drawing of ${LETTERS[found.answer]}.`;
    replace(others, pictureOf(found.query), sentence);
    toast("Example set loaded.", () => replace(...before));
  } catch (error) {
    answer.hint(error.message, true);
  }
}

function startOver() {
  const before = [characters, query.picture, note];
  replace(atFirst(), blank());
  toast("All drawings cleared.", () => replace(...before));
}

async function load() {
  const [file] = byId("file").files, before = [characters, query.picture, note];
  byId("file").value = ""; // so that the same file can be chosen again
  try {
    const found = await read(file, settings);
    replace(found.characters, found.query);
    toast(`${file.name} loaded.`, () => replace(...before));
  } catch (error) {
    toast(error.message);
    speak(error.message);
  }
}

/** The name, or one with a number behind it that no other character has. */
function ownName(name, character) {
  const taken = new Set(characters.filter((each) => each !== character).map((each) => each.name));
  if (!taken.has(name)) return name;
  let number = 2;
  while (taken.has(numbered(name, number))) number += 1;
  return numbered(name, number);
}

const numbered = (name, number) => `${name.slice(0, 11 - String(number).length)} ${number}`;

function addCharacter() {
  const character = newCharacter(freeName());
  characters = [...characters, character];
  const card = new Card(character, settings, { changed: ask, build, remove, ownName });
  cards.push(card);
  addPlace.before(card.element);
  card.placed();
  countChanged();
  card.pad.canvas.focus();
}

// Putting the page together.
const SOURCES = { synthetic: "invented characters", omniglot: "Omniglot" };
byId("source").append(...settings.sources.map((name) => make("option", { value: name }, SOURCES[name])));
byId("source-choice").hidden = settings.sources.length < 2;
for (let shots = settings.shots[0]; shots <= settings.shots[1]; shots += 1) {
  byId("shots").append(make("option", { value: shots }, `${shots} shot${shots > 1 ? "s" : ""}`));
}
byId("how").textContent = settings.steps
  ? `The network adapts to your examples alone, in ${settings.steps} gradient step${settings.steps > 1 ? "s" : ""}.`
  : "The network has seen none of them, and compares the query with your examples.";
byId("network").textContent = settings.name;
if (!settings.bytes) { // no server, see upload.js
  byId("or-pictures").hidden = true;
  byId("where").textContent = "in this browser";
}
queryUpload.label("the query");
byId("query-pad").append(query.canvas, queryUpload.input);
byId("query-row").after(queryUpload.said);
byId("query-tools").append(queryBack, queryBin, queryUpload.button);
catchDrops();
byId("tools").addEventListener("submit", exampleSet);
byId("start-over").addEventListener("click", startOver);
byId("save").addEventListener("click", () => save(toDocument(characters, query.picture)));
byId("load").addEventListener("click", () => byId("file").click());
byId("file").addEventListener("change", load);
byId("add-character").addEventListener("click", addCharacter);
new IntersectionObserver(([entry]) => byId("jump").classList.toggle("away", entry.isIntersecting))
  .observe(byId("query"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => replace(characters, query.picture, note));
const before = kept(settings);
replace(before?.characters ?? characters, before?.query ?? blank());
document.documentElement.dataset.ready = "";
