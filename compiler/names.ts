/** A name that is not taken: `wanted` itself, else the first of `numbered`, from 2 on. */
export function freeName(
  wanted: string,
  isTaken: (name: string) => boolean,
  numbered: (number: number) => string = (number) => `${wanted}_${number}`,
): string {
  let name = wanted;
  for (let number = 2; isTaken(name); number += 1) name = numbered(number);
  return name;
}
