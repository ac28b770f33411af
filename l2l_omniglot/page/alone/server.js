// In the place of the server's answers, the browser's own: the network runs here.

import * as ort from "../onnxruntime/ort.wasm.min.mjs";
import { mean, probabilities, reach, squaredDistance } from "./head.js";
import { shrink } from "./render.js";

const ANSWERS = { "/api/settings": () => settings, "/api/examples": exampleSet, "/api/answer": answer };

const settings = await read("settings.json");
const { side, ink, paper, head, certainty } = settings.network;
const session = load();
session.catch(() => {}); // the first answer says it
let known = new Map(); // images and embeddings of the last question's examples

/** Answers as the server does; throws an Error with a sentence to show if it cannot. */
export async function get(address, options = {}) {
  const { pathname, searchParams } = new URL(address, location.origin);
  return ANSWERS[pathname](searchParams, options.body && JSON.parse(options.body));
}

function own(name) {
  return new URL(name, import.meta.url).href;
}

async function read(name) {
  const response = await fetch(own(name));
  if (!response.ok) throw new Error(`${name} cannot be read: ${response.status}.`);
  return response.json();
}

async function load() {
  ort.env.wasm.numThreads = 1; // more need headers, which plain file servers do not send
  try {
    return await ort.InferenceSession.create(own("network.onnx"), { executionProviders: ["wasm"] });
  } catch (error) {
    throw new Error(`The network cannot be loaded: ${error.message}`);
  }
}

async function answer(_, { support, query }) {
  const seen = await look(query ? [...support.flat(), query] : support.flat());
  if (!query) return { probabilities: null, seen: null };
  const { image, embedding } = seen.pop();
  const distances = support.map((examples) => {
    const prototype = mean(seen.splice(0, examples.length).map((each) => each.embedding));
    return squaredDistance(prototype, embedding);
  });
  const nearest = distances.indexOf(Math.min(...distances));
  const usual = certainty && reach(support.map((examples) => examples.length), certainty);
  const bytes = image.map((value) => (ink === "white" ? 255 - value : value));
  return {
    probabilities: [probabilities(distances, head)],
    seen: { side, ink, pixels: btoa(String.fromCharCode(...bytes)) },
    distances, reach: usual, unlike: usual !== null && distances[nearest] > usual[nearest],
  };
}

/** Images and embeddings of examples, of which those of the last question are known. */
async function look(examples) {
  const keys = examples.map((example) => JSON.stringify(example));
  const now = new Map(keys.map((key) => [key, known.get(key)]));
  const missing = [...now.keys()].filter((key) => !now.get(key));
  const images = missing.map((key) => shrink(JSON.parse(key), paper, side));
  const embeddings = images.length ? await embed(images) : [];
  missing.forEach((key, i) => now.set(key, { image: images[i], embedding: embeddings[i] }));
  known = now;
  return keys.map((key) => now.get(key));
}

async function embed(images) {
  const pixels = Float32Array.from(images.flatMap((image) => Array.from(image, level)));
  const input = new ort.Tensor("float32", pixels, [images.length, 1, side, side]);
  const { output } = await (await session).run({ images: input });
  const [, features] = output.dims;
  return images.map((_, i) => output.data.slice(i * features, (i + 1) * features));
}

/** A byte of dark ink as the network's number, in single precision. */
function level(value) {
  const light = Math.fround(value * Math.fround(1 / 255));
  return ink === "white" ? 1 - light : light;
}

async function exampleSet(sizes) {
  const [ways, shots] = ["ways", "shots"].map((name) => Number(sizes.get(name)));
  const characters = shuffled(await read("examples.json")).slice(0, ways);
  const drawings = characters.map((each) => shuffled(each).slice(0, shots + 1));
  const chosen = Math.floor(Math.random() * ways);
  return { support: drawings.map((each) => each.slice(1)), query: drawings[chosen][0], answer: chosen };
}

function shuffled(list) {
  return list.map((each) => [Math.random(), each]).sort(([a], [b]) => a - b).map(([, each]) => each);
}
