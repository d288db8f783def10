/** How far work is: what a bar or a line of progress is given, and times in words. */

/** Work of so many parts. */
export interface Progress {
  update(done: number, total: number, note?: string): void;
  end(): void;
}

/** Work of which only a share is known. */
export interface ShareProgress {
  /** `share` 0 to 1; `secondsLeft` null while nothing is known. */
  update(share: number, secondsLeft: number | null, note?: string): void;
  end(): void;
}

/** The time that is left, in words; nothing where it is not known. */
export function left(seconds: number | null): string {
  return seconds === null ? "" : `${duration(seconds)} left`;
}

/** A time for people: `8 s`, `3 min 20 s`, `2 h 05 min`. */
export function duration(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 100) return `${whole} s`;
  if (whole < 6000) return `${Math.floor(whole / 60)} min ${String(whole % 60).padStart(2, "0")} s`;
  return `${Math.floor(whole / 3600)} h ${String(Math.floor((whole % 3600) / 60)).padStart(2, "0")} min`;
}
