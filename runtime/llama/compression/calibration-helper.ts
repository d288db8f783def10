/** Devices that take a share of the calibration windows. */
import type { Observation, ShareOptions } from "./calibration-share.js";
import type { Share } from "./division.js";
import type { Sum } from "./sums.js";

/** Another device. It is told what the shares' own functions are, and knows the model by itself. */
export interface CalibrationHelper {
  embed(share: Share, options: Pick<ShareOptions, "dtype" | "memory" | "withDense">): Promise<void>;
  /** The sums of its share. */
  observe(block: number, observed: Observation): Promise<readonly HelpedSum[]>;
  advance(block: number): Promise<void>;
  release(): Promise<void>;
}

/** A sum that another device has made, to be read. */
export interface HelpedSum extends Pick<Sum, "level" | "index"> {
  readonly totals: readonly {
    readonly id: number;
    readonly input: string;
    readonly shape: readonly number[];
    readonly bytes: number;
    /** Fills `part` with what is there from byte `begin` on. */
    read(part: Uint8Array, begin: number): Promise<void>;
  }[];
  /** It is not read any more. */
  release(): Promise<void>;
}
