// How far the query is from each character's mean embedding, its prototype, on a line.

import { drawn } from "./card.js";
import { byId, make } from "./parts.js";
import { paint } from "./picture.js";

const ROWS = 3; // of pictures, so that neighbours do not hide each other

/** Shows squared distances, one a character, and within which a query usually is. */
export function showDistances(distances, reach, characters) {
  const most = Math.max(...distances, ...(reach ?? [])) * 1.05, best = distances.indexOf(Math.min(...distances));
  const order = distances.map((_, i) => i).sort((a, b) => distances[a] - distances[b]);
  const places = order.map((i, rank) => {
    const picture = make("canvas", { class: "place-picture" });
    const label = `${characters[i].name}: ${distances[i].toFixed(1)}`;
    const place = make("li", { class: i === best ? "place best" : "place", title: label }, picture,
      make("span", { class: "place-name" }, characters[i].name));
    place.style.setProperty("--at", `${(100 * distances[i]) / most}%`);
    place.style.setProperty("--row", String(rank % ROWS));
    return { place, picture, character: characters[i] };
  });
  byId("places").replaceChildren(...places.map(({ place }) => place));
  for (const { picture, character } of places) paint(picture, drawn(character)[0], null, 0.07);
  byId("reach").hidden = !reach;
  if (reach) byId("reach").style.setProperty("--at", `${(100 * reach[best]) / most}%`);
  byId("farthest").textContent = most.toFixed(0);
}
