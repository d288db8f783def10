/** What others take, from a JSON file that `bench/peers.md` tells how to make. */
import type { Roofline, RooflinePoint, RooflineSeries } from "./roofline.js";

/** Points of others, and ceilings of the arithmetic. */
export type Peers = Pick<Roofline, "ceilings" | "series">;

/** The most of each that a picture shows. */
const most = { list: 256, letters: 120 } as const;

/**
 * Reads the value of a peers file: `{ ceilings: [{ name, teraflops }], peers: [{ name, points: [{ label, operations,
 * bytes, us }] }] }`. `refuse` is told what of it should be what.
 */
export function readPeers(value: unknown, refuse: (fault: string) => never): Peers {
  const fail = (path: string, expected: string): never => refuse(`${path} should be ${expected}`);
  const record = (found: unknown, path: string): { readonly [key: string]: unknown } =>
    typeof found === "object" && found !== null && !Array.isArray(found)
      ? (found as { readonly [key: string]: unknown })
      : fail(path, "an object");
  const list = <T>(found: unknown, path: string, read: (each: unknown, path: string) => T): readonly T[] =>
    Array.isArray(found) && found.length <= most.list
      ? (found as readonly unknown[]).map((each, at) => read(each, `${path}[${at}]`))
      : fail(path, `a list of at most ${most.list}`);
  const text = (found: unknown, path: string): string =>
    typeof found === "string" && found.length <= most.letters
      ? found
      : fail(path, `a text of at most ${most.letters} letters`);
  const positive = (found: unknown, path: string): number =>
    typeof found === "number" && found > 0 && found < 1e30 ? found : fail(path, "a number above 0");
  const whole = record(value, "the file");
  return {
    ceilings: list(whole["ceilings"] ?? [], "ceilings", (each, path) => {
      const { name, teraflops } = record(each, path);
      return { name: text(name, `${path}.name`), teraflops: positive(teraflops, `${path}.teraflops`) };
    }),
    series: list(whole["peers"] ?? [], "peers", (each, path): RooflineSeries => {
      const { name, points } = record(each, path);
      return {
        name: text(name, `${path}.name`),
        peer: true,
        points: list(points ?? [], `${path}.points`, (one, at): RooflinePoint => {
          const { label, operations, bytes, us } = record(one, at);
          return {
            label: text(label, `${at}.label`),
            operations: positive(operations, `${at}.operations`),
            bytes: positive(bytes, `${at}.bytes`),
            us: positive(us, `${at}.us`),
          };
        }),
      };
    }),
  };
}
