/** What is said of states. */

/** What to say of a state that is left: how many of so many steps are kept, if that is known. */
export function keptLine(finished: number, steps: number | null = null): string {
  const what =
    finished === 0
      ? "No step is finished, but it is noted what was saved"
      : `${finished}${steps === null ? "" : ` of ${steps}`} steps are finished and kept`;
  return `${what}: --resume goes on from there.`;
}
