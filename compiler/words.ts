/** A number with what it counts: `1 axis`, `2 axes`. The plural is the word with an `s` where none is given. */
export function counted(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}
