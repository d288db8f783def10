/** Texts that end a text, found across the borders of tokens. */

/** A text as it comes, up to the first stop string. */
export interface StopStrings {
  /** What of the text is certain to stand before every stop string. After the end it is "". */
  push(piece: string): string;
  /** Whether a stop string was found. */
  readonly found: boolean;
  /** The rest, where the text has come to another end. */
  end(): string;
}

/** Watches a text for strings that end it; empty ones are none. Where two begin in it, the first to begin ends it. */
export function createStopStrings(stops: readonly string[]): StopStrings {
  const wanted = stops.filter((stop) => stop !== "");
  const longest = wanted.reduce((most, stop) => Math.max(most, stop.length), 0);
  let held = "";
  let found = false;
  return {
    get found() {
      return found;
    },
    push(piece) {
      if (found) return "";
      held += piece;
      const at = wanted.reduce((least, stop) => {
        const place = held.indexOf(stop);
        return place >= 0 && (least < 0 || place < least) ? place : least;
      }, -1);
      if (at >= 0) {
        found = true;
        const text = held.slice(0, at);
        held = "";
        return text;
      }
      // what could be the beginning of one waits
      let begins = Math.max(0, held.length - longest + 1);
      while (begins < held.length && !wanted.some((stop) => stop.startsWith(held.slice(begins)))) begins++;
      const text = held.slice(0, begins);
      held = held.slice(begins);
      return text;
    },
    end() {
      const text = found ? "" : held;
      held = "";
      return text;
    },
  };
}
