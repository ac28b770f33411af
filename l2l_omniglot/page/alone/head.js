// The prototype head and its certainty, as backbones/head_starts.py and experiments/certainty.py.

/** The mean of vectors. */
export function mean(vectors) {
  return Array.from(vectors[0], (_, i) => vectors.reduce((sum, each) => sum + each[i], 0) / vectors.length);
}

export function squaredDistance(one, other) {
  return one.reduce((sum, value, i) => sum + (value - other[i]) ** 2, 0);
}

/** Probabilities of squared distances. */
export function probabilities(distances, { scale, temperature }) {
  const nearest = Math.min(...distances);
  const shares = distances.map((distance) => Math.exp((scale * (nearest - distance)) / temperature));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

/** The squared distance within which queries of classes of so many shots usually are. */
export function reach(shots, { ways, shots: known, distances }) {
  const logs = ways.map(Math.log), shares = known.map((count) => 1 / count);
  const at = known.map((_, i) => interpolate(Math.log(shots.length), logs, distances.map((row) => row[i])));
  return shots.map((count) => (1 + 1 / count) * interpolate(1 / count, shares, at));
}

/** Linear between places, which increase, and constant beyond. */
function interpolate(x, places, values) {
  const after = places.findIndex((place) => place >= x);
  if (after <= 0) return values.at(after); // the first, or by -1 the last
  const part = (x - places[after - 1]) / (places[after] - places[after - 1]);
  return values[after - 1] + part * (values[after] - values[after - 1]);
}
