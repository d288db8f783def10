/** `bench --plot`: a roofline with what was measured, and what others take. */
import { readFile, stat } from "node:fs/promises";
import { readPeers, type Peers } from "../bench/peers.js";
import { rooflineSvg, type RooflineSeries } from "../bench/roofline.js";
import { UsageError } from "./failure.js";
import { checkPage } from "./report/write.js";

export interface PlotOptions {
  readonly plot?: string;
  readonly peers?: string;
}

/** The most bytes of a peers file. */
const mostBytes = 2 ** 20;

/**
 * Checks, before anything is timed, that a plot can be written, and reads what others take; null where none is asked for.
 * @throws UsageError, ModelError
 */
export async function peersOf({ plot, peers }: PlotOptions): Promise<Peers | null> {
  if (plot === undefined) {
    if (peers !== undefined) throw new UsageError("--peers belongs to --plot, which was not given.");
    return null;
  }
  await checkPage(plot, { files: peers === undefined ? [] : [peers], directories: [] });
  if (peers === undefined) return { ceilings: [], series: [] };
  const refuse = (fault: string): never => {
    throw new UsageError(`--peers ${peers}: ${fault}.`);
  };
  const found = await stat(peers);
  if (!found.isFile() || found.size > mostBytes) return refuse(`a file of at most ${mostBytes} bytes is expected`);
  let value: unknown;
  try {
    value = JSON.parse(await readFile(peers, "utf8"));
  } catch (error) {
    return refuse(error instanceof SyntaxError ? `it is no JSON: ${error.message}` : "it cannot be read");
  }
  return readPeers(value, refuse);
}

/** The picture of what was measured on a device that reads so many GB/s. */
export function plotOf(
  device: string,
  what: string,
  gbs: number,
  own: readonly RooflineSeries[],
  { ceilings, series }: Peers,
): string {
  return rooflineSvg({ title: `${what} on ${device}`, gbs, ceilings, series: [...own, ...series] });
}
