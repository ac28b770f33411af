// The server's answers.

const GONE = "The server does not answer. Restart it with: l2l-omniglot draw";

/** Asks the server; throws an Error with a sentence to show if it refuses, or is gone. */
export async function get(address, options) {
  let response;
  try { response = await fetch(address, options); } catch { throw new Error(GONE); }
  const body = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(body.error);
  return body;
}
