/** Bars on a terminal, drawn on stderr. */
import { Presets, SingleBar } from "cli-progress";
import { left, type Progress, type ShareProgress } from "./progress.js";

/** A bar that shows how much is done of how much. */
export function bar(label: string): Progress {
  const single = new SingleBar(
    {
      format: `${label} {bar} {value}/{total} {eta_formatted} {note}`,
      stream: process.stderr,
      clearOnComplete: true,
      linewrap: true,
      barsize: 30,
    },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(done, total, note = "") {
      if (!started) single.start(total, done, { note });
      else single.update(done, { note });
      started = true;
      single.setTotal(total);
    },
    end() {
      if (started) single.stop();
    },
  };
}

/** A bar that shows a share of one, and the time that is left. */
export function shareBar(label: string): ShareProgress {
  const single = new SingleBar(
    {
      format: `${label} {bar} {percentage}% {left} {note}`,
      stream: process.stderr,
      clearOnComplete: true,
      linewrap: true,
      barsize: 30,
    },
    Presets.shades_classic,
  );
  let started = false;
  return {
    update(share, secondsLeft, note = "") {
      const payload = { left: left(secondsLeft), note };
      if (started) single.update(Math.round(share * 1000), payload);
      else single.start(1000, Math.round(share * 1000), payload);
      started = true;
    },
    end() {
      if (started) single.stop();
    },
  };
}
