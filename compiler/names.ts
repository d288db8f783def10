/** A name that is not taken: `wish` itself, else the first of `numbered`, from 2 on. */
export function freeName(
  wish: string,
  isTaken: (name: string) => boolean,
  numbered: (number: number) => string = (number) => `${wish}_${number}`,
): string {
  let name = wish;
  for (let number = 2; isTaken(name); number += 1) name = numbered(number);
  return name;
}
