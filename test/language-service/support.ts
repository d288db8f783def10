import { createLanguageService, type LanguageService } from "../../compiler/language-service/service.js";
import { createHost, standardModules } from "../../runtime/library.js";

/** Files in memory beside the standard library; `‸` marks places in a text, and is taken out. */
export interface Opened {
  readonly service: LanguageService;
  readonly file: string;
  readonly text: string;
  /** The places that were marked, in order. */
  readonly at: readonly number[];
  /** Gives the file another text. */
  edit(text: string): void;
}

/** The name of the file that is asked about. */
export const main = "main.esp";

/** Opens a text, and others beside it by their names. */
export function open(
  marked: string,
  others: Readonly<Record<string, string>> = {},
  host: ReturnType<typeof createHost> = createHost(),
): Opened {
  const at: number[] = [];
  let text = marked.replaceAll("‸", (_, offset: number) => {
    at.push(offset - at.length);
    return "";
  });
  const service = createLanguageService({
    standardModules,
    ...(host.known === undefined ? {} : { known: host.known }),
    read: (path) => (path === main ? text : (others[path] ?? (path.startsWith("stdlib/") ? host.read(path) : null))),
    files: () => [main, ...Object.keys(others)],
  });
  return {
    service,
    file: main,
    text,
    at,
    edit(next) {
      text = next;
    },
  };
}
