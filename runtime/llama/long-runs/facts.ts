/** What is to be known of a run that is begun, wherever it is kept. */
import type { Facts } from "./manifest.js";

/** Nothing has been done yet. */
export const noFacts: Facts = {
  dense: null,
  perplexities: [],
  saved: [],
  announced: [],
  trainings: [],
  measured: [],
  retained: [],
  seconds: 0,
};
