import { counted } from "../../../compiler/words.js";
import type { Crew } from "./crew.js";

/** The devices of a crew, for people: `2 of NVIDIA H200`. */
export function crewNames({ members }: Pick<Crew, "members">): string {
  const names = members.map(({ device }) => device);
  return [...new Set(names)]
    .map((name) => {
      const many = names.filter((other) => other === name).length;
      return many === 1 ? name : `${name}, ${counted(many, "process", "processes")}`;
    })
    .join("; ");
}
