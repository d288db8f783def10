/** A process of a crew: it computes on one device what its command tells it. */
import { DeviceError } from "../../device/error.js";
import { sentOf, type BeginWork, type Order, type Report, type Work, type WorkName } from "./messages.js";

const works: { readonly [name in WorkName]: () => Promise<{ readonly begin: BeginWork }> } = {
  batch: () => import("./batch-work.js"),
  serve: () => import("./serve-work.js"),
  calibration: () => import("./calibration-work.js"),
  sensitivity: () => import("./sensitivity-work.js"),
};

/** Does what it is told until it is told to end, or nobody is left to tell it. */
function attend(): void {
  let work: Promise<Work> | null = null;
  let isEnding = false;

  function tell(report: Report): void {
    if (process.connected) process.send?.(report, undefined, undefined, () => {});
  }

  /** A device that is lost takes the process with it: another is started in its place. */
  function refuse(id: number | null, error: unknown): void {
    if (error instanceof DeviceError && error.code === "device-lost") {
      process.stderr.write(`${error.message}\n`, () => process.exit(1));
      return;
    }
    tell({ kind: "failed", id, error: sentOf(error) });
  }

  process.on("message", (order: Order) => {
    switch (order.kind) {
      case "begin": {
        const { work: name, device, options } = order.begin;
        work = works[name]().then(({ begin }) => begin(device, options, (line) => tell({ kind: "note", line })));
        work.then(
          (begun) => tell({ kind: "ready", device: begun.device, answer: begun.answer ?? null }),
          (error: unknown) => refuse(null, error),
        );
        break;
      }
      case "task": {
        const { id, task } = order;
        const onProgress = (done: number, total: number): void => tell({ kind: "progress", id, done, total });
        work
          ?.then((begun) => begun.run(task, onProgress))
          .then(
            (result) => tell({ kind: "done", id, result }),
            (error: unknown) => refuse(id, error),
          );
        break;
      }
      case "end":
        if (isEnding) break;
        isEnding = true;
        void (work ?? Promise.resolve(null))
          .then((begun) => begun?.close())
          .catch(() => {})
          .then(() => process.exit(0));
        break;
      default:
        order satisfies never;
    }
  });
  // whoever began this is gone, and nobody wants what it computes
  process.once("disconnect", () => process.exit(isEnding ? 0 : 1));
}

attend();
